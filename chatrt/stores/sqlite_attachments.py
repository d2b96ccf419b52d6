"""Files of the sessions of a SQLite store: their rows, and their bytes as pieces in a table of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from chatrt.errors import AttachmentNotFoundError, SessionClosedError, SessionNotFoundError
from chatrt.stores.attachments import PIECE, Attachment, check_room
from chatrt.stores.base import SessionKey
from chatrt.stores.rows import attachment_row
from chatrt.stores.sqlite_writer import undone_on_error

T = TypeVar("T")

_COLUMNS = "a.id, a.media_type, a.filename, a.size, a.sha256, a.status, a.created_at, a.expires_at, a.in_bucket"

_OF_SESSION = f"""
SELECT {_COLUMNS} FROM sessions s JOIN attachments a ON a.sid = s.sid WHERE s.tenant = ? AND s.chat_id = ?
"""  # noqa: S608 - only constants are put into it

_PENDING = """
SELECT a.aid FROM sessions s JOIN attachments a ON a.sid = s.sid
WHERE s.tenant = ? AND s.chat_id = ? AND a.id = ? AND a.status = 'pending'
"""

_PIECE = """
SELECT p.body FROM sessions s JOIN attachments a ON a.sid = s.sid JOIN attachment_pieces p ON p.aid = a.aid
WHERE s.tenant = ? AND s.chat_id = ? AND a.id = ? AND a.status = 'ready' AND p.idx = ?
"""

_INSERT = """
INSERT INTO attachments (sid, id, media_type, filename, size, sha256, status, created_at, expires_at, in_bucket)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class Write(Protocol):
    """Runs work inside of the writer's transaction."""

    def __call__(self, work: Callable[..., T], *arguments: Any) -> Awaitable[T]: ...


class Read(Protocol):
    """Runs a query on a connection that only reads."""

    def __call__(self, query: Callable[[sqlite3.Connection], T]) -> Awaitable[T]: ...


class SQLiteAttachments:
    """Fills `AttachmentStore`.

    Args:
        write: How what is written gets to the writer.
        read: How what is read is read; never on the event loop.
    """

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def begin(
        self, key: SessionKey, attachment: Attachment, *, max_count: int, max_total: int
    ) -> list[Attachment]:
        return await self._write(_begin, key, attachment, max_count, max_total)

    async def write(self, key: SessionKey, attachment_id: str, index: int, data: bytes) -> None:
        await self._write(_put_piece, key, attachment_id, index, bytes(data))

    async def finish(
        self, key: SessionKey, attachment_id: str, *, media_type: str, size: int, sha256: str | None
    ) -> Attachment:
        return await self._write(_finish, key, attachment_id, (media_type, size, sha256))

    async def find(self, key: SessionKey, attachment_id: str) -> Attachment | None:
        return await self._read(lambda connection: _find(connection, key, attachment_id))

    async def find_all(self, key: SessionKey) -> list[Attachment]:
        return await self._read(lambda connection: _find_all(connection, key))

    async def read(
        self, key: SessionKey, attachment_id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        row = await self.find(key, attachment_id)
        if row is None or row.status != "ready":
            raise AttachmentNotFoundError(attachment_id)
        end = row.size if stop is None else min(stop, row.size)
        while start < end:
            parameters = (key.tenant, key.chat_id, attachment_id, start // PIECE)
            found = await self._read(lambda connection, at=parameters: _rows(connection, _PIECE, at))
            if not found:
                raise AttachmentNotFoundError(attachment_id)
            piece, at = found[0][0], start % PIECE
            yield piece[at : at + end - start]
            start += len(piece) - at

    async def delete(self, key: SessionKey, attachment_id: str) -> bool:
        return await self._write(_delete, key, attachment_id)


def drop_unfinished(connection: sqlite3.Connection) -> None:
    """Remove what came of files that were on their way when the database was closed: nobody can be sending them."""
    connection.execute("DELETE FROM attachments WHERE status = 'pending' AND NOT in_bucket")


def _begin(
    connection: sqlite3.Connection, key: SessionKey, new: Attachment, max_count: int, max_total: int
) -> list[Attachment]:
    """Several statements, undone together."""
    with undone_on_error(connection):
        sessions = _rows(
            connection, "SELECT sid, status FROM sessions WHERE tenant = ? AND chat_id = ?", (key.tenant, key.chat_id)
        )
        if not sessions:
            raise SessionNotFoundError(key.chat_id)
        sid, status = sessions[0]
        if status == "closed":
            raise SessionClosedError(key.chat_id)
        held = _find_all(connection, key)
        expired = [row for row in held if row.status == "pending" and row.expires_at <= new.created_at]
        for row in expired:
            connection.execute("DELETE FROM attachments WHERE sid = ? AND id = ?", (sid, row.id))
        check_room([row for row in held if row not in expired], new, max_count=max_count, max_total=max_total)
        values = (new.media_type, new.filename, new.size, new.sha256, new.status, new.created_at, new.expires_at)
        connection.execute(_INSERT, (sid, new.id, *values, new.in_bucket))
    return expired


def _put_piece(connection: sqlite3.Connection, key: SessionKey, attachment_id: str, index: int, data: bytes) -> None:
    aid = _pending(connection, key, attachment_id)
    connection.execute("INSERT OR REPLACE INTO attachment_pieces (aid, idx, body) VALUES (?, ?, ?)", (aid, index, data))


def _finish(
    connection: sqlite3.Connection, key: SessionKey, attachment_id: str, values: tuple[str, int, str | None]
) -> Attachment:
    aid = _pending(connection, key, attachment_id)
    connection.execute(
        "UPDATE attachments SET media_type = ?, size = ?, sha256 = ?, status = 'ready' WHERE aid = ?",
        (*values, aid),
    )
    found = _find(connection, key, attachment_id)
    if found is None:
        raise AttachmentNotFoundError(attachment_id)
    return found


def _delete(connection: sqlite3.Connection, key: SessionKey, attachment_id: str) -> bool:
    sql = "DELETE FROM attachments WHERE sid = (SELECT sid FROM sessions WHERE tenant = ? AND chat_id = ?) AND id = ?"
    return connection.execute(sql, (key.tenant, key.chat_id, attachment_id)).rowcount > 0


def _pending(connection: sqlite3.Connection, key: SessionKey, attachment_id: str) -> int:
    rows = _rows(connection, _PENDING, (key.tenant, key.chat_id, attachment_id))
    if not rows:
        raise AttachmentNotFoundError(attachment_id)
    return rows[0][0]


def _find(connection: sqlite3.Connection, key: SessionKey, attachment_id: str) -> Attachment | None:
    rows = _rows(connection, f"{_OF_SESSION} AND a.id = ?", (key.tenant, key.chat_id, attachment_id))
    return attachment_row(rows[0]) if rows else None


def _find_all(connection: sqlite3.Connection, key: SessionKey) -> list[Attachment]:
    return [
        attachment_row(row) for row in _rows(connection, f"{_OF_SESSION} ORDER BY a.aid", (key.tenant, key.chat_id))
    ]


def _rows(connection: sqlite3.Connection, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    return connection.execute(sql, parameters).fetchall()
