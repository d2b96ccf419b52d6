"""Dumps: what a store holds, read from its tables without any code of chatrt."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
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
_OPEN = "h.in_last > h.in_cursor OR h.out_last > h.settled_seq"
_SQLITE = {
    "heads": f"SELECT s.sid, s.chat_id, s.status = 'closed', {_HEAD}, l.epoch, l.owner, t.leaf_id, t.body FROM sessions s"
    " JOIN heads h USING (sid) JOIN leases l USING (sid) JOIN states t USING (sid) WHERE s.sid IN ",
    "inputs": "SELECT sid, seq, kind, part_id, body FROM inbox WHERE sid IN {} ORDER BY sid, seq",
    "outputs": "SELECT sid, first_seq, count, body FROM out_segments WHERE sid IN {} ORDER BY sid, first_seq",
    "messages": "SELECT sid, node_id, parent_id, body FROM nodes WHERE sid IN {} ORDER BY rowid",
}
_SQLITE_CHATS = "(SELECT sid FROM sessions WHERE ?1 IS NULL OR chat_id IN (SELECT value FROM json_each(?1)))"
_POSTGRES = {
    "heads": f"SELECT s.sid, s.chat_id, h.closed, {_HEAD}, h.epoch, h.owner, t.leaf_id, t.body FROM chatrt.sessions s"
    " JOIN chatrt.heads h USING (sid) JOIN chatrt.states t USING (sid) WHERE s.sid IN ",
    "inputs": "SELECT sid, seq, kind, part_id, body FROM chatrt.inbox WHERE sid IN {} ORDER BY sid, seq",
    "outputs": "SELECT sid, first_seq, count, body FROM chatrt.out_segments WHERE sid IN {} ORDER BY sid, first_seq",
    "messages": "SELECT sid, node_id, parent_id, body FROM chatrt.nodes WHERE sid IN {} ORDER BY made",
}
_POSTGRES_CHATS = "(SELECT sid FROM chatrt.sessions WHERE $1::text[] IS NULL OR chat_id = ANY ($1))"


async def dump(url: str, chats: Collection[str] | None = None) -> Dump:
    """Read the store that a `CHATRT_STORE` names, whether somebody serves it or not.

    Args:
        url: Names it.
        chats: Only these; without, all.

    Raises:
        OSError: If it cannot be read now.
    """
    wanted = None if chats is None else list(chats)
    if url.startswith("sqlite:"):
        encoded = None if wanted is None else json.dumps(wanted)
        statements = {name: _filtered(sql, _SQLITE_CHATS) for name, sql in _SQLITE.items()}
        with sqlite_connection(url) as connection:
            connection.execute("BEGIN")
            return _gather({name: connection.execute(sql, (encoded,)).fetchall() for name, sql in statements.items()})
    statements = {name: _filtered(sql, _POSTGRES_CHATS) for name, sql in _POSTGRES.items()}
    async with postgres_connection(url) as connection, connection.transaction(isolation="repeatable_read"):
        return _gather({name: await connection.fetch(sql, wanted) for name, sql in statements.items()})


def _filtered(sql: str, chats: str) -> str:
    return sql.format(chats) if "{}" in sql else sql + chats


async def find_unsettled(url: str) -> list[str]:
    """Return the chats with inputs or turns that are not settled.

    Raises:
        OSError: If the store cannot be read now.
    """
    if url.startswith("sqlite:"):
        with sqlite_connection(url) as connection:
            sql = f"SELECT s.chat_id FROM sessions s JOIN heads h USING (sid) WHERE {_OPEN}"
            return [row[0] for row in connection.execute(sql).fetchall()]
    async with postgres_connection(url) as connection:
        sql = f"SELECT s.chat_id FROM chatrt.sessions s JOIN chatrt.heads h USING (sid) WHERE {_OPEN}"
        return [row[0] for row in await connection.fetch(sql)]


async def has_call(url: str, chat: str, tool_call_id: str) -> bool:
    """Tell whether a tool call, with all of its input, stands on `.out` of a chat now.

    Behind an approval it is enough that an answer which goes on from the call has begun: its beginning names the call.

    Raises:
        OSError: If the store cannot be read now.
    """
    if url.startswith("sqlite:"):
        with sqlite_connection(url) as connection:
            sql = "SELECT o.body FROM out_segments o JOIN sessions s USING (sid) WHERE s.chat_id = ?"
            bodies = [row[0] for row in connection.execute(sql, (chat,)).fetchall()]
    else:
        async with postgres_connection(url) as connection:
            sql = "SELECT o.body FROM chatrt.out_segments o JOIN chatrt.sessions s USING (sid) WHERE s.chat_id = $1"
            bodies = [row[0] for row in await connection.fetch(sql, chat)]
    named, offered = tool_call_id.encode(), b'"tool-input-available"'
    return any(
        named in record and (kind == "turn-start" or offered in record)
        for segment in bodies
        if named in segment
        for kind, record in msgpack.unpackb(segment)
    )


@contextmanager
def sqlite_connection(url: str) -> Iterator[sqlite3.Connection]:
    """Open a SQLite store for reading.

    Raises:
        OSError: If it cannot be read.
    """
    path = url.removeprefix("sqlite:///")
    try:
        # Read-only where that will do: nobody's last connection is ours, and so no checkpoint either.
        for mode in ("ro", "rw"):
            with closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True, isolation_level=None, timeout=5)) as one:
                try:
                    one.execute("SELECT 1 FROM sqlite_schema").fetchall()
                except sqlite3.OperationalError:
                    if mode == "rw":
                        raise
                    continue  # the log of a server that was killed has to be read back first
                yield one
                return
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


@asynccontextmanager
async def postgres_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a PostgreSQL store for reading.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        connection = await asyncpg.connect(url.partition("?")[0], timeout=3, command_timeout=10)
        try:
            yield connection
        finally:
            await connection.close(timeout=3)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError) as error:
        raise OSError(str(error)) from error


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
