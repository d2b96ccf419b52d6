"""The cases of the store suite about leases: one holder, and a generation that only grows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from chatrt.errors import SessionNotFoundError, StaleEpochError
from chatrt.stores.base import Lease, SessionKey, Store
from chatrt.testing.store_suite.setting import (
    CHAT,
    NOW,
    OTHER,
    StoreCase,
    a_commit,
    chunks,
    create,
    lease_of,
    lost_lease_of,
    say,
)


class LeaseCases(StoreCase):
    async def test_take_a_free_lease(self, store: Store) -> None:
        """The lease of a session that nobody serves is given, with an epoch of at least 1, for `ttl` seconds."""
        await create(store)

        lease = await store.acquire_lease(CHAT, owner="worker-1", ttl=10, at=NOW)

        assert lease is not None
        assert lease == Lease(CHAT, "worker-1", lease.epoch, NOW + 10)
        assert lease.epoch >= 1

    async def test_take_a_held_lease(self, store: Store) -> None:
        """A lease that somebody holds is not given to another, up to and including the moment it runs out."""
        await lease_of(store, ttl=10, at=NOW)

        assert await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 5) is None
        assert await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 10) is None

    async def test_take_an_expired_lease(self, store: Store) -> None:
        """A lease that ran out is given to whoever asks, one epoch further."""
        first = await lease_of(store, ttl=10, at=NOW)

        second = await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 10.5)

        assert second == Lease(CHAT, "worker-2", first.epoch + 1, NOW + 20.5)

    async def test_take_ones_own_lease(self, store: Store) -> None:
        """Who holds the lease may take it again; that is a new epoch, and the old one is over."""
        first = await lease_of(store)
        second = await lease_of(store)

        assert second.epoch == first.epoch + 1
        with pytest.raises(StaleEpochError):
            await store.append_out(first, chunks(1, 1), at=NOW)
        assert await store.append_out(second, chunks(1, 1), at=NOW) == 1

    async def test_take_race(self, store: Store) -> None:
        """Of many who want a free lease at once, one gets it."""
        await create(store)

        taken = await asyncio.gather(
            *(store.acquire_lease(CHAT, owner=f"worker-{number}", ttl=10, at=NOW) for number in range(20))
        )

        assert sum(lease is not None for lease in taken) == 1

    async def test_steal_race(self, store: Store) -> None:
        """Of many who want an expired lease at once, one gets it."""
        await lease_of(store, owner="gone", ttl=10, at=NOW)

        taken = await asyncio.gather(
            *(store.acquire_lease(CHAT, owner=f"worker-{number}", ttl=10, at=NOW + 20) for number in range(20))
        )

        assert sum(lease is not None for lease in taken) == 1

    async def test_take_unknown(self, store: Store) -> None:
        """There is no lease of a session that is not there."""
        with pytest.raises(SessionNotFoundError):
            await store.acquire_lease(CHAT, owner="worker-1", ttl=10, at=NOW)

    async def test_closed_session_can_be_served(self, store: Store) -> None:
        """A closed session can be leased, so that what it took before can be settled."""
        await create(store)
        await say(store)
        await store.close_session(CHAT, reason=None, at=NOW)

        lease = await lease_of(store)

        assert await store.commit(lease, a_commit(in_cursor=1), at=NOW) == 1

    async def test_leases_are_independent(self, store: Store) -> None:
        """The lease of one session says nothing about another's."""
        await lease_of(store, SessionKey("mine", "chat"), owner="worker-1")

        assert await lease_of(store, SessionKey("theirs", "chat"), owner="worker-2")

    async def test_renew(self, store: Store) -> None:
        """A renewed lease is held until `ttl` seconds after its renewal."""
        lease = await lease_of(store, ttl=10, at=NOW)

        assert await store.renew_leases([lease], ttl=10, at=NOW + 8) == []

        assert await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 17) is None
        assert await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 19) is not None

    async def test_renew_tells_what_is_lost(self, store: Store) -> None:
        """Renewing returns exactly the leases that are lost: taken over, given back, or of a deleted session."""
        kept = await lease_of(store, SessionKey("", "kept"))
        stolen = await lost_lease_of(store, SessionKey("", "stolen"))
        released = await lease_of(store, SessionKey("", "released"))
        await store.release_lease(released, in_cursor=0)
        deleted = await lease_of(store, SessionKey("", "deleted"))
        await store.delete_session(deleted.key)

        lost = await store.renew_leases([stolen, kept, released, deleted], ttl=10, at=NOW + 12)

        assert lost == [stolen, released, deleted]

    async def test_renew_nothing(self, store: Store) -> None:
        """Of no leases none is lost."""
        assert await store.renew_leases([], ttl=10, at=NOW) == []

    async def test_renew_an_expired_lease(self, store: Store) -> None:
        """A lease that ran out and that nobody took is renewed."""
        lease = await lease_of(store, ttl=10, at=NOW)

        assert await store.renew_leases([lease], ttl=10, at=NOW + 60) == []

        assert await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 65) is None

    async def test_renew_a_former_epoch(self, store: Store) -> None:
        """A lease is lost also when its own owner took it anew: only the newest epoch is renewed."""
        first = await lease_of(store)
        second = await lease_of(store)

        assert await store.renew_leases([first, second], ttl=10, at=NOW) == [first]

    async def test_release_of_a_former_epoch(self, store: Store) -> None:
        """A lease that its own owner took anew cannot be given back by its former epoch, with or without records."""
        first = await lease_of(store)
        second = await lease_of(store)
        with pytest.raises(StaleEpochError):
            await store.release_lease(first, in_cursor=0)

        await say(store)
        with pytest.raises(StaleEpochError):
            await store.release_lease(first, in_cursor=0)
        assert await store.release_lease(second, in_cursor=1) is True

    async def test_stale_renewal_changes_nothing(self, store: Store) -> None:
        """Renewing a lost lease does not lengthen the one that replaced it."""
        lost = await lost_lease_of(store)

        await store.renew_leases([lost], ttl=3600, at=NOW + 12)

        assert await store.acquire_lease(CHAT, owner="worker-3", ttl=10, at=NOW + 22) is not None

    async def test_release(self, store: Store) -> None:
        """A lease that was given back can be taken at once, one epoch further."""
        first = await lease_of(store)

        assert await store.release_lease(first, in_cursor=0) is True

        second = await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW)
        assert second is not None
        assert second.epoch == first.epoch + 1

    async def test_release_with_unread_records(self, store: Store) -> None:
        """A lease is not given back while `.in` holds records after the cursor: it stays held, and works on."""
        lease = await lease_of(store)
        await say(store)
        await say(store)

        assert await store.release_lease(lease, in_cursor=1) is False

        assert await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW) is None
        assert await store.append_out(lease, chunks(1, 1), at=NOW) == 1
        assert await store.release_lease(lease, in_cursor=2) is True

    async def test_release_races_append(self, store: Store) -> None:
        """When a release and an append race, the record has a holder or is found as unserved, never neither."""
        for number in range(10):
            lease = await lease_of(store, SessionKey("", f"chat-{number}"))
            order = [store.release_lease(lease, in_cursor=0), say(store, lease.key)]

            results = await asyncio.gather(*(order if number % 2 else reversed(order)))

            released = any(result is True for result in results)
            assert (lease.key in await store.find_unserved(at=NOW)) is released

    async def test_release_of_a_lost_lease(self, store: Store) -> None:
        """Giving back a lease that another took is an error, and the other keeps it."""
        lost = await lost_lease_of(store)

        with pytest.raises(StaleEpochError):
            await store.release_lease(lost, in_cursor=0)

        assert await store.acquire_lease(CHAT, owner="worker-3", ttl=10, at=NOW + 12) is None

    async def test_release_twice(self, store: Store) -> None:
        """Giving a lease back twice is an error."""
        lease = await lease_of(store)
        await store.release_lease(lease, in_cursor=0)

        with pytest.raises(StaleEpochError):
            await store.release_lease(lease, in_cursor=0)

    async def test_epochs_survive_the_store(self, store: Store) -> None:
        """Epochs go on after the store was closed and opened: who takes the lease then ends the one from before."""
        before = await lease_of(store, ttl=10, at=NOW)
        await store.close()
        await store.open()
        after = await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 11)

        assert after is not None
        assert after.epoch == before.epoch + 1
        with pytest.raises(StaleEpochError):
            await store.append_out(before, chunks(1, 1), at=NOW)
        assert await store.append_out(after, chunks(1, 1), at=NOW) == 1

    async def test_epochs_survive_deletion(self, store: Store) -> None:
        """A chat id that is used again after deletion has higher epochs: no old holder can write into it."""
        old = await lease_of(store)
        await store.delete_session(CHAT)
        new = await lease_of(store)

        assert new.epoch > old.epoch
        with pytest.raises(StaleEpochError):
            await store.append_out(old, chunks(1, 1), at=NOW)

    async def test_expired_lease_still_writes(self, store: Store) -> None:
        """Clocks decide when a lease may be taken, not who may write: until it is taken, its holder writes."""
        lease = await lease_of(store, ttl=10, at=NOW)

        assert await store.append_out(lease, chunks(1, 1), at=NOW + 3600) == 1
        assert await store.commit(lease, a_commit(), at=NOW + 7200) == 2

    async def test_right_clock_with_stale_epoch(self, store: Store) -> None:
        """After a takeover the former holder writes nothing, whatever its clock says."""
        lost = await lost_lease_of(store)

        for at in (NOW, NOW + 11, NOW - 3600):
            with pytest.raises(StaleEpochError):
                await store.append_out(lost, chunks(1, 1), at=at)

        assert (await store.read_out(CHAT, after=0)).last_seq == 0

    async def test_epoch_of_another_owner(self, store: Store) -> None:
        """The epoch alone is not enough: a lease in the name of somebody else is not valid."""
        lease = await lease_of(store)

        with pytest.raises(StaleEpochError):
            await store.append_out(replace(lease, owner="worker-9"), chunks(1, 1), at=NOW)

    async def test_epoch_of_another_session(self, store: Store) -> None:
        """A lease is good for its own session only."""
        lease = await lease_of(store, CHAT)
        await create(store, OTHER)

        with pytest.raises(StaleEpochError):
            await store.append_out(replace(lease, key=OTHER), chunks(1, 1), at=NOW)
