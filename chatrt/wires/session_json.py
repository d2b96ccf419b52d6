"""Sessions as the native wire tells them, and the places where pages of their list begin."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

from chatrt.codec import dumps, loads
from chatrt.errors import InvalidInputError, UnreadableRecordError
from chatrt.stores.base import Parent, Recency, SessionRow

MAX_PLACE = 4096


def session_to_json(row: SessionRow) -> dict[str, Any]:
    """Return a session as clients see it."""
    value: dict[str, Any] = {
        "chatId": row.key.chat_id,
        "agent": row.agent,
        "status": row.status,
        "createdAt": to_iso(row.created_at),
        "updatedAt": to_iso(row.updated_at),
        "metadata": row.metadata,
    }
    if row.closed_reason is not None:
        value["closedReason"] = row.closed_reason
    if row.parent is not None:
        value["parent"] = parent_to_json(row.parent)
    return value


def parent_to_json(parent: Parent) -> dict[str, Any]:
    """Return where a session comes from."""
    value = {"chatId": parent.chat_id, "rootId": parent.root_id}
    return value if parent.tool_call_id is None else {**value, "toolCallId": parent.tool_call_id}


def to_iso(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_place(place: Recency) -> str:
    """Return a place among the recent sessions as clients carry it; what is in it is nobody's business but ours."""
    return base64.urlsafe_b64encode(dumps(list(place))).rstrip(b"=").decode()


def parse_place(text: str | None) -> Recency | None:
    """Read what `encode_place` made; None when there is none.

    Raises:
        InvalidInputError: If it is anything else.
    """
    if text is None:
        return None
    try:
        if len(text) > MAX_PLACE:
            raise ValueError
        value = loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, UnreadableRecordError):
        value = None
    match value:
        case [float(updated_at), str(chat_id)]:
            return Recency(updated_at, chat_id)
        case _:
            raise InvalidInputError("not the `next` of a page in this order", path="after")
