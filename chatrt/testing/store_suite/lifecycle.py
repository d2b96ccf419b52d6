"""The cases of the store suite about opening and closing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chatrt.errors import StoreUnavailableError
from chatrt.stores.base import Lease, SessionRow, Store
from chatrt.testing.store_suite.setting import CHAT, NOW, SAID, StoreCase, a_commit, chunks, create, lease_of, say

_LEASE = Lease(CHAT, "worker-1", 1, NOW + 10)


async def _iterate(store: Store) -> list[SessionRow]:
    return [row async for row in store.iter_sessions("")]


_CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "create_session": create,
    "find_session": lambda store: store.find_session(CHAT),
    "iter_sessions": _iterate,
    "close_session": lambda store: store.close_session(CHAT, reason=None, at=NOW),
    "delete_session": lambda store: store.delete_session(CHAT),
    "find_expired": lambda store: store.find_expired(closed_before=NOW, idle_before=NOW, at=NOW),
    "delete_expired": lambda store: store.delete_expired(CHAT, before=NOW, at=NOW),
    "append_in": lambda store: store.append_in(CHAT, SAID, part_id=None, at=NOW),
    "read_in": lambda store: store.read_in(CHAT, after=0),
    "acquire_lease": lambda store: store.acquire_lease(CHAT, owner="worker-1", ttl=10, at=NOW),
    "claim_leases": lambda store: store.claim_leases(owner="worker-1", ttl=10, at=NOW),
    "renew_leases": lambda store: store.renew_leases([_LEASE], ttl=10, at=NOW),
    "release_lease": lambda store: store.release_lease(_LEASE, in_cursor=0),
    "find_unserved": lambda store: store.find_unserved(at=NOW),
    "append_out": lambda store: store.append_out(_LEASE, chunks(1, 1), at=NOW),
    "read_out": lambda store: store.read_out(CHAT, after=0),
    "commit": lambda store: store.commit(_LEASE, a_commit(), at=NOW),
    "load_snapshot": lambda store: store.load_snapshot(CHAT),
    "count_unserved": lambda store: store.count_unserved(at=NOW),
}


class LifecycleCases(StoreCase):
    @pytest.mark.parametrize("name", sorted(_CALLS))
    async def test_calls_before_open(self, make_store: Callable[[], Store], name: str) -> None:
        """A store that was not opened yet answers every call with `StoreUnavailableError`."""
        with pytest.raises(StoreUnavailableError):
            await _CALLS[name](make_store())

    @pytest.mark.parametrize("name", sorted(_CALLS))
    async def test_calls_after_close(self, store: Store, name: str) -> None:
        """A closed store answers every call with `StoreUnavailableError`, never with absence."""
        await lease_of(store)
        await store.close()

        with pytest.raises(StoreUnavailableError):
            await _CALLS[name](store)

    async def test_open_twice(self, store: Store) -> None:
        """Opening an open store does nothing."""
        await create(store)
        await store.open()

        assert await store.find_session(CHAT) is not None

    async def test_close_twice(self, store: Store) -> None:
        """Closing a closed store does nothing."""
        await store.close()
        await store.close()

    async def test_close_before_open(self, make_store: Callable[[], Store]) -> None:
        """Closing a store that was not opened does nothing."""
        await make_store().close()

    async def test_reopen(self, store: Store) -> None:
        """A closed store can be opened again, more than once, and goes on with what it holds."""
        await create(store)
        for _ in range(3):
            await say(store)
            await store.close()
            await store.open()

        assert [record.seq for record in await store.read_in(CHAT, after=0)] == [1, 2, 3]

    async def test_close_finishes_what_was_accepted(self, store: Store) -> None:
        """What was handed over before `close` is written and acked, or refused; what was acked is there later."""
        await create(store)
        appends = [asyncio.ensure_future(store.append_in(CHAT, SAID, part_id=None, at=NOW)) for _ in range(50)]
        await asyncio.sleep(0)
        await store.close()
        results = await asyncio.gather(*appends, return_exceptions=True)
        await store.open()

        acked = [result.seq for result in results if not isinstance(result, BaseException)]
        assert all(isinstance(result, StoreUnavailableError) for result in results if isinstance(result, Exception))
        assert [record.seq for record in await store.read_in(CHAT, after=0, limit=100)] == acked
