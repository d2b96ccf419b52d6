"""The cases of the store suite about sessions that nobody needs any more."""

from __future__ import annotations

from chatrt.stores.base import Parent, SessionKey, Store
from chatrt.testing.store_suite.setting import CHAT, NOW, SAID, StoreCase, a_commit, create, lease_of

LATER = NOW + 100


async def _expired(store: Store, *, idle: float | None = LATER, closed: float | None = None) -> list[str]:
    rows = await store.find_expired(closed_before=closed, idle_before=idle, at=LATER)
    return [row.key.chat_id for row in rows]


class ExpiryCases(StoreCase):
    """What `find_expired`, `delete_expired` and `forget_inputs` promise."""

    async def test_idle_sessions_expire(self, store: Store) -> None:
        """A session that has not moved since a time is found, and removed."""
        await create(store)
        assert await _expired(store) == [CHAT.chat_id]
        assert await store.delete_expired(CHAT, before=LATER, at=LATER)
        assert await store.find_session(CHAT) is None
        assert not await store.delete_expired(CHAT, before=LATER, at=LATER)

    async def test_sessions_that_moved_stay(self, store: Store) -> None:
        """Who moved at the time itself, or later, is neither found nor removed."""
        await create(store)
        assert await _expired(store, idle=NOW) == []
        assert not await store.delete_expired(CHAT, before=NOW, at=LATER)

    async def test_the_time_of_closed_sessions_is_for_closed_ones(self, store: Store) -> None:
        """An open session stays where only closed ones are to go."""
        await create(store)
        assert await _expired(store, idle=None, closed=LATER) == []
        await store.close_session(CHAT, reason=None, at=NOW)
        assert await _expired(store, idle=None, closed=LATER) == [CHAT.chat_id]

    async def test_unsettled_sessions_stay(self, store: Store) -> None:
        """An input that was acknowledged and not answered keeps its session, however old it is."""
        await create(store)
        await store.append_in(CHAT, SAID, part_id=None, at=NOW)
        assert await _expired(store) == []
        assert not await store.delete_expired(CHAT, before=LATER, at=LATER)

    async def test_held_sessions_stay(self, store: Store) -> None:
        """A session that a worker serves is not taken away from under it, until its lease ran out."""
        await create(store)
        await store.acquire_lease(CHAT, owner="worker-1", ttl=200, at=NOW)
        assert await _expired(store) == []
        assert not await store.delete_expired(CHAT, before=LATER, at=LATER)
        assert await store.delete_expired(CHAT, before=LATER, at=NOW + 201)

    async def test_a_session_goes_with_the_one_that_started_it(self, store: Store) -> None:
        """Sessions that others started are not found by themselves, unless those are gone."""
        await create(store)
        child = SessionKey(CHAT.tenant, "child")
        parent = Parent(chat_id=CHAT.chat_id, root_id=CHAT.chat_id)
        await store.create_session(child, agent="a", metadata={}, client_data=None, at=NOW - 1, parent=parent)
        assert await _expired(store) == [CHAT.chat_id]
        await store.delete_session(CHAT)
        assert await _expired(store) == ["child"]

    async def test_the_oldest_come_first(self, store: Store) -> None:
        """A limit and what is skipped count from the oldest."""
        for age in (1, 3, 2):
            key = SessionKey("tenant", f"age-{age}")
            await store.create_session(key, agent="a", metadata={}, client_data=None, at=NOW - age)
        found = await store.find_expired(closed_before=None, idle_before=LATER, at=LATER, limit=2, skip=1)
        assert [row.key.chat_id for row in found] == ["age-2", "age-1"]

    async def test_settled_inputs_are_forgotten(self, store: Store) -> None:
        """What was said in settled inputs goes after a time; that they were there stays, and a repeat is known."""
        lease = await lease_of(store)
        for number in range(3):
            await store.append_in(CHAT, SAID, part_id=f"part-{number}", at=NOW)
        await store.commit(lease, a_commit(in_cursor=2), at=NOW)

        assert await store.forget_inputs(before=NOW) == 0
        assert await store.forget_inputs(before=LATER) == 2
        assert await store.forget_inputs(before=LATER) == 0

        found = await store.read_in(CHAT, after=0)
        assert [(one.seq, one.kind, one.body) for one in found] == [
            (1, SAID.kind, b"{}"),
            (2, SAID.kind, b"{}"),
            (3, SAID.kind, SAID.body),
        ]
        repeated = await store.append_in(CHAT, SAID, part_id="part-1", at=LATER)
        assert (repeated.seq, repeated.repeated) == (2, True)

    async def test_inputs_are_forgotten_some_at_a_time(self, store: Store) -> None:
        """At most so many at once as are asked for, until there are none."""
        lease = await lease_of(store)
        for _ in range(5):
            await store.append_in(CHAT, SAID, part_id=None, at=NOW)
        await store.commit(lease, a_commit(in_cursor=5), at=NOW)

        assert [await store.forget_inputs(before=LATER, limit=2) for _ in range(4)] == [2, 2, 1, 0]
