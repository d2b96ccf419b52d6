"""Writes of unknown outcome: the store was away when it should have answered, and somebody else may have written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from chatrt.clock import ManualClock
from chatrt.errors import StaleEpochError, StoreError, StoreUnavailableError
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.outbox import Outbox
from chatrt.runtime.outbox_writer import OutboxWriter
from chatrt.stores import Commit, NewRecord, SessionKey
from chatrt.stores.memory import MemoryStore

END = NewRecord("turn-complete", b'{"status":"completed"}')


class Lost(MemoryStore):
    """Loses the answer to its first write, with or without what was to be written; then something may happen."""

    def __init__(self, *, takes_effect: bool) -> None:
        super().__init__()
        self._takes_effect = takes_effect
        self._loses = True
        self.meanwhile: Callable[[], Any] | None = None

    async def append_out_groups(self, groups: Any, *, at: float) -> Any:
        return await self._lose(lambda: super(Lost, self).append_out_groups(groups, at=at))

    async def commit(self, lease: Any, commit: Any, *, at: float) -> Any:
        return await self._lose(lambda: super(Lost, self).commit(lease, commit, at=at))

    async def _lose(self, write: Callable[[], Any]) -> Any:
        if not self._loses:
            return await write()
        self._loses = False
        if self._takes_effect:
            await write()
        if self.meanwhile is not None:
            await self.meanwhile()
        raise StoreUnavailableError("the connection is gone")


class Desk:
    """One process that writes to sessions of a store."""

    def __init__(self, store: Lost) -> None:
        self.store = store
        self.clock = ManualClock()
        self.flusher = Flusher(store, self.clock)
        self.failures: list[StoreError] = []

    async def writer(self, chat: str) -> OutboxWriter:
        key = SessionKey("", chat)
        await self.store.create_session(key, agent="a", metadata={}, client_data=None, at=0.0)
        lease = await self.store.acquire_lease(key, owner="w", ttl=10.0, at=0.0)
        assert lease is not None
        return OutboxWriter(Outbox(key, self.store), self.flusher, lease, self.failures.append)

    async def end(self, work: Any) -> Any:
        """Await something while time passes."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.sleep(0)
            self.clock.advance(1.0)
        return task.result()


async def take_over(store: Lost, chat: str, *records: NewRecord) -> None:
    """Let another process have the session, and write to it."""
    key = SessionKey("", chat)
    lease = await store.acquire_lease(key, owner="another", ttl=10.0, at=100.0)
    assert lease is not None
    if records:
        await MemoryStore.append_out_groups(store, [(lease, records)], at=100.0)


async def stored(store: Lost, chat: str) -> list[bytes]:
    return [record.body for record in (await store.read_out(SessionKey("", chat), after=0)).records]


def a_commit() -> Commit:
    return Commit(records=[END], nodes=[], leaf_id=None, in_cursor=0, state={})


@pytest.fixture
async def desk(request: pytest.FixtureRequest) -> Desk:
    store = Lost(takes_effect=getattr(request, "param", False))
    await store.open()
    return Desk(store)


async def test_a_commit_is_not_taken_for_anothers(desk: Desk):
    """Who finds as many records as it wanted to commit, and others, has committed nothing and shows nothing."""
    writer = await desk.writer("c")
    desk.store.meanwhile = lambda: take_over(desk.store, "c", NewRecord("turn-complete", b'{"status":"interrupted"}'))

    with pytest.raises(StaleEpochError):
        await desk.end(writer.commit(a_commit()))

    assert await stored(desk.store, "c") == [b'{"status":"interrupted"}']


async def test_chunks_are_not_taken_for_anothers(desk: Desk):
    """Who finds as many chunks as it wanted to append, and others, has lost its lease."""
    writer = await desk.writer("c")
    desk.store.meanwhile = lambda: take_over(desk.store, "c", NewRecord("chunk", b"2"))
    writer.push("chunk", b"1")

    with pytest.raises(StaleEpochError):
        await desk.end(writer.flush())

    assert await stored(desk.store, "c") == [b"2"]


@pytest.mark.parametrize("desk", [True], indirect=True)
async def test_a_group_is_not_written_twice_because_of_one_that_was_refused(desk: Desk):
    """Of a group of unknown outcome, in which one session's lease was over, the others are stored once."""
    held, lost = await desk.writer("held"), await desk.writer("lost")
    await take_over(desk.store, "lost")
    held.push("chunk", b"1")
    lost.push("chunk", b"1")

    await desk.end(held.flush())
    with pytest.raises(StaleEpochError):
        await desk.end(lost.flush())

    assert (await stored(desk.store, "held"), await stored(desk.store, "lost")) == ([b"1"], [])


@pytest.mark.parametrize("desk", [True], indirect=True)
async def test_what_took_effect_is_found(desk: Desk):
    """A commit that took effect without an answer is found by its records, and is not made twice."""
    writer = await desk.writer("c")

    assert await desk.end(writer.commit(a_commit())) == 1

    assert await stored(desk.store, "c") == [END.body]
