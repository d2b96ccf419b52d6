"""The cases of the store suite about claiming what nobody serves, and about holders that die over it."""

from __future__ import annotations

import asyncio

import pytest

from chatrt.errors import StaleEpochError
from chatrt.stores.base import SUSPECT_DEATHS, Lease, SessionKey, Store
from chatrt.testing.store_suite.setting import (
    CHAT,
    NOW,
    OTHER,
    SAID,
    StoreCase,
    a_commit,
    chunks,
    create,
    lease_of,
    say,
)

TTL = 10.0


async def with_work(store: Store, *names: str) -> list[SessionKey]:
    """Create sessions with something unsettled, and return their keys."""
    keys = [SessionKey("", name) for name in names]
    for key in keys:
        await create(store, key)
        await say(store, key)
    return keys


async def die(store: Store, key: SessionKey, times: int, *, at: float = NOW) -> float:
    """Let workers take a session with work and die over it; returns when the last lease has run out."""
    for number in range(times):
        assert await store.acquire_lease(key, owner=f"dead-{number}", ttl=TTL, at=at) is not None
        at += TTL + 1
    return at


class ClaimCases(StoreCase):
    async def test_claim(self, store: Store) -> None:
        """A claim takes the leases of sessions with work that nobody holds, and returns them with their sessions."""
        (key,) = await with_work(store, "chat")

        (claim,) = await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW)

        assert claim.lease == Lease(key, "worker-1", claim.lease.epoch, NOW + TTL)
        assert claim.row == await store.find_session(key)
        assert await store.find_unserved(at=NOW) == []
        assert await store.append_out(claim.lease, chunks(1, 1), at=NOW) == 1

    async def test_claim_of_nothing(self, store: Store) -> None:
        """Sessions that are idle, settled or held by somebody are not claimed."""
        await create(store, CHAT)
        await lease_of(store, OTHER, ttl=TTL, at=NOW)
        await say(store, OTHER)

        assert await store.claim_leases(owner="worker-2", ttl=TTL, at=NOW + TTL) == []

    async def test_claim_after_expiry(self, store: Store) -> None:
        """A lease that ran out is claimed one epoch further: its former holder can write nothing more."""
        former = await lease_of(store, ttl=TTL, at=NOW)
        await say(store)

        (claim,) = await store.claim_leases(owner="worker-2", ttl=TTL, at=NOW + TTL + 1)

        assert claim.lease.epoch == former.epoch + 1
        with pytest.raises(StaleEpochError):
            await store.commit(former, a_commit(in_cursor=1), at=NOW + TTL + 1)

    async def test_claim_of_an_unfinished_turn(self, store: Store) -> None:
        """A session whose holder died in the middle of an answer is claimed."""
        lease = await lease_of(store, ttl=TTL, at=NOW)
        await store.append_out(lease, chunks(1, 1), at=NOW)

        assert [c.row.key for c in await store.claim_leases(owner="w", ttl=TTL, at=NOW + TTL + 1)] == [CHAT]

    async def test_claim_limit(self, store: Store) -> None:
        """At most `limit` sessions are claimed, the oldest first; a second claim gets the next ones."""
        keys = await with_work(store, "1", "2", "3")

        first = await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW, limit=2)
        second = await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW, limit=2)

        assert [claim.row.key for claim in first] == keys[:2]
        assert [claim.row.key for claim in second] == keys[2:]
        assert await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW, limit=0) == []

    async def test_claim_agents(self, store: Store) -> None:
        """Asked for agents, sessions of others are left alone and do not stand in the way."""
        await create(store, OTHER, agent="retired")
        await say(store, OTHER)
        await with_work(store, "chat")

        claims = await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW, limit=1, agents=["support"])

        assert [claim.row.agent for claim in claims] == ["support"]
        assert await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW, agents=[]) == []

    async def test_claim_avoiding(self, store: Store) -> None:
        """Sessions that are to be avoided are left to others."""
        keys = await with_work(store, "1", "2")

        claims = await store.claim_leases(owner="worker-1", ttl=TTL, at=NOW, limit=1, avoid=keys[:1])

        assert [claim.row.key for claim in claims] == keys[1:]
        assert await store.find_unserved(at=NOW) == keys[:1]

    async def test_claim_race(self, store: Store) -> None:
        """Of many who claim at once no two get the same session."""
        keys = await with_work(store, *map(str, range(12)))

        claimed = await asyncio.gather(
            *(store.claim_leases(owner=f"worker-{number}", ttl=TTL, at=NOW, limit=3) for number in range(8))
        )
        taken = [claim.row.key for claims in claimed for claim in claims]
        rest = await store.claim_leases(owner="last", ttl=TTL, at=NOW)

        assert sorted([*taken, *(claim.row.key for claim in rest)]) == sorted(keys)

    async def test_an_append_tells_who_holds(self, store: Store) -> None:
        """An append to a store of many processes tells who has the lease, as long as it has not run out."""
        await create(store)
        before = await store.append_in(CHAT, SAID, part_id=None, at=NOW)
        await lease_of(store, owner="worker-1", ttl=TTL, at=NOW)
        held = await store.append_in(CHAT, SAID, part_id="p", at=NOW + TTL)
        again = await store.append_in(CHAT, SAID, part_id="p", at=NOW + TTL)
        after = await store.append_in(CHAT, SAID, part_id=None, at=NOW + TTL + 1)

        holder = "worker-1" if store.is_shared else None
        assert [one.held_by for one in (before, held, again, after)] == [None, holder, holder, None]


class DeathCases(StoreCase):
    async def test_a_death_is_counted(self, store: Store) -> None:
        """Each holder whose lease ran out over unsettled work counts, however the next one takes the lease."""
        (key,) = await with_work(store, "chat")
        at = await die(store, key, 1)

        (claim,) = await store.claim_leases(owner="worker-1", ttl=TTL, at=at)
        again = await store.acquire_lease(key, owner="worker-2", ttl=TTL, at=at + TTL + 1)

        assert claim.lease.deaths == 1
        assert again is not None
        assert again.deaths == 2

    async def test_giving_back_is_no_death(self, store: Store) -> None:
        """Who gives the lease back, or takes its own again, has not died."""
        (key,) = await with_work(store, "chat")
        for owner in ("one", "two", "two"):
            lease = await lease_of(store, key, owner=owner, ttl=TTL, at=NOW)
            if owner == "one":
                await store.release_lease(lease, in_cursor=1)
        own = await store.acquire_lease(key, owner="two", ttl=TTL, at=NOW + TTL + 1)
        (claimed,) = await store.claim_leases(owner="two", ttl=TTL, at=NOW + 2 * TTL + 2)

        assert own is not None
        assert (own.deaths, claimed.lease.deaths) == (0, 0)

    async def test_nobody_dies_over_nothing(self, store: Store) -> None:
        """A holder that died when all was settled counts for nothing."""
        await lease_of(store, ttl=TTL, at=NOW)

        assert (await lease_of(store, owner="worker-2", at=NOW + TTL + 1)).deaths == 0

    async def test_settling_ends_the_count(self, store: Store) -> None:
        """A commit that settles an input ends the count; one that settles none does not."""
        (key,) = await with_work(store, "chat")
        at = await die(store, key, 1)
        lease = await lease_of(store, key, owner="a", ttl=TTL, at=at)
        await store.commit(lease, a_commit(records=[], in_cursor=0), at=at)
        kept = await lease_of(store, key, owner="a", ttl=TTL, at=at)
        await store.commit(kept, a_commit(in_cursor=1), at=at)
        ended = await lease_of(store, key, owner="a", ttl=TTL, at=at)

        assert (kept.deaths, ended.deaths) == (1, 0)

    async def test_suspects_are_claimed_apart(self, store: Store) -> None:
        """Sessions that would have `SUSPECT_DEATHS` are claimed only so many at a time, beside the others."""
        keys = await with_work(store, "1", "2", "3", "4")
        end = max([await die(store, key, SUSPECT_DEATHS) for key in keys[:3]])

        claims = await store.claim_leases(owner="w", ttl=TTL, at=end, limit=1, suspects=1)
        none = await store.claim_leases(owner="w", ttl=TTL, at=end, suspects=0)
        rest = await store.claim_leases(owner="w", ttl=TTL, at=end, suspects=5)

        assert sorted(claim.row.key for claim in claims) == [keys[0], keys[3]]
        assert none == []
        assert [(claim.row.key, claim.lease.deaths) for claim in rest] == [
            (keys[1], SUSPECT_DEATHS),
            (keys[2], SUSPECT_DEATHS),
        ]

    async def test_a_suspect_is_not_taken_by_the_way(self, store: Store) -> None:
        """Who wants no suspects does not get the lease of one, unless it is its own; asking is not counted."""
        (key,) = await with_work(store, "chat")
        at = await die(store, key, SUSPECT_DEATHS)

        assert await store.acquire_lease(key, owner="w", ttl=TTL, at=at, suspects=False) is None
        lease = await store.acquire_lease(key, owner="w", ttl=TTL, at=at)
        own = await store.acquire_lease(key, owner="w", ttl=TTL, at=at, suspects=False)

        assert lease is not None
        assert own is not None
        assert (lease.deaths, own.deaths) == (SUSPECT_DEATHS, SUSPECT_DEATHS)

    async def test_deaths_are_durable(self, store: Store) -> None:
        """The count survives the store; where one process serves it, a holder that was there at its end has died."""
        (key,) = await with_work(store, "chat")
        at = await die(store, key, 1)
        await lease_of(store, key, owner="second", ttl=TTL, at=at)
        await store.close()
        await store.open()

        (claim,) = await store.claim_leases(owner="w", ttl=TTL, at=at + TTL + 1)

        assert claim.lease.deaths == 2
