"""The cases of the store suite about commits: what ends a turn is written whole or not at all."""

from __future__ import annotations

import asyncio

import pytest

from chatrt.errors import StaleEpochError, UsageError
from chatrt.stores.base import Commit, Lease, SessionKey, Snapshot, Store
from chatrt.testing.store_suite.setting import (
    CHAT,
    COMPLETE,
    NOW,
    StoreCase,
    a_commit,
    branch,
    chunk,
    chunks,
    lease_of,
    lost_lease_of,
    message_ids,
    node,
    say,
)


async def _refused(store: Store, lease: Lease, commit: Commit, error: type[Exception]) -> None:
    """Check that a commit is refused and that nothing of it was written."""
    before = await store.load_snapshot(CHAT), await store.find_session(CHAT)
    with pytest.raises(error):
        await store.commit(lease, commit, at=NOW + 100)
    assert (await store.load_snapshot(CHAT), await store.find_session(CHAT)) == before


class CommitCases(StoreCase):
    async def test_commit_writes_everything(self, store: Store) -> None:
        """A commit writes its records, messages, leaf, cursor and state, and returns the seq of its first record."""
        lease = await lease_of(store)
        await say(store)
        await store.append_out(lease, chunks(1, 3), at=NOW)

        first = await store.commit(
            lease, a_commit(branch(1, 2), records=[chunk(4), COMPLETE], in_cursor=1, state={"usage": 7}), at=NOW
        )

        assert first == 4
        assert await store.load_snapshot(CHAT) == Snapshot(
            nodes=branch(1, 2),
            in_cursor=1,
            settled_seq=5,
            last_in_seq=1,
            out_first_seq=1,
            out_last_seq=5,
            state={"usage": 7},
            branched=False,
        )
        records = (await store.read_out(CHAT, after=3)).records
        assert [(record.seq, record.kind) for record in records] == [(4, "chunk"), (5, "turn-complete")]

    async def test_commit_outlives_the_store(self, store: Store) -> None:
        """What was committed is the same after the store was closed and opened."""
        lease = await lease_of(store)
        await say(store)
        await store.commit(lease, a_commit(branch(1, 3), in_cursor=1, state={"a": [1]}), at=NOW)
        before = await store.load_snapshot(CHAT)
        await store.close()
        await store.open()

        assert await store.load_snapshot(CHAT) == before

    async def test_commit_with_a_lost_lease(self, store: Store) -> None:
        """A commit after a takeover raises and writes nothing: no record, message, leaf, cursor, state or trim."""
        lease = await lease_of(store)
        await say(store)
        await say(store)
        await store.commit(lease, a_commit(branch(1, 2), in_cursor=1, state={"n": 1}), at=NOW)
        await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 11)

        await _refused(
            store, lease, a_commit(branch(3, 4), in_cursor=2, state={"n": 2}, trim_to=1), error=StaleEpochError
        )

    async def test_commit_with_a_former_epoch(self, store: Store) -> None:
        """A commit with an epoch before the owner's newest is refused, also when it has no records."""
        first = await lease_of(store)
        await lease_of(store)

        await _refused(store, first, a_commit(branch(1, 1)), error=StaleEpochError)
        await _refused(store, first, a_commit(branch(1, 1), records=[]), error=StaleEpochError)

    async def test_commit_with_a_released_lease(self, store: Store) -> None:
        """A commit after the lease was given back raises and writes nothing."""
        lease = await lease_of(store)
        await store.release_lease(lease, in_cursor=0)

        await _refused(store, lease, a_commit(branch(1, 1)), error=StaleEpochError)

    async def test_commit_to_a_deleted_session(self, store: Store) -> None:
        """The lease of a deleted session is over, for commits too."""
        lease = await lease_of(store)
        await store.delete_session(CHAT)

        with pytest.raises(StaleEpochError):
            await store.commit(lease, a_commit(branch(1, 1)), at=NOW)

    async def test_unknown_parent(self, store: Store) -> None:
        """A commit with a node whose parent is not stored is refused whole."""
        lease = await lease_of(store)

        await _refused(store, lease, a_commit([node("1", None), node("3", "2")]), error=UsageError)

    async def test_parent_after_child(self, store: Store) -> None:
        """A commit names parents before their children; otherwise it is refused whole."""
        lease = await lease_of(store)

        await _refused(store, lease, a_commit([node("2", "1"), node("1", None)]), error=UsageError)

    async def test_parent_is_for_good(self, store: Store) -> None:
        """A commit that gives a known node another parent is refused whole."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(branch(1, 3)), at=NOW)

        await _refused(store, lease, a_commit([node("3", "1")]), error=UsageError)
        await _refused(store, lease, a_commit([node("3", None)]), error=UsageError)
        await _refused(store, lease, a_commit([node("1", "3")]), error=UsageError)

    async def test_unknown_leaf(self, store: Store) -> None:
        """A commit whose leaf is not a stored node is refused whole."""
        lease = await lease_of(store)

        await _refused(store, lease, a_commit([node("1", None)], leaf="9"), error=UsageError)

    async def test_nodes_of_other_sessions(self, store: Store) -> None:
        """Nodes of another session are neither parents nor leaves here, and a node id may be used in both."""
        other = await lease_of(store, SessionKey("", "other"))
        await store.commit(other, a_commit(branch(1, 2)), at=NOW)
        lease = await lease_of(store)

        await _refused(store, lease, a_commit([node("3", "2")]), error=UsageError)
        await _refused(store, lease, a_commit([], leaf="2"), error=UsageError)
        await store.commit(lease, a_commit([node("2", None, "mine")]), at=NOW)
        assert await message_ids(store, other.key) == ["m-1", "m-2"]

    async def test_cursor_goes_forward(self, store: Store) -> None:
        """A commit that takes the inbox cursor back, or beyond the last record, is refused whole."""
        lease = await lease_of(store)
        await say(store)
        await say(store)
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)

        await _refused(store, lease, a_commit(branch(1, 1), in_cursor=0), error=UsageError)
        await _refused(store, lease, a_commit(branch(1, 1), in_cursor=3), error=UsageError)
        assert await store.commit(lease, a_commit(in_cursor=1), at=NOW) == 2

    async def test_refusal_hurts_nobody_else(self, store: Store) -> None:
        """Refused commits do not disturb those of other sessions made at the same moment."""
        good = [await lease_of(store, SessionKey("", f"good-{number}")) for number in range(5)]
        bad = [await lease_of(store, SessionKey("", f"bad-{number}")) for number in range(5)]
        lost = [await lost_lease_of(store, SessionKey("", f"lost-{number}")) for number in range(5)]

        results = await asyncio.gather(
            *(
                store.commit(lease, a_commit(branch(1, 2), leaf="9" if lease in bad else None), at=NOW)
                for trio in zip(good, bad, lost, strict=True)
                for lease in trio
            ),
            return_exceptions=True,
        )

        assert results[::3] == [1] * 5
        assert all(isinstance(result, UsageError) for result in results[1::3])
        assert all(isinstance(result, StaleEpochError) for result in results[2::3])
        for lease in (*bad, *lost):
            assert (await store.load_snapshot(lease.key)).out_last_seq == 0
        for lease in good:
            assert await message_ids(store, lease.key) == ["m-1", "m-2"]

    async def test_commit_without_records(self, store: Store) -> None:
        """A commit may settle an input without an answer; then `.out` and what settled it before stay as they are."""
        lease = await lease_of(store)
        await say(store)
        await say(store)
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)

        assert await store.commit(lease, a_commit(records=[], in_cursor=2), at=NOW) == 2

        snapshot = await store.load_snapshot(CHAT)
        assert (snapshot.in_cursor, snapshot.settled_seq, snapshot.out_last_seq) == (2, 1, 1)

    async def test_commit_without_records_finishes_no_turn(self, store: Store) -> None:
        """Records of a turn that is not complete stay unsettled when a commit brings none of its own."""
        lease = await lease_of(store)
        await store.append_out(lease, chunks(1, 2), at=NOW)
        await store.commit(lease, a_commit(records=[]), at=NOW)

        assert (await store.load_snapshot(CHAT)).settled_seq == 0
        assert await store.find_unserved(at=NOW + 11) == [CHAT]

    async def test_state_is_replaced(self, store: Store) -> None:
        """The state is the last commit's, whole; it is not merged."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(state={"a": 1, "b": {"c": []}}), at=NOW)
        await store.commit(lease, a_commit(state={"b": {"d": None}}), at=NOW)

        assert (await store.load_snapshot(CHAT)).state == {"b": {"d": None}}

    async def test_trim(self, store: Store) -> None:
        """After a trim the outbox begins not after the first record that was to stay, and has no holes."""
        lease = await lease_of(store)
        for first in (1, 5, 9):
            await store.append_out(lease, chunks(first, first + 3), at=NOW)

        await store.commit(lease, a_commit(trim_to=6), at=NOW)

        page = await store.read_out(CHAT, after=0)
        assert page.first_seq <= 7
        assert [record.seq for record in page.records] == list(range(page.first_seq, 14))
        assert (await store.load_snapshot(CHAT)).out_first_seq == page.first_seq

    async def test_trim_whole_appends(self, store: Store) -> None:
        """Appends that lie wholly before the mark are dropped, and a cursor among them gets what is kept."""
        lease = await lease_of(store)
        for first in (1, 5, 9):
            await store.append_out(lease, chunks(first, first + 3), at=NOW)

        await store.commit(lease, a_commit(trim_to=8), at=NOW)

        page = await store.read_out(CHAT, after=2)
        assert (page.first_seq, page.last_seq) == (9, 13)
        assert [record.seq for record in page.records] == [9, 10, 11, 12, 13]

    async def test_trim_nothing(self, store: Store) -> None:
        """Without a mark everything is kept."""
        lease = await lease_of(store)
        await store.append_out(lease, chunks(1, 4), at=NOW)
        await store.commit(lease, a_commit(), at=NOW)

        assert (await store.read_out(CHAT, after=0)).first_seq == 1

    async def test_trim_everything(self, store: Store) -> None:
        """When nothing is kept the outbox is empty, and sequence numbers go on."""
        lease = await lease_of(store)
        await store.append_out(lease, chunks(1, 4), at=NOW)
        await store.commit(lease, a_commit(trim_to=99), at=NOW)

        page = await store.read_out(CHAT, after=0)
        assert (page.records, page.first_seq, page.last_seq) == ([], 6, 5)
        assert await store.append_out(lease, [chunk(1)], at=NOW) == 6
        assert (await store.read_out(CHAT, after=0)).first_seq == 6

    async def test_trim_keeps_the_numbers_across_a_restart(self, store: Store) -> None:
        """Sequence numbers do not go back when everything was trimmed and the store was closed and opened."""
        lease = await lease_of(store)
        await store.commit(lease, a_commit(trim_to=99), at=NOW)
        await store.close()
        await store.open()

        assert await store.append_out(await lease_of(store), [chunk(1)], at=NOW) == 2

    async def test_snapshot_is_one_moment(self, store: Store) -> None:
        """Messages and cursors of a snapshot belong together, however fast commits follow each other."""
        lease = await lease_of(store)

        async def commit_all() -> None:
            for number in range(1, 41):
                await say(store)
                await store.commit(
                    lease, a_commit(branch(number, number), in_cursor=number, state={"n": number}), at=NOW
                )

        async def load_all(commits: asyncio.Task[None]) -> list[Snapshot]:
            snapshots = [await store.load_snapshot(CHAT)]
            while not commits.done():
                snapshots.append(await store.load_snapshot(CHAT))
                await asyncio.sleep(0)
            return [*snapshots, await store.load_snapshot(CHAT)]

        commits = asyncio.ensure_future(commit_all())
        snapshots = await load_all(commits)
        await commits

        for snapshot in snapshots:
            number = snapshot.in_cursor
            assert snapshot.nodes == branch(1, number)
            assert (snapshot.settled_seq, snapshot.out_last_seq) == (number, number)
            assert snapshot.state == ({"n": number} if number else {})
            assert number <= snapshot.last_in_seq <= number + 1
        assert snapshots[-1].in_cursor == 40
