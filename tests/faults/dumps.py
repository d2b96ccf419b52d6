"""Dumps: what a store holds, read from its tables without any code of chatrt."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import msgpack


@dataclass(frozen=True, slots=True)
class Input:
    """A row of `.in`."""

    seq: int
    kind: str
    part: str | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """A record of `.out`, unpacked; the body as its bytes stand there."""

    seq: int
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A row of the history."""

    node: str
    parent: str | None
    message: dict[str, Any]


@dataclass(slots=True)
class Chat:
    """Everything about a session, read in one transaction. The numbers are those of its head."""

    chat: str
    closed: bool
    in_last: int
    in_cursor: int
    out_first: int
    out_last: int
    settled_seq: int
    epoch: int
    owner: str | None
    leaf: str | None
    state: dict[str, Any]
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)

    def branch(self) -> list[MessageRow]:
        """Return the active branch, from its first message to its leaf."""
        by_node = {row.node: row for row in self.messages}
        found: list[MessageRow] = []
        at = self.leaf
        while at is not None:
            found.append(by_node[at])
            at = by_node[at].parent
        return found[::-1]


Dump = dict[str, Chat]
"""The sessions of a store by chat id."""

_HEAD = "h.in_last, h.in_cursor, h.out_first, h.out_last, h.settled_seq"
_SQLITE = {
    "heads": f"SELECT s.sid, s.chat_id, s.status = 'closed', {_HEAD}, l.epoch, l.owner, t.leaf_id, t.body FROM sessions s"
    " JOIN heads h USING (sid) JOIN leases l USING (sid) JOIN states t USING (sid)",
    "inputs": "SELECT sid, seq, kind, part_id, body FROM inbox ORDER BY sid, seq",
    "outputs": "SELECT sid, first_seq, count, body FROM out_segments ORDER BY sid, first_seq",
    "messages": "SELECT sid, node_id, parent_id, body FROM nodes ORDER BY rowid",
}
_POSTGRES = {
    "heads": f"SELECT s.sid, s.chat_id, h.closed, {_HEAD}, h.epoch, h.owner, t.leaf_id, t.body FROM chatrt.sessions s"
    " JOIN chatrt.heads h USING (sid) JOIN chatrt.states t USING (sid)",
    "inputs": "SELECT sid, seq, kind, part_id, body FROM chatrt.inbox ORDER BY sid, seq",
    "outputs": "SELECT sid, first_seq, count, body FROM chatrt.out_segments ORDER BY sid, first_seq",
    "messages": "SELECT sid, node_id, parent_id, body FROM chatrt.nodes ORDER BY made",
}


def dump_sqlite(path: Path) -> Dump:
    """Read a SQLite store, whether somebody serves it or not."""
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN")
        return _gather({name: connection.execute(sql).fetchall() for name, sql in _SQLITE.items()})


def _connect(path: Path) -> sqlite3.Connection:
    # Not read-only: where nobody serves a file, its log may have to be read back first.
    return sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=10)


async def dump_postgres(url: str) -> Dump:
    """Read a PostgreSQL store, whether somebody serves it or not."""
    connection = await asyncpg.connect(url.partition("?")[0], timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return _gather({name: await connection.fetch(sql) for name, sql in _POSTGRES.items()})
    finally:
        await connection.close()


async def dump(url: str) -> Dump:
    """Read the store that a `CHATRT_STORE` names."""
    return dump_sqlite(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite:") else await dump_postgres(url)


async def has_call(url: str, chat: str, tool_call_id: str) -> bool:
    """Tell whether a tool call, with all of its input, stands on `.out` of a chat now."""
    if url.startswith("sqlite:"):
        sql = "SELECT o.body FROM out_segments o JOIN sessions s USING (sid) WHERE s.chat_id = ?"
        with closing(_connect(Path(url.removeprefix("sqlite:///")))) as connection:
            bodies = [row[0] for row in connection.execute(sql, (chat,)).fetchall()]
    else:
        sql = "SELECT o.body FROM chatrt.out_segments o JOIN chatrt.sessions s USING (sid) WHERE s.chat_id = $1"
        connection = await asyncpg.connect(url.partition("?")[0], timeout=5)
        try:
            bodies = [row[0] for row in await connection.fetch(sql, chat)]
        finally:
            await connection.close()
    named, offered = tool_call_id.encode(), b'"tool-input-available"'
    return any(
        named in record and offered in record
        for segment in bodies
        if named in segment
        for _, record in msgpack.unpackb(segment)
    )


def _gather(rows: dict[str, list[Any]]) -> Dump:
    chats: dict[int, Chat] = {}
    for sid, chat, closed, *numbers, leaf, state in rows["heads"]:
        chats[sid] = Chat(chat, bool(closed), *numbers, leaf, json.loads(state))
    for sid, seq, kind, part, body in rows["inputs"]:
        chats[sid].inputs.append(Input(seq, kind, part, json.loads(body)))
    for sid, first_seq, count, body in rows["outputs"]:
        records = msgpack.unpackb(body)
        if len(records) != count:
            raise ValueError(f"chat {chats[sid].chat}: a segment of {len(records)} records says {count}")
        chats[sid].outputs += [Output(seq, kind, data) for seq, (kind, data) in enumerate(records, first_seq)]
    for sid, node, parent, body in rows["messages"]:
        chats[sid].messages.append(MessageRow(node, parent, json.loads(body)))
    return {chat.chat: chat for chat in chats.values()}
