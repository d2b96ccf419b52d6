"""A session taken out of the SQLite store in one read transaction, and put into it in one write."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from chatrt.codec import dumps, pack
from chatrt.errors import ConflictError, SessionNotFoundError
from chatrt.stores.base import Record, SessionKey, SessionRow, to_millis
from chatrt.stores.metadata import encode_metadata
from chatrt.stores.portable import (
    PAGE_BYTES,
    Exported,
    ExportedHead,
    ExportedInput,
    SessionDump,
    check_dump,
)
from chatrt.stores.rows import decode_segment, load_json, to_node
from chatrt.stores.sqlite_file import connect_reader, to_store_error
from chatrt.stores.sqlite_reads import find_session
from chatrt.stores.sqlite_writer import undone_on_error

SEGMENT_RECORDS = 1000

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
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, chat_id) DO NOTHING
RETURNING sid
"""
_PUT_NODE = "INSERT INTO nodes (sid, node_id, parent_id, message_id, role, body) VALUES (?, ?, ?, ?, ?, ?)"
_PUT_INPUT = "INSERT INTO inbox (sid, seq, at, kind, body, part_id) VALUES (?, ?, ?, ?, ?, ?)"
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


@dataclass(frozen=True, slots=True)
class EncodedDump:
    """A dump in the form it is stored in."""

    key: SessionKey
    session: tuple[Any, ...]
    nodes: list[tuple[Any, ...]]
    inputs: list[tuple[Any, ...]]
    segments: list[tuple[Any, ...]]
    head: tuple[Any, ...]
    leaf_id: str | None
    state: bytes

    @classmethod
    def encode(cls, dump: SessionDump) -> EncodedDump:
        """Check a dump and encode it.

        Raises:
            InvalidInputError: If it contradicts itself.
            TooLargeError: If its metadata are too large.
        """
        check_dump(dump)
        row, head, parent = dump.head.row, dump.head, dump.head.row.parent
        origin = (None, None, None) if parent is None else (parent.chat_id, parent.root_id, parent.tool_call_id)
        first_seq = dump.records[0].seq if dump.records else head.settled_seq + 1
        return cls(
            key=row.key,
            session=(
                row.key.tenant,
                row.key.chat_id,
                row.agent,
                row.status,
                row.closed_reason,
                row.created_at,
                encode_metadata(row.metadata),
                dumps(row.client_data),
                *origin,
            ),
            nodes=[(n.node_id, n.parent_id, n.message["id"], n.message["role"], dumps(n.message)) for n in dump.nodes],
            inputs=[(r.record.seq, r.record.at / 1000, r.record.kind, r.record.body, r.part_id) for r in dump.inputs],
            segments=list(_segments(dump.records)),
            head=(head.in_cursor, first_seq, head.settled_seq, row.updated_at),
            leaf_id=head.leaf_id,
            state=dumps(head.state),
        )


def _segments(records: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    for at, together in itertools.groupby(records, lambda record: record.at):
        same = list(together)
        for start in range(0, len(same), SEGMENT_RECORDS):
            piece = same[start : start + SEGMENT_RECORDS]
            yield piece[0].seq, len(piece), at / 1000, pack([(record.kind, record.body) for record in piece])


def put_session(connection: sqlite3.Connection, dump: EncodedDump) -> SessionRow:
    """Several statements, undone together."""
    with undone_on_error(connection):
        rows = connection.execute(_CREATE, dump.session).fetchall()
        if not rows:
            raise ConflictError(f"there is a session {dump.key.chat_id!r}")
        sid: int = rows[0][0]
        for statement, values in ((_PUT_NODE, dump.nodes), (_PUT_INPUT, dump.inputs), (_PUT_SEGMENT, dump.segments)):
            connection.executemany(statement, [(sid, *row) for row in values])
        connection.execute(_PUT_HEAD, (sid, *dump.head))
        connection.execute("UPDATE states SET leaf_id = ?, body = ? WHERE sid = ?", (dump.leaf_id, dump.state, sid))
        row = find_session(connection, dump.key)
    if row is None:  # pragma: no cover - it was put there by the statements above
        raise SessionNotFoundError(dump.key.chat_id)
    return row
