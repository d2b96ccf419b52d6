"""The cases of the store suite about finding sessions that have work and no worker."""

from __future__ import annotations

from chatrt.stores.base import SessionKey, Store
from chatrt.testing.store_suite.setting import CHAT, NOW, OTHER, StoreCase, a_commit, chunks, create, lease_of, say


class UnservedCases(StoreCase):
    async def test_idle_sessions(self, store: Store) -> None:
        """A session without records, or with all of them settled, is not unserved."""
        await create(store, CHAT)
        lease = await lease_of(store, OTHER)
        await say(store, OTHER)
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)
        await store.release_lease(lease, in_cursor=1)

        assert await store.find_unserved(at=NOW) == []

    async def test_unsettled_record(self, store: Store) -> None:
        """A session with an unsettled inbox record that nobody holds is unserved."""
        await create(store)
        await say(store)

        assert await store.find_unserved(at=NOW) == [CHAT]

    async def test_held_session(self, store: Store) -> None:
        """A session is not unserved while its lease is held, and is once it ran out."""
        await lease_of(store, ttl=10, at=NOW)
        await say(store)

        assert await store.find_unserved(at=NOW + 10) == []
        assert await store.find_unserved(at=NOW + 11) == [CHAT]

    async def test_unfinished_turn(self, store: Store) -> None:
        """A session whose holder died in the middle of an answer is unserved."""
        lease = await lease_of(store, ttl=10, at=NOW)
        await say(store)
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)
        await store.append_out(lease, chunks(1, 3), at=NOW)

        assert await store.find_unserved(at=NOW + 11) == [CHAT]

    async def test_settling(self, store: Store) -> None:
        """A commit that settles the last record ends a session's need for a worker."""
        lease = await lease_of(store, ttl=10, at=NOW)
        await say(store)
        await store.append_out(lease, chunks(1, 3), at=NOW)
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)

        assert await store.find_unserved(at=NOW + 11) == []

    async def test_closed_session(self, store: Store) -> None:
        """What was acked before a session was closed still wants a worker."""
        await create(store)
        await say(store)
        await store.close_session(CHAT, reason=None, at=NOW)

        assert await store.find_unserved(at=NOW) == [CHAT]

    async def test_deleted_session(self, store: Store) -> None:
        """A deleted session wants nothing."""
        await create(store)
        await say(store)
        await store.delete_session(CHAT)

        assert await store.find_unserved(at=NOW) == []

    async def test_all_tenants(self, store: Store) -> None:
        """Unserved sessions of all tenants are found, oldest first."""
        keys = [SessionKey("b", "1"), SessionKey("a", "2"), SessionKey("", "3")]
        for key in keys:
            await create(store, key)
            await say(store, key)

        assert await store.find_unserved(at=NOW) == keys

    async def test_limit(self, store: Store) -> None:
        """At most `limit` sessions are returned; those that are taken make room for the next."""
        keys = [SessionKey("", str(number)) for number in range(5)]
        for key in keys:
            await create(store, key)
            await say(store, key)

        assert await store.find_unserved(at=NOW, limit=2) == keys[:2]
        for key in keys[:2]:
            await lease_of(store, key)
        assert await store.find_unserved(at=NOW, limit=2) == keys[2:4]

    async def test_agents(self, store: Store) -> None:
        """Asked for agents, sessions of others do not stand in the way."""
        for number in range(5):
            await create(store, SessionKey("", f"old-{number}"), agent="retired")
            await say(store, SessionKey("", f"old-{number}"))
        await create(store, CHAT, agent="support")
        await say(store, CHAT)

        assert await store.find_unserved(at=NOW, limit=1, agents=["support", "sales"]) == [CHAT]
        assert await store.find_unserved(at=NOW, agents=[]) == []

    async def test_count(self, store: Store) -> None:
        """Counted are those of all tenants and agents that nobody holds, however many there are."""
        keys = [SessionKey(str(number % 2), str(number)) for number in range(120)]
        for key in keys:
            await create(store, key, agent=f"agent-{key.tenant}")
            await say(store, key)
        await lease_of(store, keys[0])
        await create(store, CHAT)

        assert await store.count_unserved(at=NOW) == 119
        assert await store.count_unserved(at=NOW + 11) == 120
