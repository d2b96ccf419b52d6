"""What an application says about files in chats: how large, of which types, kept where, shown how to models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatrt.errors import UsageError
from chatrt.media_types import DEFAULT_TYPES
from chatrt.stores.bucket import Bucket

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """How the files of all chats are treated.

    Attributes:
        types: The media types that are taken.
        max_bytes: The largest file.
        max_count: How many files a chat may hold; 0 takes none.
        max_total: How many bytes the files of a chat may have together.
        bucket: Where the bytes are kept; by default in the session store. What is known of the files, and the counting,
            is in the session store either way.
        to_model: Whether a model is handed the `bytes` of a file, or a `link` to the bucket that its provider fetches.
        model_bytes: The largest file whose bytes are put into a prompt; of a larger one the model is told so.
        prompt_bytes: How many bytes of files one prompt holds; the newest ones come first.
        upload_seconds: How long an upload may take in all.
        link_seconds: How long links to files, and to upload them, are good.

    Raises:
        UsageError: If a number is negative, or links are wanted without a bucket.
    """

    types: Sequence[str] = DEFAULT_TYPES
    max_bytes: int = 20 * MIB
    max_count: int = 100
    max_total: int = 200 * MIB
    bucket: Bucket | None = None
    to_model: Literal["bytes", "link"] = "bytes"
    model_bytes: int = 10 * MIB
    prompt_bytes: int = 30 * MIB
    upload_seconds: float = 600.0
    link_seconds: int = 300

    def __post_init__(self) -> None:
        numbers = (self.max_bytes, self.max_count, self.max_total, self.model_bytes, self.prompt_bytes)
        if min(numbers) < 0 or self.upload_seconds <= 0 or self.link_seconds < 1:
            raise UsageError("limits of attachments are not negative, and times are longer than nothing")
        if self.to_model == "link" and self.bucket is None:
            raise UsageError("providers can fetch files only from a bucket: to_model='link' needs one")
