"""The contract for files of a session: what is known of each, and its bytes in pieces.

A session store that fills it has it at its property `attachments`, and takes the files along when it deletes a session.
`chatrt.testing.store_suite` checks it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from chatrt.errors import AttachmentLimitError
from chatrt.stores.base import SessionKey

PIECE = 256 * 1024
"""The size of all stored pieces of a file but its last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of a session.

    Attributes:
        id: Random; names it within its session.
        media_type: What it is; until it is ready, what it is said to be.
        filename: Its name, cleaned; None if it has none.
        size: Its bytes; until it is ready, how many are kept free for it.
        sha256: Of its bytes, in hexadecimal; None if that is not known.
        created_at: When it was begun, in seconds since 1970.
        status: Only what is `ready` can be read and referred to.
        expires_at: When it is given up if it is not ready by then.
        in_bucket: Whether its bytes are in a bucket, not in the store.
    """

    id: str
    media_type: str
    filename: str | None
    size: int
    created_at: float
    expires_at: float
    sha256: str | None = None
    status: Literal["pending", "ready"] = "pending"
    in_bucket: bool = False


class AttachmentStore(Protocol):
    """The contract. Every method may raise `StoreUnavailableError`; what it returned is durable."""

    async def begin(
        self, key: SessionKey, attachment: Attachment, *, max_count: int, max_total: int
    ) -> list[Attachment]:
        """Keep a place for a file, unless that is one too many; looked at and written in one transaction.

        Files that count are those that are ready and those that are pending and not expired at `created_at` of the new
        one. Pending ones that are expired are removed.

        Returns:
            Those that were removed, so that what a bucket has of them can go too.

        Raises:
            SessionNotFoundError: If there is no such session.
            SessionClosedError: If it is closed.
            AttachmentLimitError: If there would be more than `max_count` files or `max_total` bytes.
        """
        ...

    async def write(self, key: SessionKey, attachment_id: str, index: int, data: bytes) -> None:
        """Store the piece of a pending file that stands at `index * PIECE`: `PIECE` bytes, fewer only at the end.

        Raises:
            AttachmentNotFoundError: If there is no such pending file.
        """
        ...

    async def finish(
        self, key: SessionKey, attachment_id: str, *, media_type: str, size: int, sha256: str | None
    ) -> Attachment:
        """Make a pending file ready.

        Raises:
            AttachmentNotFoundError: If there is no such pending file.
        """
        ...

    async def find(self, key: SessionKey, attachment_id: str) -> Attachment | None:
        """Return what is known of a file, or None."""
        ...

    async def find_all(self, key: SessionKey) -> list[Attachment]:
        """Return all files of a session in the order in which they were begun, pending ones too."""
        ...

    def read(
        self, key: SessionKey, attachment_id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a ready file from `start` up to `stop`, in pieces.

        Raises:
            AttachmentNotFoundError: While it is read, if there is no such file, or it was deleted meanwhile.
        """
        ...

    async def delete(self, key: SessionKey, attachment_id: str) -> bool:
        """Remove a file, ready or not; False if there was none."""
        ...


def find_attachment_store(store: Any) -> AttachmentStore | None:
    """Return where a session store keeps files, or None if it keeps none."""
    return getattr(store, "attachments", None)


def check_room(held: list[Attachment], new: Attachment, *, max_count: int, max_total: int) -> None:
    """Make sure that a file may be added to those that count.

    Raises:
        AttachmentLimitError: If not.
    """
    if len(held) >= max_count:
        raise AttachmentLimitError(f"a chat holds at most {max_count} files")
    if sum(other.size for other in held) + new.size > max_total:
        raise AttachmentLimitError(f"the files of a chat have at most {max_total} bytes together")
