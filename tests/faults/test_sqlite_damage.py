"""SQLite files that are damaged, full, or held by a foreign program."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import pytest

from chatrt.errors import StoreUnavailableError, UnreadableRecordError
from chatrt.stores import NewRecord, SessionKey, SQLiteStore

CHAT = SessionKey("", "chat")
OTHER = SessionKey("", "other")
PAGE = 4096


def record(size):
    return NewRecord("message", b"x" * size)


async def opened(path, **options):
    store = SQLiteStore(path, **options)
    await store.open()
    return store


async def create(store, *keys):
    for key in keys:
        await store.create_session(key, agent="support", metadata={}, client_data=None, at=1.0)


async def fill(store, key):
    """Append until the store is full; return how often it was not."""
    acked = 0
    while True:
        try:
            await store.append_in(key, record(4000), part_id=None, at=1.0)
        except StoreUnavailableError:
            return acked
        acked += 1


@pytest.fixture
async def path(tmp_path):
    """A closed file of some fifty pages."""
    path = tmp_path / "chat.db"
    store = await opened(path)
    await create(store, CHAT)
    await asyncio.gather(*(store.append_in(CHAT, record(1500), part_id=None, at=1.0) for _ in range(100)))
    await store.close()
    return path


def overwrite_header(data):
    return b"this is not a database" + data[22:]


def overwrite_pages(data):
    noise = random.Random(7).randbytes(PAGE)
    return data[: 2 * PAGE] + b"".join(noise for _ in range(len(data) // PAGE - 2))


def cut_in_half(data):
    return data[: len(data) // PAGE // 2 * PAGE]


@pytest.mark.parametrize("damage", [overwrite_header, overwrite_pages, cut_in_half])
async def test_damaged_file(path, damage):
    """A damaged file is refused when it is opened, with its name and what to do, and is left as it is."""
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()

    with pytest.raises(UnreadableRecordError, match=r"chat\.db: .*the file is damaged, restore it from a backup"):
        await opened(path)

    assert path.read_bytes() == before


async def test_mended_file(path):
    """A file that was refused can be opened after it was restored, without a new process."""
    whole = path.read_bytes()
    path.write_bytes(overwrite_pages(whole))
    store = SQLiteStore(path)
    with pytest.raises(UnreadableRecordError):
        await store.open()
    path.write_bytes(whole)

    await store.open()

    assert len(await store.read_in(CHAT, after=0, limit=1000)) == 100
    await store.close()


async def test_full_store_refuses(tmp_path):
    """When there is no space writes are refused as unavailable, nothing of them is there, and reads go on."""
    store = await opened(tmp_path / "chat.db", max_pages=60)
    await create(store, CHAT)

    acked = await fill(store, CHAT)

    assert acked > 10
    assert [one.seq for one in await store.read_in(CHAT, after=0)] == list(range(1, acked + 1))
    await store.close()


async def test_full_store_recovers(tmp_path):
    """When space returns writes go on where they stopped, without a restart."""
    store = await opened(tmp_path / "chat.db", max_pages=60)
    await create(store, CHAT, OTHER)
    await store.append_in(CHAT, record(PAGE), part_id="first", at=1.0)
    await fill(store, OTHER)

    await store.delete_session(OTHER)

    assert (await store.append_in(CHAT, record(4000), part_id="second", at=1.0)).seq == 2
    await store.close()


async def test_full_store_takes_what_fits(tmp_path):
    """Of writes made at once, one that is too large for the space does not take the others with it."""
    store = await opened(tmp_path / "chat.db", max_pages=60)
    await create(store, CHAT)

    results = await asyncio.gather(
        *(store.append_in(CHAT, record(size), part_id=None, at=1.0) for size in (10, 10**6, 20, 10**6, 30)),
        return_exceptions=True,
    )

    assert [isinstance(result, StoreUnavailableError) for result in results] == [False, True, False, True, False]
    assert [len(one.body) for one in await store.read_in(CHAT, after=0)] == [10, 20, 30]
    await store.close()


async def test_full_store_is_whole(tmp_path):
    """A store that ran full is not damaged."""
    store = await opened(tmp_path / "chat.db", max_pages=60)
    await create(store, CHAT)
    await asyncio.gather(
        *(store.append_in(CHAT, record(4000), part_id=None, at=1.0) for _ in range(100)), return_exceptions=True
    )
    await store.close()

    check = sqlite3.connect(tmp_path / "chat.db")
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


async def test_foreign_writer(path):
    """While a foreign program holds the database, writes are refused after a while, reads go on, and both recover."""
    store = await opened(path)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")

    results = await asyncio.gather(
        *(store.append_in(CHAT, record(1), part_id=None, at=1.0) for _ in range(20)), return_exceptions=True
    )

    assert all(isinstance(result, StoreUnavailableError) for result in results)
    assert len(await store.read_in(CHAT, after=0, limit=1000)) == 100
    foreign.execute("ROLLBACK")
    foreign.close()
    assert (await store.append_in(CHAT, record(1), part_id=None, at=1.0)).seq == 101
    await store.close()
