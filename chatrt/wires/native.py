"""The native wire: the inbox as JSON, the outbox as standard SSE whose event ids are cursors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast

from chatrt.errors import InvalidCursorError, InvalidInputError
from chatrt.runtime import Session
from chatrt.runtime.asks import parse_askers
from chatrt.stores.base import Appended, Store
from chatrt.ui import UIMessage
from chatrt.wires.formats import StreamFormat
from chatrt.wires.frames import writes
from chatrt.wires.log import is_idle, reading

_CURSOR = re.compile(r"[0-9]{1,19}")
_T = TypeVar("_T")
_EXPECTED: dict[type, str] = {str: "a string", int: "an integer", bool: "a boolean"}
_PART_ID = re.compile(r"[\x21-\x7e]{1,64}")


def parse_cursor(text: str | None) -> int:
    """Read a cursor: 1 to 19 ASCII digits; 0, the beginning, when there is none.

    Raises:
        InvalidCursorError: If it is anything else.
    """
    if text is None:
        return 0
    if _CURSOR.fullmatch(text) is None or int(text) >= 2**63:
        raise InvalidCursorError("not a decimal sequence number", path="Last-Event-ID")
    return int(text)


def parse_part_id(header: str | None) -> str | None:
    """Read an `Idempotency-Key`: at most 64 visible ASCII characters.

    Raises:
        InvalidInputError: If it is anything else.
    """
    if header is not None and _PART_ID.fullmatch(header) is None:
        raise InvalidInputError("not 1 to 64 visible ASCII characters", path="Idempotency-Key")
    return header


async def append(session: Session, body: Any, *, part_id: str | None) -> Appended:
    """Append one record to the inbox: `{kind, ...}`, the kinds being those of `Inbox`.

    Raises:
        InvalidInputError: If the body is none of these.
        InvalidMessageError: If the message is not acceptable.
        InvalidChunkError: If something is to be written that is no data chunk.
        ForbiddenChangeError: If the message changes what is the server's (D15).
        SessionClosedError: If the session is closed.
    """
    inbox = session.inbox
    match body:
        case {"kind": "message", "message": dict()}:
            fields = cast("dict[str, Any]", body)
            return await inbox.send_message(
                cast("UIMessage", fields["message"]),
                client_data=fields.get("clientData"),
                message_id=_optional(fields, "messageId", str),
                steer=_optional(fields, "steer", bool) is True,
                part_id=part_id,
                askers=parse_askers(fields.get("askers")),
            )
        case {"kind": "data", "data": data}:
            fields = cast("dict[str, Any]", body)
            return await inbox.send_data(data, client_data=fields.get("clientData"), part_id=part_id)
        case {"kind": "preload"}:
            return await inbox.preload(client_data=cast("dict[str, Any]", body).get("clientData"), part_id=part_id)
        case {"kind": "edit" | "withdraw", "inSeq": bool()}:
            raise InvalidInputError("an integer is expected", path="/inSeq")
        case {"kind": "edit", "inSeq": int(in_seq), "message": dict()}:
            message = cast("UIMessage", cast("dict[str, Any]", body)["message"])
            return await inbox.edit_pending(in_seq, message, part_id=part_id)
        case {"kind": "withdraw", "inSeq": int(in_seq)}:
            return await inbox.withdraw(in_seq, part_id=part_id)
        case {"kind": "edit", "inSeq": int()}:
            raise InvalidInputError("not an object", path="/message")
        case {"kind": "edit" | "withdraw"}:
            raise InvalidInputError("an integer is expected", path="/inSeq")
        case {"kind": "regenerate"}:
            fields = cast("dict[str, Any]", body)
            return await inbox.regenerate(
                _optional(fields, "messageId", str),
                client_data=fields.get("clientData"),
                part_id=part_id,
                askers=parse_askers(fields.get("askers")),
            )
        case {"kind": "action", "action": action}:
            fields = cast("dict[str, Any]", body)
            return await inbox.act(
                action,
                client_data=fields.get("clientData"),
                part_id=part_id,
                askers=parse_askers(fields.get("askers")),
            )
        case {"kind": "switch", "messageId": str(message_id)}:
            fields = cast("dict[str, Any]", body)
            return await inbox.switch_branch(message_id, client_data=fields.get("clientData"), part_id=part_id)
        case {"kind": "write", "chunks": [*chunks]}:
            return await inbox.write(chunks, part_id=part_id)
        case {"kind": "stop"}:
            fields = cast("dict[str, Any]", body)
            return await inbox.stop(
                in_seq=_optional(fields, "inSeq", int), reason=_optional(fields, "reason", str), part_id=part_id
            )
        case {"kind": "message"}:
            raise InvalidInputError("not an object", path="/message")
        case {"kind": "write"}:
            raise InvalidInputError("not a list", path="/chunks")
        case {"kind": "action"}:
            raise InvalidInputError("there is no action", path="/action")
        case {"kind": "switch"}:
            raise InvalidInputError("a string is expected", path="/messageId")
        case _:
            raise InvalidInputError("not a kind of input", path="/kind")


def _optional(body: dict[str, Any], key: str, kind: type[_T]) -> _T | None:
    value = body.get(key)
    if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    raise InvalidInputError(f"{_EXPECTED[kind]} is expected", path=f"/{key}")


async def read_out(
    session: Session, store: Store, form: StreamFormat, *, after: int, until_idle: bool
) -> AsyncIterator[bytes]:
    """Yield the records of `.out` after a cursor as frames.

    Args:
        session: The session.
        store: Where the inbox is looked at, to know what is unsettled.
        form: What the frames look like.
        after: The last seq the reader has.
        until_idle: End, with an `idle` frame, as soon as nothing that was appended is unsettled. The stream
            of a closed session always ends so.
    """
    cursor = after
    until_idle = until_idle or session.row.status == "closed"  # nothing ever comes after what is left
    if until_idle:
        async with reading(session, cursor, live=False) as batches:
            async for batch in batches:
                for data in writes(map(form.frame, batch)):
                    yield data
                cursor = batch[-1].seq
        if await is_idle(session, store, cursor):
            yield form.idle(cursor)
            return
    async with reading(session, cursor) as batches:
        async for batch in batches:
            for data in writes(map(form.frame, batch)):
                yield data
            cursor = batch[-1].seq
            settled = until_idle and any(record.kind == "turn-complete" for record in batch)
            if settled and await is_idle(session, store, cursor):
                yield form.idle(cursor)
                return
