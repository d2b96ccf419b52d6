"""The cases of the store suite about `.out`: one writer, any number of readers, bytes that never change."""

from __future__ import annotations

import asyncio

import pytest

from chatrt.errors import SessionNotFoundError, StaleEpochError
from chatrt.stores.base import NewRecord, Record, SessionKey, Store
from chatrt.testing.store_suite.setting import (
    BODIES,
    CHAT,
    NOW,
    OTHER,
    StoreCase,
    chunk,
    chunks,
    create,
    lease_of,
    lost_lease_of,
)


def _seqs(records: list[Record]) -> list[int]:
    return [record.seq for record in records]


class OutboxCases(StoreCase):
    async def test_seq_goes_on_from_append_to_append(self, store: Store) -> None:
        """An append returns the seq of its first record, and the next one goes on where it ended."""
        lease = await lease_of(store)

        firsts = [await store.append_out(lease, chunks(1, count), at=NOW) for count in (3, 1, 5, 2)]

        assert firsts == [1, 4, 5, 10]
        assert _seqs((await store.read_out(CHAT, after=0)).records) == list(range(1, 12))

    async def test_record_is_kept(self, store: Store) -> None:
        """A record comes back with its kind, its body and the time of its append in whole milliseconds."""
        lease = await lease_of(store)
        await store.append_out(lease, [NewRecord("turn-start", b'{"inSeq":1}'), chunk(1)], at=NOW + 0.0006)

        records = (await store.read_out(CHAT, after=0)).records

        assert [(record.kind, record.body) for record in records] == [
            ("turn-start", b'{"inSeq":1}'),
            ("chunk", chunk(1).body),
        ]
        assert {record.at for record in records} == {1_700_000_000_001}

    async def test_empty_outbox(self, store: Store) -> None:
        """An outbox without records is an empty page whose next record is 1."""
        await create(store)

        page = await store.read_out(CHAT, after=0)

        assert (page.records, page.first_seq, page.last_seq) == ([], 1, 0)

    async def test_groups_of_many_sessions(self, store: Store) -> None:
        """Groups for several sessions are appended in one go, each behind its own session's records."""
        here, there = await lease_of(store), await lease_of(store, OTHER)
        await store.append_out(there, chunks(1, 2), at=NOW)

        firsts = await store.append_out_groups([(here, chunks(1, 3)), (there, chunks(1, 1))], at=NOW)

        assert firsts == [1, 3]
        assert _seqs((await store.read_out(CHAT, after=0)).records) == [1, 2, 3]
        assert _seqs((await store.read_out(OTHER, after=0)).records) == [1, 2, 3]

    async def test_a_lost_lease_among_groups(self, store: Store) -> None:
        """A group whose lease is over gets its error and writes nothing; the others are written."""
        lost, held = await lost_lease_of(store), await lease_of(store, OTHER)

        firsts = await store.append_out_groups([(lost, chunks(1, 3)), (held, chunks(1, 1))], at=NOW)

        assert isinstance(firsts[0], StaleEpochError)
        assert firsts[1] == 1
        assert (await store.read_out(CHAT, after=0)).last_seq == 0

    async def test_append_nothing(self, store: Store) -> None:
        """An append without records writes nothing and returns the seq of the next one."""
        lease = await lease_of(store)
        await store.append_out(lease, chunks(1, 3), at=NOW)

        assert await store.append_out(lease, [], at=NOW) == 4
        assert (await store.read_out(CHAT, after=0)).last_seq == 3

    async def test_append_nothing_with_a_lost_lease(self, store: Store) -> None:
        """An append without records is refused like any other when the lease is over."""
        lost = await lost_lease_of(store)

        with pytest.raises(StaleEpochError):
            await store.append_out(lost, [], at=NOW)

    async def test_racing_appends_stay_whole(self, store: Store) -> None:
        """Each of many appends at once stands in one piece where its caller was told, without holes between them."""
        lease = await lease_of(store)
        groups = [[NewRecord("chunk", b'"%d-%d"' % (group, number)) for number in range(5)] for group in range(20)]

        firsts = await asyncio.gather(*(store.append_out(lease, group, at=NOW) for group in groups))

        assert sorted(firsts) == list(range(1, 100, 5))
        page = await store.read_out(CHAT, after=0)
        assert _seqs(page.records) == list(range(1, 101))
        for first, group in zip(firsts, groups, strict=True):
            assert [record.body for record in page.records[first - 1 : first + 4]] == [new.body for new in group]

    async def test_order_of_appends(self, store: Store) -> None:
        """Appends that are begun in an order stand in that order, also when nobody waits in between."""
        lease = await lease_of(store)
        tasks = [asyncio.ensure_future(store.append_out(lease, [chunk(number)], at=NOW)) for number in range(50)]

        assert await asyncio.gather(*tasks) == list(range(1, 51))

    async def test_append_with_a_lost_lease(self, store: Store) -> None:
        """An append after a takeover raises and writes nothing."""
        lost = await lost_lease_of(store)

        with pytest.raises(StaleEpochError):
            await store.append_out(lost, chunks(1, 3), at=NOW + 12)

        assert (await store.read_out(CHAT, after=0)).last_seq == 0

    async def test_append_with_a_released_lease(self, store: Store) -> None:
        """An append after the lease was given back raises and writes nothing."""
        lease = await lease_of(store)
        await store.release_lease(lease, in_cursor=0)

        with pytest.raises(StaleEpochError):
            await store.append_out(lease, chunks(1, 3), at=NOW)

        assert (await store.read_out(CHAT, after=0)).last_seq == 0

    async def test_append_to_a_deleted_session(self, store: Store) -> None:
        """The lease of a deleted session is over."""
        lease = await lease_of(store)
        await store.delete_session(CHAT)

        with pytest.raises(StaleEpochError):
            await store.append_out(lease, chunks(1, 3), at=NOW)

    async def test_takeover_race(self, store: Store) -> None:
        """Once a takeover is acked, nothing more of the former holder appears."""
        lease = await lease_of(store, ttl=10, at=NOW)
        zombie = [asyncio.ensure_future(store.append_out(lease, [chunk(0)], at=NOW)) for _ in range(20)]
        taken = await store.acquire_lease(CHAT, owner="worker-2", ttl=10, at=NOW + 11)
        assert taken is not None
        first = await store.append_out(taken, [chunk(1)], at=NOW + 11)
        zombie += [asyncio.ensure_future(store.append_out(lease, [chunk(0)], at=NOW)) for _ in range(20)]

        results = await asyncio.gather(*zombie, return_exceptions=True)

        assert all(isinstance(result, StaleEpochError) for result in results[20:])
        assert all(result < first for result in results if isinstance(result, int))
        assert (await store.read_out(CHAT, after=0)).last_seq == first

    async def test_read_from_inside_an_append(self, store: Store) -> None:
        """A cursor may lie anywhere, also between two records of one append."""
        lease = await lease_of(store)
        for first in (1, 5, 9):
            await store.append_out(lease, chunks(first, first + 3), at=NOW)

        for after in range(13):
            page = await store.read_out(CHAT, after=after)
            assert _seqs(page.records) == list(range(after + 1, 13))
            assert (page.first_seq, page.last_seq) == (1, 12)

    async def test_read_in_pages(self, store: Store) -> None:
        """Pages of any size, read one after the other, hold every record once."""
        lease = await lease_of(store)
        for first in range(1, 100, 7):
            await store.append_out(lease, chunks(first, first + 6), at=NOW)

        for size in (1, 3, 7, 50, 1000):
            seqs: list[int] = []
            while records := (await store.read_out(CHAT, after=seqs[-1] if seqs else 0, limit=size)).records:
                assert len(records) == min(size, 105 - len(seqs))
                seqs += _seqs(records)
            assert seqs == list(range(1, 106))

    async def test_read_at_the_end(self, store: Store) -> None:
        """At the end, and beyond it, a page is empty and tells the last seq."""
        lease = await lease_of(store)
        await store.append_out(lease, chunks(1, 3), at=NOW)

        for after in (3, 4, 99):
            page = await store.read_out(CHAT, after=after)
            assert (page.records, page.last_seq) == ([], 3)

    async def test_read_unknown(self, store: Store) -> None:
        """Reading the outbox of a session that is not there is an error."""
        with pytest.raises(SessionNotFoundError):
            await store.read_out(CHAT, after=0)

    async def test_read_much(self, store: Store) -> None:
        """A page may hold thousands of records, and is the same each time it is read."""
        lease = await lease_of(store)
        for first in range(1, 3000, 500):
            await store.append_out(lease, chunks(first, first + 499), at=NOW)

        bodies = [record.body for record in (await store.read_out(CHAT, after=0, limit=5000)).records]

        assert bodies == [new.body for new in chunks(1, 3000)]
        again = (await store.read_out(CHAT, after=2900, limit=5000)).records
        assert [record.body for record in again] == bodies[2900:]

    async def test_sessions_do_not_mix(self, store: Store) -> None:
        """Records appended to two sessions in turn stand in their own outboxes."""
        mine, other = await lease_of(store, CHAT), await lease_of(store, OTHER)
        for number in range(1, 4):
            await store.append_out(mine, [NewRecord("chunk", b'"mine"')], at=NOW)
            assert await store.append_out(other, [NewRecord("chunk", b'"other"')], at=NOW) == number

        assert {record.body for record in (await store.read_out(CHAT, after=0)).records} == {b'"mine"'}
        assert {record.body for record in (await store.read_out(OTHER, after=0)).records} == {b'"other"'}

    @pytest.mark.parametrize("body", BODIES)
    async def test_bodies_are_kept_byte_for_byte(self, store: Store, body: bytes) -> None:
        """A body comes back byte for byte, now and after the store was closed and opened."""
        lease = await lease_of(store)
        await store.append_out(lease, [chunk(1), NewRecord("chunk", body), chunk(2)], at=NOW)
        before = [record.body for record in (await store.read_out(CHAT, after=0)).records]
        await store.close()
        await store.open()

        assert before[1] == body
        assert [record.body for record in (await store.read_out(CHAT, after=0)).records] == before

    async def test_large_records(self, store: Store) -> None:
        """Records of a mebibyte come back whole."""
        lease = await lease_of(store)
        bodies = [b'"' + letter * 1024 * 1024 + b'"' for letter in (b"a", b"b", b"c")]
        await store.append_out(lease, [NewRecord("chunk", body) for body in bodies], at=NOW)

        assert [record.body for record in (await store.read_out(CHAT, after=0)).records] == bodies

    async def test_records_are_not_shared(self, store: Store) -> None:
        """What a wire keeps on a record it read is not seen by the next reader of the store."""
        lease = await lease_of(store)
        await store.append_out(lease, [chunk(1)], at=NOW)
        (await store.read_out(CHAT, after=0)).records[0].frames["sse"] = b"data: x"

        assert (await store.read_out(CHAT, after=0)).records[0].frames == {}

    async def test_many_sessions_at_once(self, store: Store) -> None:
        """Many sessions that append at once each get their own seqs without holes."""
        leases = [await lease_of(store, SessionKey("", f"chat-{number}")) for number in range(30)]

        async def stream(number: int) -> list[int]:
            return [await store.append_out(leases[number], chunks(1, 2), at=NOW) for _ in range(5)]

        assert await asyncio.gather(*(stream(number) for number in range(30))) == [[1, 3, 5, 7, 9]] * 30
