"""A session taken out of the PostgreSQL store in one snapshot, and put into it by one call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from chatrt.errors import ConflictError, SessionNotFoundError
from chatrt.stores import rows
from chatrt.stores.base import Record, SessionKey, to_millis
from chatrt.stores.portable import PAGE_BYTES, EncodedDump, Exported, ExportedHead, ExportedInput
from chatrt.stores.postgres import queries
from chatrt.stores.postgres.database import READ_SECONDS, Connection, Database

PREFETCH = 16
"""How many rows of a session are fetched at once."""


async def read_session(database: Database, key: SessionKey) -> AsyncGenerator[Sequence[Exported]]:
    """Yield a session by cursors of one snapshot; see `PortableStore.export_session`."""
    async with database.snapshot() as connection:
        found = await connection.fetchrow(queries.FIND, key.tenant, key.chat_id)
        head = await connection.fetchrow(queries.SNAPSHOT_HEAD, key.tenant, key.chat_id)
        if found is None or head is None:
            raise SessionNotFoundError(key.chat_id)
        sid, in_cursor, settled_seq, leaf_id = head["sid"], head["in_cursor"], head["settled_seq"], head["leaf_id"]
        state = rows.load_json(head["body"], key, "its state")
        yield [
            ExportedHead(
                row=rows.session_row(found), in_cursor=in_cursor, settled_seq=settled_seq, leaf_id=leaf_id, state=state
            )
        ]

        def nodes(row: Any) -> list[Exported]:
            return [rows.to_node(row, key)]

        def records(row: Any) -> list[Exported]:
            what = f".out of session {key.chat_id!r} from {row['first_seq']}"
            return [record for record in rows.decode_segment(what, *row) if record.seq <= settled_seq]

        for sql, limits, read in (
            (queries.EXPORT_NODES, (), nodes),
            (queries.EXPORT_INPUTS, (in_cursor,), _input),
            (queries.EXPORT_SEGMENTS, (settled_seq,), records),
        ):
            async for page in _cut(connection, sql, (sid, *limits), read):
                yield page


async def _cut(
    connection: Connection, sql: str, arguments: tuple[Any, ...], read: Callable[[Any], list[Exported]]
) -> AsyncGenerator[list[Exported]]:
    page: list[Exported] = []
    size = 0
    async for row in connection.cursor(sql, *arguments, prefetch=PREFETCH):
        page += read(row)
        size += len(row["body"])
        if size > PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _input(row: Any) -> list[Exported]:
    seq, at, kind, body, part_id = row
    return [ExportedInput(Record(seq, to_millis(at), kind, body), part_id)]


async def put_session(database: Database, dump: EncodedDump) -> None:
    """Put a session into the database.

    Raises:
        ConflictError: If there is one of that key.
    """
    put = await database.write(
        queries.IMPORT,
        *dump.session,
        *_columns(dump.nodes, 5),
        *_columns(dump.inputs, 5),
        *_columns(dump.segments, 4),
        dump.in_cursor,
        dump.out_first,
        dump.settled_seq,
        dump.leaf_id,
        dump.state,
        seconds=READ_SECONDS,
    )
    if not put[0][0]:
        raise ConflictError(f"there is a session {dump.key.chat_id!r}")


def _columns(table: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[column] for row in table] for column in range(width)]
