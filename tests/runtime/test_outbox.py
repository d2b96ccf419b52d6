"""Reading `.out`: by cursor, at any pace, by any number of readers."""

from __future__ import annotations

import asyncio
import json

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import CursorAheadError, StaleEpochError, StoreError, StoreUnavailableError
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.outbox import Outbox, Pulse
from chatrt.runtime.outbox_writer import OutboxWriter
from chatrt.stores import Commit, NewRecord, SessionKey
from chatrt.stores.memory import MemoryStore
from tests.runtime.driver import Gate, House, user


async def read_all(outbox: Outbox, after: int = 0) -> list[int]:
    return [record.seq async for batch in outbox.read(after, live=False) for record in batch]


async def test_any_cursor_gives_the_rest(house: House):
    """From every cursor a reader gets exactly the records behind it."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    await chat.send("hi")
    last = chat.session.outbox.last_seq

    for cursor in range(last + 1):
        assert await read_all(chat.session.outbox, cursor) == list(range(cursor + 1, last + 1))


async def test_a_cursor_beyond_the_end_is_an_error(house: House):
    """A cursor that no record has is refused, never waited for."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    await chat.send("hi")

    with pytest.raises(CursorAheadError):
        await read_all(chat.session.outbox, 1000)


async def test_all_readers_see_the_same(house: House, gate: Gate):
    """Two readers of a live turn read the same records."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        await gate.wait()
        yield {"type": "text-end", "id": "t"}

    chat = await house.open(ChatAgent("a", run=run))
    sent = await chat.inbox.send_message(user("hi"))
    readers = [asyncio.create_task(chat.settled(sent)) for _ in range(2)]
    await gate.reached.wait()
    gate.opened.set()

    first, second = await asyncio.gather(*readers)

    assert first.chunks == second.chunks


async def test_readers_are_counted_while_they_read(house: House):
    """A live reader counts from its first record until it leaves."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    await chat.send("hi")
    outbox = chat.session.outbox
    before = outbox.readers
    reader = outbox.read(0)
    await anext(reader)
    attached = outbox.readers

    await reader.aclose()

    assert (attached, outbox.readers) == (before + 1, before)


@pytest.mark.behaviour(217)
async def test_a_cancelled_reader_disturbs_no_other(house: House, gate: Gate):
    """A reader that is cancelled while it waits leaves the others waiting."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    await chat.send("one")
    last = chat.session.outbox.last_seq
    stays = asyncio.ensure_future(anext(chat.session.outbox.read(last)))
    leaves = asyncio.ensure_future(anext(chat.session.outbox.read(last)))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)

    await chat.send("two")

    assert (await stays)[0].seq == last + 1


async def test_what_was_trimmed_is_said(house: House):
    """A cursor older than what is kept is answered with a gap record (D13)."""
    agent = ChatAgent("a", run=lambda turn: "x")
    chat = await house.open(agent)
    for text in ("one", "two", "three", "four"):
        await chat.send(text)
    await house.crash()
    chat = await house.open(agent)

    batch = await anext(chat.session.outbox.read(0))

    assert batch[0].kind == "gap"
    body = json.loads(batch[0].body)
    assert (body["after"], body["firstSeq"], batch[1].seq) == (0, batch[1].seq, batch[0].seq + 1)


async def test_the_last_two_turns_are_kept(house: House):
    """However many turns there were, the records of the last two can be read."""
    agent = ChatAgent("a", run=lambda turn: "x")
    chat = await house.open(agent)
    for text in ("one", "two", "three", "four"):
        await chat.send(text)
    await house.crash()
    chat = await house.open(agent)

    kinds = [record.kind async for batch in chat.session.outbox.read(0, live=False) for record in batch]

    assert kinds.count("turn-start") >= 2


@pytest.mark.parametrize(("actions", "kept"), [(20, [1, 2]), (120, [])])
async def test_actions_take_no_turns_place(house: House, actions: int, kept: list[int]):
    """The last two turns are kept behind many actions, but not behind any number of them."""
    agent = ChatAgent("a", run=lambda turn: "x", on_action=lambda event: None)
    chat = await house.open(agent)
    for text in ("one", "two"):
        await chat.send(text)
    for _ in range(actions):
        await chat.act({"type": "nod"})
    await house.crash()
    chat = await house.open(agent)

    records = [record async for batch in chat.session.outbox.read(0, live=False) for record in batch]

    begun = [json.loads(record.body) for record in records if record.kind == "turn-start"]
    assert [body["inSeq"] for body in begun if body["trigger"] == "message"] == kept
    assert len(begun) <= 103


class Bench:
    """A session in a memory store, its outbox and a writer."""

    async def open(self) -> Bench:
        self.store = MemoryStore()
        await self.store.open()
        self.key = SessionKey("", "chat")
        await self.store.create_session(self.key, agent="a", metadata={}, client_data=None, at=0.0)
        self.lease = await self.store.acquire_lease(self.key, owner="w", ttl=10.0, at=0.0)
        self.outbox = Outbox(self.key, self.store)
        self.failures: list[Exception] = []
        self.writer = OutboxWriter(self.outbox, Flusher(self.store, ManualClock()), self.lease, self.failures.append)
        return self


async def test_what_is_pushed_together_is_stored_together():
    """Everything that is pushed while the store is busy goes to it as one group."""
    bench = await Bench().open()
    groups = []
    append = bench.store.append_out_groups

    class Counting(type(bench.store)):
        async def append_out_groups(self, appends, *, at):
            groups.extend(len(records) for _, records in appends)
            await asyncio.sleep(0)
            return await append(appends, at=at)

    bench.store.__class__ = Counting
    for number in range(100):
        bench.writer.push("chunk", b'{"n":%d}' % number)

    await bench.writer.flush()

    assert groups == [100]


async def test_what_others_wrote_is_shown_when_a_run_finds_it():
    """A reader that waits here is shown what another worker appended as soon as a run here has seen it."""
    bench = await Bench().open()
    bench.writer.push("chunk", b"1")
    await bench.writer.flush()
    reader = bench.outbox.read(1)
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    await bench.store.append_out(bench.lease, [NewRecord("chunk", b"2"), NewRecord("chunk", b"3")], at=0.0)

    bench.outbox.resume_from(3)

    assert [(record.seq, record.body) for record in await waiting] == [(2, b"2"), (3, b"3")]
    await reader.aclose()


async def test_a_write_in_doubt_leaves_no_hole():
    """What was stored and not published comes to every reader in its place, also where more was published behind it."""
    bench = await Bench().open()
    readers = [bench.outbox.read(0) for _ in range(3)]
    waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
    await asyncio.sleep(0)
    bench.writer.push("chunk", b"1")
    await bench.writer.flush()
    assert [[record.body for record in await batch] for batch in waiting] == [[b"1"]] * 3
    waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
    await asyncio.sleep(0)
    await bench.store.append_out(bench.lease, [NewRecord("chunk", b"2")], at=0.0)

    bench.outbox.look_again()

    assert [[record.body for record in await batch] for batch in waiting] == [[b"2"]] * 3
    waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
    bench.outbox.publish(3, 0.0, [NewRecord("chunk", b"3")])
    assert [[record.body for record in await batch] for batch in waiting] == [[b"3"]] * 3
    for reader in readers:
        await reader.aclose()


async def test_a_record_is_published_after_it_is_stored():
    """A reader sees nothing that the store does not have."""
    bench = await Bench().open()
    bench.writer.push("chunk", b"{}")
    before = bench.outbox.last_seq

    await bench.writer.flush()

    assert (before, bench.outbox.last_seq) == (0, 1)


async def test_pending_records_go_with_the_commit():
    """A commit takes what was pushed before it along, in order, in one transaction."""
    bench = await Bench().open()
    bench.writer.push("chunk", b'{"n":1}')

    last = await bench.writer.commit(
        Commit(records=[NewRecord("turn-complete", b"{}")], nodes=[], leaf_id=None, in_cursor=0, state={})
    )

    records = [record async for batch in bench.outbox.read(0, live=False) for record in batch]
    assert ([record.kind for record in records], last) == (["chunk", "turn-complete"], 2)


async def test_a_lost_lease_writes_nothing():
    """When another worker took over, nothing more is stored and the run is told."""
    bench = await Bench().open()
    await bench.store.acquire_lease(bench.key, owner="other", ttl=10.0, at=100.0)
    bench.writer.push("chunk", b"{}")

    with pytest.raises(StaleEpochError):
        await bench.writer.flush()

    assert (len(bench.failures), (await bench.store.read_out(bench.key, after=0)).last_seq) == (1, 0)


async def test_who_waits_for_records_that_go_with_a_commit_learns_of_it():
    """Code beside the turn that wants its records stored is not left waiting when a commit takes them along."""
    bench = await Bench().open()
    bench.writer.push("chunk", b"{}")
    waiting = asyncio.create_task(bench.writer.flush())
    await asyncio.sleep(0)

    await bench.writer.commit(Commit(records=[], nodes=[], leaf_id=None, in_cursor=0, state={}, trim_to=0))
    await asyncio.wait_for(waiting, 5)

    assert await read_all(bench.outbox) == [1]


async def test_who_waits_for_records_that_are_given_up_learns_of_it():
    """When a run is over, whoever waits for its records to be stored is told that they are not."""
    bench = await Bench().open()
    bench.writer.push("chunk", b"{}")
    waiting = asyncio.create_task(bench.writer.flush())
    await asyncio.sleep(0)

    bench.writer.abandon()

    with pytest.raises(StoreUnavailableError):
        await asyncio.wait_for(waiting, 5)


async def test_a_store_that_breaks_ends_the_run_as_one_that_fails():
    """An exception that no store should raise is a failed write as well: nobody waits for it for ever."""
    bench = await Bench().open()

    class Broken(type(bench.store)):
        async def append_out_groups(self, appends, *, at):
            raise RuntimeError("a bug of the store")

    bench.store.__class__ = Broken
    bench.writer.push("chunk", b"{}")

    with pytest.raises(StoreError):
        await asyncio.wait_for(bench.writer.flush(), 5)

    assert [type(failure) for failure in bench.failures] == [StoreError]


async def test_a_pulse_wakes_a_reader(house: House):
    """A reader that waits is handed an empty batch when its pulse is rung, once for all rings, and reads on."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "ok"))
    pulse = Pulse()
    batches = chat.session.outbox.read(0, pulse=pulse)
    waiting = asyncio.ensure_future(anext(batches))
    while not chat.session.outbox.readers:
        await asyncio.sleep(0)
    for _ in range(2):
        pulse.ring()
    assert await waiting == []
    await chat.send("hi")
    read: list[str] = []
    while "turn-complete" not in read:
        read += [record.kind for record in await anext(batches)]
    assert read[0] == "turn-start"
    pulse.ring()
    assert await anext(batches) == []
    await batches.aclose()


class PacedStore(MemoryStore):
    """Asks for a tenth of a second between two groups, and counts them."""

    append_interval = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []

    async def append_out_groups(self, groups, *, at):
        self.groups.append(sum(len(records) for _, records in groups))
        return await super().append_out_groups(groups, at=at)


async def test_a_store_may_ask_for_time_between_groups():
    """The first chunk of a quiet time is stored at once; what comes within the store's interval goes with the next."""
    store, clock, key = PacedStore(), ManualClock(), SessionKey("", "chat")
    await store.open()
    await store.create_session(key, agent="a", metadata={}, client_data=None, at=0.0)
    lease = await store.acquire_lease(key, owner="w", ttl=10, at=0.0)
    assert lease is not None
    writer = OutboxWriter(Outbox(key, store), Flusher(store, clock), lease, lambda error: None)
    writer.push("chunk", b"1")
    await writer.flush()
    for number in (2, 3, 4):
        writer.push("chunk", b"%d" % number)
    waiting = asyncio.create_task(writer.flush())
    while not clock.sleepers:
        await asyncio.sleep(0)
    assert store.groups == [1]
    clock.advance(0.1)
    await waiting
    assert store.groups == [1, 3]


async def test_a_writer_that_stood_still_asks_whether_it_still_holds_the_lease():
    """What was stored a moment ago says so; later the store is asked, and one that was replaced writes nothing more."""
    store, clock, key = MemoryStore(), ManualClock(), SessionKey("", "chat")
    await store.open()
    await store.create_session(key, agent="a", metadata={}, client_data=None, at=clock.now())
    lease = await store.acquire_lease(key, owner="w", ttl=10, at=clock.now())
    assert lease is not None
    failures: list[StoreError] = []
    writer = OutboxWriter(Outbox(key, store), Flusher(store, clock), lease, failures.append)
    writer.push("chunk", b"1")
    await writer.flush()
    clock.advance(5)
    await writer.confirm()
    clock.advance(20)
    assert await store.acquire_lease(key, owner="another", ttl=10, at=clock.now()) is not None
    with pytest.raises(StaleEpochError):
        await writer.confirm()
    assert [type(failure) for failure in failures] == [StaleEpochError]
