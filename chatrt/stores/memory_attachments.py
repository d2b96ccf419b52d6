"""Files of the sessions of a memory store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from chatrt.errors import AttachmentNotFoundError, SessionClosedError, SessionNotFoundError
from chatrt.stores.attachments import PIECE, Attachment, check_room
from chatrt.stores.base import SessionKey, SessionStatus


@dataclass(slots=True)
class StoredFiles:
    """The files of one session: what is known of each, and its pieces."""

    rows: dict[str, Attachment] = field(default_factory=dict[str, Attachment])
    pieces: dict[str, dict[int, bytes]] = field(default_factory=dict[str, dict[int, bytes]])

    def remove(self, attachment_id: str) -> Attachment | None:
        self.pieces.pop(attachment_id, None)
        return self.rows.pop(attachment_id, None)


class MemoryAttachments:
    """Fills `AttachmentStore`.

    Args:
        look_up: Gives the status and the files of a session; None where there is no such session.
    """

    def __init__(self, look_up: Callable[[SessionKey], tuple[SessionStatus, StoredFiles] | None]) -> None:
        self._look_up = look_up

    async def begin(
        self, key: SessionKey, attachment: Attachment, *, max_count: int, max_total: int
    ) -> list[Attachment]:
        found = self._look_up(key)
        if found is None:
            raise SessionNotFoundError(key.chat_id)
        status, files = found
        if status == "closed":
            raise SessionClosedError(key.chat_id)
        expired = [
            row for row in files.rows.values() if row.status == "pending" and row.expires_at <= attachment.created_at
        ]
        for row in expired:
            files.remove(row.id)
        check_room(list(files.rows.values()), attachment, max_count=max_count, max_total=max_total)
        files.rows[attachment.id] = attachment
        return expired

    async def write(self, key: SessionKey, attachment_id: str, index: int, data: bytes) -> None:
        files = self._pending(key, attachment_id)
        files.pieces.setdefault(attachment_id, {})[index] = bytes(data)

    async def finish(
        self, key: SessionKey, attachment_id: str, *, media_type: str, size: int, sha256: str | None
    ) -> Attachment:
        files = self._pending(key, attachment_id)
        ready = replace(files.rows[attachment_id], media_type=media_type, size=size, sha256=sha256, status="ready")
        files.rows[attachment_id] = ready
        return ready

    async def find(self, key: SessionKey, attachment_id: str) -> Attachment | None:
        return self._files(key).rows.get(attachment_id)

    async def find_all(self, key: SessionKey) -> list[Attachment]:
        return list(self._files(key).rows.values())

    async def read(
        self, key: SessionKey, attachment_id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        row = self._files(key).rows.get(attachment_id)
        if row is None or row.status != "ready":
            raise AttachmentNotFoundError(attachment_id)
        end = row.size if stop is None else min(stop, row.size)
        while start < end:
            piece = self._files(key).pieces.get(attachment_id, {}).get(start // PIECE)
            if piece is None:
                raise AttachmentNotFoundError(attachment_id)
            at = start % PIECE
            yield piece[at : at + end - start]
            start += len(piece) - at

    async def delete(self, key: SessionKey, attachment_id: str) -> bool:
        return self._files(key).remove(attachment_id) is not None

    def _files(self, key: SessionKey) -> StoredFiles:
        found = self._look_up(key)
        return StoredFiles() if found is None else found[1]

    def _pending(self, key: SessionKey, attachment_id: str) -> StoredFiles:
        files = self._files(key)
        row = files.rows.get(attachment_id)
        if row is None or row.status != "pending":
            raise AttachmentNotFoundError(attachment_id)
        return files
