"""The metadata of a session: how a change is laid over them, and how large they may become.

A change is a JSON merge patch (RFC 7396): an object is laid over an object key by key, `null` takes a key away, and
anything else, lists included, takes the place of what was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from chatrt.codec import dumps
from chatrt.errors import TooLargeError

MAX_METADATA_BYTES = 64 * 1024
"""What the metadata of a session may weigh as JSON."""


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with a patch laid over it; neither of them is changed."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below: Any = merged.get(key)
            merged[key] = merge_patch(_object(below), cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    """Return metadata as they are stored.

    Raises:
        TooLargeError: If they are larger than `MAX_METADATA_BYTES`.
        InvalidJSONError: If they are not JSON-shaped.
    """
    encoded = dumps(metadata)
    if len(encoded) > MAX_METADATA_BYTES:
        raise TooLargeError(f"more than {MAX_METADATA_BYTES} bytes", path="/metadata")
    return encoded
