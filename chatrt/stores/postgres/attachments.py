"""Files of the sessions of a PostgreSQL store: their rows, and their bytes as pieces in a table of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from chatrt.errors import AttachmentNotFoundError, SessionClosedError, SessionNotFoundError
from chatrt.stores.attachments import PIECE, Attachment, check_room
from chatrt.stores.base import SessionKey
from chatrt.stores.postgres.database import Connection, Database
from chatrt.stores.rows import attachment_row

_COLUMNS = "a.id, a.media_type, a.filename, a.size, a.sha256, a.status, a.created_at, a.expires_at, a.in_bucket"
_SID = "(SELECT sid FROM chatrt.sessions WHERE tenant = $1 AND chat_id = $2)"

_ALL = f"SELECT {_COLUMNS} FROM chatrt.attachments a WHERE a.sid = {_SID} ORDER BY a.aid"  # noqa: S608 - constants
_ONE = f"SELECT {_COLUMNS} FROM chatrt.attachments a WHERE a.sid = {_SID} AND a.id = $3"  # noqa: S608

# The lock keeps a session from being closed or deleted, and another file from being begun, at the same time.
_SESSION = """
SELECT h.sid, h.closed FROM chatrt.heads h JOIN chatrt.sessions s USING (sid)
WHERE s.tenant = $1 AND s.chat_id = $2 FOR NO KEY UPDATE OF h
"""

_INSERT = """
INSERT INTO chatrt.attachments
    (sid, id, media_type, filename, size, sha256, status, created_at, expires_at, in_bucket)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

_PUT_PIECE = f"""
INSERT INTO chatrt.attachment_pieces (aid, idx, body)
SELECT a.aid, $4, $5 FROM chatrt.attachments a WHERE a.sid = {_SID} AND a.id = $3 AND a.status = 'pending'
ON CONFLICT (aid, idx) DO UPDATE SET body = excluded.body
RETURNING aid
"""  # noqa: S608

_FINISH = f"""
UPDATE chatrt.attachments a SET media_type = $4, size = $5, sha256 = $6, status = 'ready'
WHERE a.sid = {_SID} AND a.id = $3 AND a.status = 'pending'
RETURNING {_COLUMNS}
"""  # noqa: S608

_PIECE = f"""
SELECT p.body FROM chatrt.attachments a JOIN chatrt.attachment_pieces p USING (aid)
WHERE a.sid = {_SID} AND a.id = $3 AND a.status = 'ready' AND p.idx = $4
"""  # noqa: S608

_DELETE = f"DELETE FROM chatrt.attachments WHERE sid = {_SID} AND id = $3 RETURNING aid"  # noqa: S608


class PostgresAttachments:
    """Fills `AttachmentStore`.

    Args:
        ready: Gives the database, or raises if the store is not open.
    """

    def __init__(self, ready: Callable[[], Database]) -> None:
        self._ready = ready

    async def begin(
        self, key: SessionKey, attachment: Attachment, *, max_count: int, max_total: int
    ) -> list[Attachment]:
        async def begin(connection: Connection) -> list[Attachment]:
            return await _begin(connection, key, attachment, max_count, max_total)

        return await self._ready().transact(begin)

    async def write(self, key: SessionKey, attachment_id: str, index: int, data: bytes) -> None:
        values = (key.tenant, key.chat_id, attachment_id, index, bytes(data))
        if not await self._ready().write(_PUT_PIECE, *values):
            raise AttachmentNotFoundError(attachment_id)

    async def finish(
        self, key: SessionKey, attachment_id: str, *, media_type: str, size: int, sha256: str | None
    ) -> Attachment:
        values = (key.tenant, key.chat_id, attachment_id, media_type, size, sha256)
        found = await self._ready().write(_FINISH, *values)
        if not found:
            raise AttachmentNotFoundError(attachment_id)
        return attachment_row(found[0])

    async def find(self, key: SessionKey, attachment_id: str) -> Attachment | None:
        found = await self._ready().read(_ONE, key.tenant, key.chat_id, attachment_id)
        return attachment_row(found[0]) if found else None

    async def find_all(self, key: SessionKey) -> list[Attachment]:
        return [attachment_row(row) for row in await self._ready().read(_ALL, key.tenant, key.chat_id)]

    async def read(
        self, key: SessionKey, attachment_id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        row = await self.find(key, attachment_id)
        if row is None or row.status != "ready":
            raise AttachmentNotFoundError(attachment_id)
        end = row.size if stop is None else min(stop, row.size)
        while start < end:
            found = await self._ready().read(_PIECE, key.tenant, key.chat_id, attachment_id, start // PIECE)
            if not found:
                raise AttachmentNotFoundError(attachment_id)
            piece, at = found[0][0], start % PIECE
            yield piece[at : at + end - start]
            start += len(piece) - at

    async def delete(self, key: SessionKey, attachment_id: str) -> bool:
        return bool(await self._ready().write(_DELETE, key.tenant, key.chat_id, attachment_id))


async def _begin(
    connection: Connection, key: SessionKey, new: Attachment, max_count: int, max_total: int
) -> list[Attachment]:
    session = await connection.fetchrow(_SESSION, key.tenant, key.chat_id)
    if session is None:
        raise SessionNotFoundError(key.chat_id)
    if session["closed"]:
        raise SessionClosedError(key.chat_id)
    held = [attachment_row(row) for row in await connection.fetch(_ALL, key.tenant, key.chat_id)]
    expired = [row for row in held if row.status == "pending" and row.expires_at <= new.created_at]
    check_room([row for row in held if row not in expired], new, max_count=max_count, max_total=max_total)
    sid: int = session["sid"]
    await connection.execute(
        "DELETE FROM chatrt.attachments WHERE sid = $1 AND id = ANY ($2)", sid, [row.id for row in expired]
    )
    values = (new.media_type, new.filename, new.size, new.sha256, new.status, new.created_at, new.expires_at)
    await connection.execute(_INSERT, sid, new.id, *values, new.in_bucket)
    return expired
