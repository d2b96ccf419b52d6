"""A session taken out of the SQLite store in one read transaction, and put into it in one write."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chatrt.errors import ConflictError, SessionNotFoundError
from chatrt.stores.base import Record, SessionKey, SessionRow, to_millis
from chatrt.stores.portable import (
    PAGE_BYTES,
    EncodedDump,
    Exported,
    ExportedHead,
    ExportedInput,
)
from chatrt.stores.rows import decode_segment, load_json, to_node
from chatrt.stores.sqlite_file import connect_reader, to_store_error
from chatrt.stores.sqlite_reads import find_session
from chatrt.stores.sqlite_writer import undone_on_error

_HEAD = """
SELECT h.sid, h.in_cursor, h.settled_seq, st.leaf_id, st.body
FROM sessions s JOIN heads h ON h.sid = s.sid JOIN states st ON st.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ?
"""
_NODES = "SELECT node_id, parent_id, body FROM nodes WHERE sid = ? ORDER BY rowid"
_INPUTS = "SELECT seq, at, kind, body, part_id FROM inbox WHERE sid = ? AND seq <= ? ORDER BY seq"
_SEGMENTS = "SELECT first_seq, count, at, body FROM out_segments WHERE sid = ? AND first_seq <= ? ORDER BY first_seq"

_CREATE = """
INSERT INTO sessions (tenant, chat_id, agent, status, closed_reason, created_at, metadata, client_data, parent_id,
    root_id, tool_call_id)
VALUES (?1, ?2, ?3, iif(?4, 'closed', 'open'), ?5, ?6, ?8, ?9, ?10, ?11, ?12)
ON CONFLICT (tenant, chat_id) DO NOTHING
RETURNING sid
"""
_PUT_NODE = "INSERT INTO nodes (sid, node_id, parent_id, message_id, role, body) VALUES (?, ?, ?, ?, ?, ?)"
_PUT_INPUT = "INSERT INTO inbox (sid, seq, at, kind, part_id, body) VALUES (?, ?, ?, ?, ?, ?)"
_PUT_SEGMENT = "INSERT INTO out_segments (sid, first_seq, count, at, body) VALUES (?, ?, ?, ?, ?)"
_PUT_HEAD = """
UPDATE heads SET in_last = ?2, in_cursor = ?2, out_first = ?3, out_last = ?4, settled_seq = ?4, updated_at = ?5
WHERE sid = ?1
"""


# --- out of it


async def read_session(path: str, key: SessionKey) -> AsyncGenerator[Sequence[Exported]]:
    """Yield a session from a connection and a thread of its own; see `PortableStore.export_session`."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="chatrt-sqlite-export")
    pages = _pages(path, key)

    def next_page() -> Sequence[Exported]:
        return next(pages, ())

    try:
        while page := await loop.run_in_executor(thread, next_page):
            yield page
    except sqlite3.Error as error:
        raise to_store_error(error, path) from error
    finally:
        thread.submit(pages.close)  # behind a read that is still under way
        thread.shutdown(wait=False)


def _pages(path: str, key: SessionKey) -> Generator[list[Exported]]:
    connection = connect_reader(path)
    try:
        connection.execute("BEGIN")
        rows = connection.execute(_HEAD, (key.tenant, key.chat_id)).fetchall()
        row = find_session(connection, key)
        if not rows or row is None:
            raise SessionNotFoundError(key.chat_id)
        sid, in_cursor, settled_seq, leaf_id, state = rows[0]
        yield [
            ExportedHead(
                row=row,
                in_cursor=in_cursor,
                settled_seq=settled_seq,
                leaf_id=leaf_id,
                state=load_json(state, key, "its state"),
            )
        ]
        yield from _cut(connection.execute(_NODES, (sid,)), lambda row: [to_node(row, key)])
        yield from _cut(connection.execute(_INPUTS, (sid, in_cursor)), _inputs)
        yield from _cut(connection.execute(_SEGMENTS, (sid, settled_seq)), lambda row: _records(row, settled_seq, key))
    finally:
        connection.close()


def _cut(
    rows: Iterator[tuple[Any, ...]], read: Callable[[tuple[Any, ...]], Sequence[Exported]]
) -> Iterator[list[Exported]]:
    """Yield what rows hold in pages of about the same size."""
    page: list[Exported] = []
    size = 0
    for row in rows:
        page += read(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if size > PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _inputs(row: tuple[Any, ...]) -> list[Exported]:
    seq, at, kind, body, part_id = row
    return [ExportedInput(Record(seq, to_millis(at), kind, body), part_id)]


def _records(row: tuple[Any, ...], settled_seq: int, key: SessionKey) -> list[Exported]:
    first_seq, count, at, body = row
    records = decode_segment(f".out of session {key.chat_id!r} from {first_seq}", first_seq, count, at, body)
    return [record for record in records if record.seq <= settled_seq]


# --- into it


def put_session(connection: sqlite3.Connection, dump: EncodedDump) -> SessionRow:
    """Several statements, undone together."""
    with undone_on_error(connection):
        rows = connection.execute(_CREATE, dump.session).fetchall()
        if not rows:
            raise ConflictError(f"there is a session {dump.key.chat_id!r}")
        sid: int = rows[0][0]
        for statement, values in ((_PUT_NODE, dump.nodes), (_PUT_INPUT, dump.inputs), (_PUT_SEGMENT, dump.segments)):
            connection.executemany(statement, [(sid, *row) for row in values])
        connection.execute(_PUT_HEAD, (sid, dump.in_cursor, dump.out_first, dump.settled_seq, dump.updated_at))
        connection.execute("UPDATE states SET leaf_id = ?, body = ? WHERE sid = ?", (dump.leaf_id, dump.state, sid))
        row = find_session(connection, dump.key)
    if row is None:  # pragma: no cover - it was put there by the statements above
        raise SessionNotFoundError(dump.key.chat_id)
    return row
