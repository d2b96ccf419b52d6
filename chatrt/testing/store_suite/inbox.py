"""The cases of the store suite about `.in`: many writers, one seq for each part id."""

from __future__ import annotations

import asyncio

import pytest

from chatrt.errors import SessionBusyError, SessionClosedError, SessionNotFoundError
from chatrt.stores.base import Appended, NewRecord, SessionKey, Store
from chatrt.testing.store_suite.setting import (
    BODIES,
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


class InboxCases(StoreCase):
    async def test_seq_starts_at_one(self, store: Store) -> None:
        """Inbox records are numbered 1, 2, 3 in the order they were acked."""
        await create(store)

        assert [await say(store) for _ in range(3)] == [1, 2, 3]

    async def test_record_is_kept(self, store: Store) -> None:
        """A record comes back with its kind, its body and its time in whole milliseconds."""
        await create(store)
        await store.append_in(CHAT, NewRecord("stop", b'{"inSeq":4}'), part_id=None, at=NOW + 0.1234)

        [record] = await store.read_in(CHAT, after=0)

        assert (record.seq, record.kind, record.body) == (1, "stop", b'{"inSeq":4}')
        assert record.at == 1_700_000_000_123

    async def test_repeat_returns_the_first_seq(self, store: Store) -> None:
        """An append with a known part id appends nothing and returns the seq it got the first time."""
        await create(store)
        await say(store)
        first = await store.append_in(CHAT, SAID, part_id="p1", at=NOW)
        await say(store)

        again = await store.append_in(CHAT, SAID, part_id="p1", at=NOW + 60)

        assert (first, again) == (Appended(2, repeated=False), Appended(2, repeated=True))
        assert len(await store.read_in(CHAT, after=0)) == 3

    async def test_repeat_with_another_body(self, store: Store) -> None:
        """A repeat with another body returns the first seq; the first body stays."""
        await create(store)
        await store.append_in(CHAT, NewRecord("message", b'"first"'), part_id="p1", at=NOW)

        again = await store.append_in(CHAT, NewRecord("stop", b'"second"'), part_id="p1", at=NOW)

        assert again == Appended(1, repeated=True)
        assert [(record.kind, record.body) for record in await store.read_in(CHAT, after=0)] == [
            ("message", b'"first"')
        ]

    async def test_repeat_race(self, store: Store) -> None:
        """Twenty appends of one part id at once make one record, and all get its seq."""
        await create(store)

        results = await asyncio.gather(*(store.append_in(CHAT, SAID, part_id="p1", at=NOW) for _ in range(20)))

        assert {result.seq for result in results} == {1}
        assert sum(not result.repeated for result in results) == 1
        assert len(await store.read_in(CHAT, after=0)) == 1

    async def test_part_ids_belong_to_a_session(self, store: Store) -> None:
        """The same part id in two sessions is two records."""
        await create(store, CHAT)
        await create(store, OTHER)
        await store.append_in(CHAT, SAID, part_id="p1", at=NOW)

        assert await store.append_in(OTHER, SAID, part_id="p1", at=NOW) == Appended(1, repeated=False)

    async def test_no_part_id_is_never_a_repeat(self, store: Store) -> None:
        """Equal records without a part id are different records; an empty part id is one like any other."""
        await create(store)

        results = [await store.append_in(CHAT, SAID, part_id=part_id, at=NOW) for part_id in (None, None, "", "")]

        assert [result.seq for result in results] == [1, 2, 3, 3]

    async def test_append_after_close(self, store: Store) -> None:
        """A closed session takes no more records."""
        await create(store)
        await say(store)
        await store.close_session(CHAT, reason=None, at=NOW)

        with pytest.raises(SessionClosedError):
            await say(store, part_id="p1")

        assert len(await store.read_in(CHAT, after=0)) == 1

    async def test_repeat_after_close(self, store: Store) -> None:
        """A repeat of what was acked before the session was closed still gets its seq."""
        await create(store)
        await say(store, part_id="p1")
        await store.close_session(CHAT, reason=None, at=NOW)

        assert await store.append_in(CHAT, SAID, part_id="p1", at=NOW) == Appended(1, repeated=True)

    @pytest.mark.parametrize("kind", ["message", "regenerate", "action"])
    async def test_only_if_idle(self, store: Store, kind: str) -> None:
        """An append that wants an idle session is refused while a message, regenerate or action is unsettled."""
        lease = await lease_of(store)
        record = NewRecord(kind, b"{}")
        assert (await store.append_in(CHAT, record, part_id=None, at=NOW, only_if_idle=True)).seq == 1

        with pytest.raises(SessionBusyError):
            await store.append_in(CHAT, SAID, part_id="p1", at=NOW, only_if_idle=True)

        assert len(await store.read_in(CHAT, after=0)) == 1
        await store.commit(lease, a_commit(in_cursor=1), at=NOW)
        assert await store.append_in(CHAT, SAID, part_id="p1", at=NOW, only_if_idle=True) == Appended(2, repeated=False)

    @pytest.mark.parametrize("kind", ["stop", "close", "preload", "switch", "write", "edit", "withdraw", "handover"])
    async def test_what_makes_nobody_busy(self, store: Store, kind: str) -> None:
        """Unsettled records of other kinds are in nobody's way."""
        await create(store)
        await store.append_in(CHAT, NewRecord(kind, b"{}"), part_id=None, at=NOW)

        assert (await store.append_in(CHAT, SAID, part_id=None, at=NOW, only_if_idle=True)).seq == 2

    async def test_only_if_idle_among_others(self, store: Store) -> None:
        """Behind a record that makes busy another that does not changes nothing, nor do other sessions."""
        await create(store)
        await create(store, OTHER)
        await say(store)
        await store.append_in(CHAT, NewRecord("stop", b"{}"), part_id=None, at=NOW)

        with pytest.raises(SessionBusyError):
            await store.append_in(CHAT, SAID, part_id=None, at=NOW, only_if_idle=True)
        assert (await store.append_in(OTHER, SAID, part_id=None, at=NOW, only_if_idle=True)).seq == 1

    async def test_repeat_while_busy(self, store: Store) -> None:
        """A repeat of what was acked gets its seq, also when the session is busy with it."""
        await create(store)
        await say(store, part_id="p1")

        again = await store.append_in(CHAT, SAID, part_id="p1", at=NOW, only_if_idle=True)

        assert again == Appended(1, repeated=True)

    async def test_closed_is_more_than_busy(self, store: Store) -> None:
        """A closed session with unsettled records says that it is closed: to wait would be in vain."""
        await create(store)
        await say(store)
        await store.close_session(CHAT, reason=None, at=NOW)

        with pytest.raises(SessionClosedError):
            await store.append_in(CHAT, SAID, part_id=None, at=NOW, only_if_idle=True)

    async def test_only_one_finds_it_idle(self, store: Store) -> None:
        """Of twenty appends at once that want an idle session one is taken and the others are refused."""
        await create(store)

        results = await asyncio.gather(
            *(store.append_in(CHAT, SAID, part_id=f"p{number}", at=NOW, only_if_idle=True) for number in range(20)),
            return_exceptions=True,
        )

        assert sum(isinstance(result, SessionBusyError) for result in results) == 19
        assert [result.seq for result in results if isinstance(result, Appended)] == [1]
        assert len(await store.read_in(CHAT, after=0)) == 1

    async def test_only_if_idle_in_an_unknown_session(self, store: Store) -> None:
        """A session that is not there is not busy either."""
        with pytest.raises(SessionNotFoundError):
            await store.append_in(CHAT, SAID, part_id=None, at=NOW, only_if_idle=True)

    async def test_append_to_unknown(self, store: Store) -> None:
        """Appending to a session that is not there is an error and makes none."""
        with pytest.raises(SessionNotFoundError):
            await say(store, part_id="p1")

        assert await store.find_session(CHAT) is None

    async def test_racing_writers(self, store: Store) -> None:
        """Racing writers get seqs without holes, and each record stands where its writer was told."""
        await create(store)

        async def write(writer: int) -> dict[int, bytes]:
            acked: dict[int, bytes] = {}
            for number in range(10):
                body = b'"%d-%d"' % (writer, number)
                result = await store.append_in(CHAT, NewRecord("message", body), part_id=None, at=NOW)
                acked[result.seq] = body
            return acked

        acked = await asyncio.gather(*(write(writer) for writer in range(8)))

        expected = {seq: body for one in acked for seq, body in one.items()}
        records = await store.read_in(CHAT, after=0, limit=1000)
        assert [record.seq for record in records] == list(range(1, 81))
        assert {record.seq: record.body for record in records} == expected
        assert all(list(one) == sorted(one) for one in acked)

    async def test_refusal_hurts_nobody_else(self, store: Store) -> None:
        """Refused appends do not disturb those that are made at the same moment."""
        await create(store, CHAT)
        await create(store, OTHER)
        await store.close_session(OTHER, reason=None, at=NOW)
        keys = [CHAT, OTHER, SessionKey("", "nowhere")] * 10

        results = await asyncio.gather(
            *(store.append_in(key, SAID, part_id=None, at=NOW) for key in keys), return_exceptions=True
        )

        assert [result.seq for result in results if isinstance(result, Appended)] == list(range(1, 11))
        assert sum(isinstance(result, SessionClosedError) for result in results) == 10
        assert sum(isinstance(result, SessionNotFoundError) for result in results) == 10

    async def test_cancelled_append_can_be_repeated(self, store: Store) -> None:
        """An append whose caller was cancelled may have happened; repeated with its part id it stands once."""
        await create(store)
        attempt = asyncio.ensure_future(store.append_in(CHAT, SAID, part_id="p1", at=NOW))
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)

        assert (await store.append_in(CHAT, SAID, part_id="p1", at=NOW)).seq == 1
        assert len(await store.read_in(CHAT, after=0)) == 1

    async def test_read_range(self, store: Store) -> None:
        """Reading returns what comes after the cursor, oldest first, at most `limit` records."""
        await create(store)
        for _ in range(5):
            await say(store)

        assert [record.seq for record in await store.read_in(CHAT, after=1, limit=3)] == [2, 3, 4]
        assert [record.seq for record in await store.read_in(CHAT, after=3)] == [4, 5]

    async def test_read_beyond_the_end(self, store: Store) -> None:
        """Nothing comes after the last record, nor from a session that is not there."""
        await create(store)
        await say(store)

        assert await store.read_in(CHAT, after=1) == []
        assert await store.read_in(CHAT, after=99) == []
        assert await store.read_in(OTHER, after=0) == []

    async def test_read_many(self, store: Store) -> None:
        """A page may hold many hundreds of records."""
        await create(store)
        await asyncio.gather(*(say(store) for _ in range(300)))

        assert [record.seq for record in await store.read_in(CHAT, after=0, limit=1000)] == list(range(1, 301))

    @pytest.mark.parametrize("body", BODIES)
    async def test_bodies_are_kept_byte_for_byte(self, store: Store, body: bytes) -> None:
        """A body comes back byte for byte."""
        await create(store)
        await store.append_in(CHAT, NewRecord("action", body), part_id=None, at=NOW)

        assert [record.body for record in await store.read_in(CHAT, after=0)] == [body]

    async def test_large_body(self, store: Store) -> None:
        """A body of a mebibyte comes back whole."""
        await create(store)
        body = b'"' + bytes(97 + number % 26 for number in range(1024 * 1024)) + b'"'
        await store.append_in(CHAT, NewRecord("message", body), part_id=None, at=NOW)

        assert [record.body for record in await store.read_in(CHAT, after=0)] == [body]

    async def test_streams_are_numbered_apart(self, store: Store) -> None:
        """`.in` and `.out` of a session have sequence numbers of their own."""
        lease = await lease_of(store)
        await say(store)
        await say(store)

        assert await store.append_out(lease, chunks(1, 1), at=NOW) == 1
        assert await say(store) == 3

    async def test_acked_records_outlive_the_store(self, store: Store) -> None:
        """Records and part ids are still known after the store was closed and opened."""
        await create(store)
        await say(store, part_id="p1")
        await store.close()
        await store.open()

        assert await store.append_in(CHAT, SAID, part_id="p1", at=NOW) == Appended(1, repeated=True)
        assert await say(store) == 2
        assert [record.body for record in await store.read_in(CHAT, after=0)] == [SAID.body] * 2
