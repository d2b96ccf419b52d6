"""The cases of the store suite about files of sessions, for stores that keep any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from chatrt.errors import AttachmentLimitError, AttachmentNotFoundError, SessionClosedError, SessionNotFoundError
from chatrt.stores.attachments import PIECE, Attachment, AttachmentStore, find_attachment_store
from chatrt.stores.base import SessionKey, Store
from chatrt.testing.store_suite.setting import CHAT, NOW, OTHER, StoreCase, create

_ROOM = {"max_count": 3, "max_total": 10 * PIECE}
_NEW = Attachment(id="f1", media_type="text/plain", filename="ä.txt", size=5, created_at=NOW, expires_at=NOW + 60)
_BYTES = bytes(range(256)) * (PIECE // 256)


async def _keep(
    files: AttachmentStore, data: bytes, *, key: SessionKey = CHAT, attachment_id: str = "f1", at: float = NOW
) -> Attachment:
    """Store a whole file."""
    new = replace(_NEW, id=attachment_id, size=len(data), created_at=at, expires_at=at + 60)
    await files.begin(key, new, **_ROOM)
    for index in range(-(-len(data) // PIECE)):
        await files.write(key, attachment_id, index, data[index * PIECE : (index + 1) * PIECE])
    return await files.finish(key, attachment_id, media_type="text/plain", size=len(data), sha256="0" * 64)


async def _read(files: AttachmentStore, start: int = 0, stop: int | None = None, *, key: SessionKey = CHAT) -> bytes:
    return b"".join([piece async for piece in files.read(key, "f1", start=start, stop=stop)])


class AttachmentCases(StoreCase):
    @pytest.fixture
    def files(self, store: Store) -> AttachmentStore:
        found = find_attachment_store(store)
        if found is None:
            pytest.skip("this store keeps no files")
        return found

    async def test_file_of_many_pieces(self, store: Store, files: AttachmentStore) -> None:
        """What was written in pieces is read as one file, and what is known of it is kept."""
        await create(store)
        data = _BYTES * 2 + b"the end"
        ready = await _keep(files, data)

        assert await _read(files) == data
        assert ready == replace(_NEW, size=len(data), sha256="0" * 64, status="ready")
        assert await files.find(CHAT, "f1") == ready

    async def test_file_ends_with_a_piece(self, store: Store, files: AttachmentStore) -> None:
        """A file of exactly some pieces has no further one."""
        await create(store)
        await _keep(files, _BYTES * 2)
        assert await _read(files) == _BYTES * 2

    @pytest.mark.parametrize(("start", "stop"), [(0, 1), (PIECE - 1, PIECE + 1), (PIECE, None), (7, PIECE * 9), (5, 5)])
    async def test_range_of_a_file(self, store: Store, files: AttachmentStore, start: int, stop: int | None) -> None:
        """Any range is read, also across the border between two pieces and beyond the end."""
        await create(store)
        data = _BYTES + b"the end"
        await _keep(files, data)
        assert await _read(files, start, stop) == data[start:stop]

    async def test_pending_file_is_not_read(self, store: Store, files: AttachmentStore) -> None:
        """A file can be read only when it is ready."""
        await create(store)
        await files.begin(CHAT, _NEW, **_ROOM)
        await files.write(CHAT, "f1", 0, b"hello")
        found = await files.find(CHAT, "f1")

        assert found is not None
        assert found.status == "pending"
        with pytest.raises(AttachmentNotFoundError):
            await _read(files)

    async def test_ready_file_does_not_change(self, store: Store, files: AttachmentStore) -> None:
        """Nothing is written to a file that is ready, and it is not finished twice."""
        await create(store)
        await _keep(files, b"hello")
        with pytest.raises(AttachmentNotFoundError):
            await files.write(CHAT, "f1", 0, b"HELLO")
        with pytest.raises(AttachmentNotFoundError):
            await files.finish(CHAT, "f1", media_type="text/html", size=1, sha256=None)
        assert await _read(files) == b"hello"

    async def test_files_of_an_unknown_session(self, files: AttachmentStore) -> None:
        """Files belong to a session that is there."""
        with pytest.raises(SessionNotFoundError):
            await files.begin(CHAT, _NEW, **_ROOM)
        assert await files.find(CHAT, "f1") is None
        assert await files.find_all(CHAT) == []
        assert await files.delete(CHAT, "f1") is False

    async def test_files_of_a_closed_session(self, store: Store, files: AttachmentStore) -> None:
        """A closed session takes no more files and keeps those it has."""
        await create(store)
        await _keep(files, b"hello")
        await store.close_session(CHAT, reason=None, at=NOW)

        with pytest.raises(SessionClosedError):
            await files.begin(CHAT, replace(_NEW, id="f2"), **_ROOM)
        assert await _read(files) == b"hello"

    async def test_files_of_others(self, store: Store, files: AttachmentStore) -> None:
        """A file is not there for another session or another tenant, whoever knows its id."""
        await create(store)
        await create(store, OTHER)
        theirs = await create(store, SessionKey("theirs", CHAT.chat_id))
        await _keep(files, b"hello")

        for key in (OTHER, theirs):
            assert await files.find(key, "f1") is None
            assert await files.delete(key, "f1") is False
            with pytest.raises(AttachmentNotFoundError):
                await _read(files, key=key)
        assert await _read(files) == b"hello"

    async def test_count_limit(self, store: Store, files: AttachmentStore) -> None:
        """A session holds no more files than it may; one that goes makes room."""
        await create(store)
        for name in ("f1", "f2", "f3"):
            await _keep(files, b"hello", attachment_id=name)
        with pytest.raises(AttachmentLimitError):
            await files.begin(CHAT, replace(_NEW, id="f4"), **_ROOM)

        assert await files.delete(CHAT, "f2")
        await files.begin(CHAT, replace(_NEW, id="f4"), **_ROOM)
        assert [row.id for row in await files.find_all(CHAT)] == ["f1", "f3", "f4"]

    async def test_size_limit_counts_what_is_on_its_way(self, store: Store, files: AttachmentStore) -> None:
        """Pending files count with the size that is kept for them, ready ones with their own."""
        await create(store)
        await files.begin(CHAT, replace(_NEW, size=6), max_count=9, max_total=10)
        with pytest.raises(AttachmentLimitError):
            await files.begin(CHAT, replace(_NEW, id="f2", size=5), max_count=9, max_total=10)

        await files.write(CHAT, "f1", 0, b"hello")
        await files.finish(CHAT, "f1", media_type="text/plain", size=5, sha256=None)
        await files.begin(CHAT, replace(_NEW, id="f2", size=5), max_count=9, max_total=10)

    async def test_expired_files_make_room(self, store: Store, files: AttachmentStore) -> None:
        """A pending file that is expired is removed with its pieces, and told; a ready one never expires."""
        await create(store)
        await _keep(files, b"hello")
        await files.begin(CHAT, replace(_NEW, id="f2", in_bucket=True), **_ROOM)
        await files.begin(CHAT, replace(_NEW, id="f3"), **_ROOM)
        await files.write(CHAT, "f3", 0, b"hello")
        later = replace(_NEW, id="f4", created_at=NOW + 60, expires_at=NOW + 120)

        removed = await files.begin(CHAT, later, **_ROOM)

        assert [(row.id, row.in_bucket) for row in removed] == [("f2", True), ("f3", False)]
        assert [row.id for row in await files.find_all(CHAT)] == ["f1", "f4"]
        with pytest.raises(AttachmentNotFoundError):
            await files.write(CHAT, "f3", 1, b"more")

    async def test_deleted_file(self, store: Store, files: AttachmentStore) -> None:
        """A deleted file is gone, and a write that comes late finds nothing."""
        await create(store)
        await _keep(files, b"hello")
        assert await files.delete(CHAT, "f1") is True
        assert await files.delete(CHAT, "f1") is False
        assert await files.find(CHAT, "f1") is None
        with pytest.raises(AttachmentNotFoundError):
            await _read(files)

    async def test_files_of_a_deleted_session(self, store: Store, files: AttachmentStore) -> None:
        """A deleted session takes its files along; one that begins anew under its name has none."""
        await create(store)
        await _keep(files, b"hello")
        await store.delete_session(CHAT)
        await create(store)
        assert await files.find_all(CHAT) == []
        with pytest.raises(AttachmentNotFoundError):
            await _read(files)

    async def test_files_survive_closing_the_store(self, make_store: Callable[[], Store]) -> None:
        """A ready file is there when the store is opened again, and so is one that a client sends to a bucket."""
        store = make_store()
        files = find_attachment_store(store)
        if files is None:
            pytest.skip("this store keeps no files")
        await store.open()
        await create(store)
        await _keep(files, b"hello")
        await files.begin(CHAT, replace(_NEW, id="f2", in_bucket=True), **_ROOM)
        await store.close()
        await store.open()
        assert await _read(files) == b"hello"
        assert [row.id for row in await files.find_all(CHAT)] == ["f1", "f2"]
        await store.close()
