"""A session as lines of JSON: what leaves a store, and what another one takes in.

The first line says what the file is, the second one the session; then come its messages with those they follow, its
inputs, its records, and a last line that counts them, so that a file that was cut off is known. `protocol.md` (5.11)
describes the lines. What belongs to one place and one moment is left out: leases, suspended runs, what waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from chatrt.codec import dumps, loads
from chatrt.errors import InvalidInputError
from chatrt.message_tree import Node
from chatrt.runtime.state import portable_state
from chatrt.stores import Parent, Record, SessionKey, SessionRow
from chatrt.stores.portable import Exported, ExportedHead, ExportedInput, PortableStore, SessionDump

FORMAT = "chatrt.session"
VERSION = 1

Lines = AsyncIterable[bytes] | Iterable[bytes]
"""A file in pieces of any size, cut anywhere."""


async def export_lines(store: PortableStore, key: SessionKey) -> AsyncIterator[bytes]:
    """Yield the lines of a session, some at a time and none in two pieces.

    Raises:
        SessionNotFoundError: If there is no such session.
        UnreadableRecordError: If something stored cannot be read.
    """
    counts = {"messages": 0, "inputs": 0, "records": 0}
    async with aclosing(cast("Any", store.export_session(key))) as pages:
        async for page in pages:
            yield b"".join(_line(one, counts) for one in cast("Sequence[Exported]", page))
    yield dumps({"type": "end", **counts}) + b"\n"


def _line(one: Exported, counts: dict[str, int]) -> bytes:
    match one:
        case ExportedHead():
            header = {"type": "header", "format": FORMAT, "version": VERSION}
            return dumps(header) + b"\n" + dumps(_session_to_json(one)) + b"\n"
        case Node(node_id, parent_id, message):
            counts["messages"] += 1
            said: dict[str, Any] = {"type": "message", "nodeId": node_id}
            said |= {"message": message} if parent_id is None else {"parentId": parent_id, "message": message}
        case ExportedInput(record, part_id):
            counts["inputs"] += 1
            said = {"type": "input", **_record_to_json(record)}
            said |= {} if part_id is None else {"partId": part_id}
        case Record():
            counts["records"] += 1
            said = {"type": "record", **_record_to_json(one)}
    return dumps(said) + b"\n"


def _session_to_json(head: ExportedHead) -> dict[str, Any]:
    row, parent = head.row, head.row.parent
    state = portable_state(head.state, head.in_cursor)
    usage = {"total": state.pop("totalUsage", None), "last": state.pop("lastUsage", None)}
    said = {
        "type": "session",
        "chatId": row.key.chat_id,
        "agent": row.agent,
        "status": row.status,
        "closedReason": row.closed_reason,
        "createdAt": _to_iso(row.created_at),
        "updatedAt": _to_iso(row.updated_at),
        "metadata": row.metadata,
        "clientData": row.client_data,
        "parent": None if parent is None else _parent_to_json(parent),
        "inCursor": head.in_cursor,
        "cursor": head.settled_seq,
        "leafId": head.leaf_id,
        "usage": {name: value for name, value in usage.items() if value is not None},
        "state": state,
    }
    return {name: value for name, value in said.items() if value is not None}


def _parent_to_json(parent: Parent) -> dict[str, str]:
    said = {"chatId": parent.chat_id, "rootId": parent.root_id}
    return said if parent.tool_call_id is None else {**said, "toolCallId": parent.tool_call_id}


def _record_to_json(record: Record) -> dict[str, Any]:
    return {"seq": record.seq, "at": _to_iso(record.at / 1000), "kind": record.kind, "body": loads(record.body)}


def _to_iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- back again


@dataclass(slots=True)
class _Found:
    """What was read of a file so far."""

    head: ExportedHead | None = None
    nodes: list[Node] = field(default_factory=list[Node])
    inputs: list[ExportedInput] = field(default_factory=list[ExportedInput])
    records: list[Record] = field(default_factory=list[Record])
    ended: bool = False

    def take(self, said: dict[str, Any], tenant: str, chat_id: str | None) -> None:
        """Take in what a line behind the header says; raises what the wrong shape of it raises."""
        kind = said["type"]
        if self.ended or (self.head is None) != (kind == "session"):
            raise InvalidInputError("the session comes second and the end last")
        match kind:
            case "session":
                self.head = _to_head(said, tenant, chat_id)
            case "message":
                self.nodes.append(Node(_text(said["nodeId"]), _text_or_none(said.get("parentId")), _message(said)))
            case "input":
                self.inputs.append(ExportedInput(_to_record(said), _text_or_none(said.get("partId"))))
            case "record":
                self.records.append(_to_record(said))
            case "end":
                counts = (said["messages"], said["inputs"], said["records"])
                if counts != (len(self.nodes), len(self.inputs), len(self.records)):
                    raise InvalidInputError("lines are missing")
                self.ended = True
            case _:
                raise InvalidInputError("not a type of line")


async def read_dump(lines: Lines, *, tenant: str = "", chat_id: str | None = None) -> SessionDump:
    """Read the lines of one session; all of it is held in memory.

    Args:
        lines: The file.
        tenant: Where the session goes.
        chat_id: Its new chat id, unless it keeps its own.

    Raises:
        InvalidInputError: If this is no such file, a newer version wrote it, or it was cut off.
    """
    found, number = _Found(), 0
    async for line in _split(lines):
        number += 1
        try:
            said = orjson.loads(line)
            if number == 1:
                _check_header(said)
            else:
                found.take(said, tenant, chat_id)
        except InvalidInputError as error:
            raise InvalidInputError(error.reason, path=f"line {number}") from None
        except (ValueError, KeyError, TypeError, OverflowError):
            raise InvalidInputError("not what stands in such a file", path=f"line {number}") from None
    if found.head is None or not found.ended:
        raise InvalidInputError("the file was cut off", path=f"line {number}")
    return SessionDump(head=found.head, nodes=found.nodes, inputs=found.inputs, records=found.records)


async def _split(lines: Lines) -> AsyncIterator[bytes]:
    held: list[bytes] = []
    async for piece in _pieces(lines):
        first, *more = piece.split(b"\n")
        held.append(first)
        for line in more:
            yield b"".join(held)
            held = [line]
    if any(held):
        yield b"".join(held)


async def _pieces(lines: Lines) -> AsyncIterator[bytes]:
    if isinstance(lines, AsyncIterable):
        async for piece in lines:
            yield piece
    else:
        for piece in lines:
            yield piece


def _check_header(said: Any) -> None:
    match said:
        case {"type": "header", "format": format_, "version": int(version)} if format_ == FORMAT:
            if version > VERSION:
                raise InvalidInputError(f"a newer chatrt wrote it (version {version}, this one reads {VERSION})")
        case _:
            raise InvalidInputError("not the export of a session")


def _to_head(said: dict[str, Any], tenant: str, chat_id: str | None) -> ExportedHead:
    status, parent = said["status"], said.get("parent")
    if status not in ("open", "closed"):
        raise ValueError(status)
    usage = _object(said["usage"])
    named = {"totalUsage": usage.get("total"), "lastUsage": usage.get("last")}
    row = SessionRow(
        key=SessionKey(tenant, _text(said["chatId"]) if chat_id is None else chat_id),
        agent=_text(said["agent"]),
        status=status,
        created_at=_to_seconds(said["createdAt"]),
        updated_at=_to_seconds(said["updatedAt"]),
        metadata=_object(said["metadata"]),
        client_data=said.get("clientData"),
        closed_reason=_text_or_none(said.get("closedReason")),
        parent=None if parent is None else _to_parent(_object(parent)),
    )
    return ExportedHead(
        row=row,
        in_cursor=_number(said["inCursor"]),
        settled_seq=_number(said["cursor"]),
        leaf_id=_text_or_none(said.get("leafId")),
        state={**_object(said["state"]), **{name: value for name, value in named.items() if value is not None}},
    )


def _to_parent(said: dict[str, Any]) -> Parent:
    call = _text_or_none(said.get("toolCallId"))
    return Parent(chat_id=_text(said["chatId"]), root_id=_text(said["rootId"]), tool_call_id=call)


def _to_record(said: dict[str, Any]) -> Record:
    at = round(_to_seconds(said["at"]) * 1000)
    return Record(_number(said["seq"]), at, _text(said["kind"]), dumps(_object(said["body"])))


def _message(said: dict[str, Any]) -> Any:
    match said["message"]:
        case {"id": str(), "role": "user" | "assistant" | "system", "parts": list()} as message:
            return message
        case _:
            raise TypeError


def _to_seconds(text: Any) -> float:
    return datetime.fromisoformat(text).timestamp()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise TypeError
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return cast("dict[str, Any]", value)
