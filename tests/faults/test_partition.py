"""A bad line between worker and database: lost answers, resets, silence; what is unknown ends in one record."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from chatrt import ChatAgent, Turn
from chatrt.client import AgentChat
from chatrt.errors import StoreError, StoreUnavailableError
from chatrt.runtime import SessionManager
from chatrt.stores.base import SessionKey
from chatrt.stores.postgres import PostgresStore
from chatrt.testing import Gate
from chatrt.testing.store_suite.setting import NOW, SAID, a_commit, chunks, lease_of, node
from tests.faults.database_line import HOLES, TTL, WRITE_SECONDS, eventually, through
from tests.faults.proxy import FaultProxy

CHAT = SessionKey("", "chat")


@pytest.fixture
def proxy(database_proxy) -> FaultProxy:
    """The line that is hurt."""
    return database_proxy


@pytest.fixture
async def store(proxy, direct) -> AsyncIterator[PostgresStore]:
    """A store whose requests go through the proxy, while it is told of others by a line of its own."""
    store = PostgresStore(f"{through(proxy, direct)}?listen_url={direct}")
    await store.open()
    yield store
    proxy.heal()
    await store.close()


# --- the store


@pytest.mark.parametrize("hole", HOLES)
async def test_an_append_into_silence(proxy, store, hole):
    """An append that gets no answer is unavailable after two seconds; repeated with its part id it is one record."""
    await lease_of(store, CHAT)
    HOLES[hole](proxy)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await store.append_in(CHAT, SAID, part_id="p", at=NOW)
    took = time.monotonic() - began
    proxy.heal()
    again = await eventually(lambda: store.append_in(CHAT, SAID, part_id="p", at=NOW))
    print(f"unavailable after {took:.2f} s")
    assert took < WRITE_SECONDS + 0.5
    assert again.seq == 1
    assert [record.seq for record in await store.read_in(CHAT, after=0)] == [1]


@pytest.mark.parametrize("hole", HOLES)
async def test_small_reads_in_silence(proxy, store, hole):
    """Looking for a session or its cursors fails as soon as a write does: an append begins with a look."""
    await lease_of(store, CHAT)
    HOLES[hole](proxy)
    looks = [store.find_session(CHAT), store.read_cursors(CHAT), store.read_in(CHAT, after=0)]
    began = time.monotonic()
    outcomes = await asyncio.gather(*looks, return_exceptions=True)
    took = time.monotonic() - began
    proxy.heal()
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * len(looks)
    assert took < WRITE_SECONDS + 0.5


async def test_appends_that_wait_for_one_another_in_silence(proxy, store):
    """Whoever comes while others wait in vain is not told later than they are."""
    await lease_of(store, CHAT)
    proxy.black_hole()

    async def append(number: int) -> float:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await store.append_in(CHAT, SAID, part_id=f"p{number}", at=NOW)
        return time.monotonic() - began

    first = asyncio.create_task(append(0))
    await asyncio.sleep(0.5)  # the first one's group is under way by now
    longest = max(await asyncio.gather(first, *(append(number) for number in range(1, 5))))
    proxy.heal()
    assert longest < WRITE_SECONDS + 0.5
    for number in range(5):
        await eventually(lambda number=number: store.append_in(CHAT, SAID, part_id=f"p{number}", at=NOW))
    assert len(await store.read_in(CHAT, after=0)) == 5


@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_a_commit_cut_at_many_bytes(proxy, store, way):
    """A commit whose line is cut at a byte, on the way there or back, is there wholly or not at all."""
    lease, line = await lease_of(store, CHAT), getattr(proxy, way)
    for _ in range(2):
        await store.append_in(CHAT, SAID, part_id=None, at=NOW)
    numbers = itertools.count(1)

    def commit() -> Awaitable[int]:
        written = a_commit([node(str(next(numbers)), None)], records=chunks(1, 3), in_cursor=2)
        return store.commit(lease, written, at=NOW)

    async def place() -> tuple[int, str | None]:
        snapshot = await eventually(lambda: store.load_snapshot(CHAT))
        cursors = await eventually(lambda: store.read_cursors(CHAT))
        assert snapshot.out_last_seq == cursors.out_last_seq == cursors.settled_seq
        return cursors.out_last_seq, snapshot.nodes[-1].node_id

    await commit()
    before = line.passed
    await commit()  # the statement is prepared: what passes is the commit and nothing else
    size, landed, unknown = line.passed - before, [], 0
    for after in range(0, size, max(1, size // 30)):
        await eventually(commit)
        (seq, _), number = await place(), next(numbers)
        numbers = itertools.count(number)
        line.cut(after)
        acked = True
        try:
            await commit()
        except StoreError:
            acked = False
        proxy.heal()
        there = await place()
        assert there in ((seq, f"n-{number - 1}"), (seq + 3, f"n-{number}")), after
        landed.append(there[0] > seq)
        unknown += landed[-1] and not acked
        assert landed[-1] or not acked, after
    print(f"{way}: {line.cuts} cuts in {size} bytes, {unknown} commits were there though nobody said so")
    assert line.cuts == len(landed) >= 20
    assert not all(landed) or way == "to_client"
    assert (unknown > 0) == (way == "to_client")


async def test_a_line_that_is_half_closed(proxy, store):
    """When one side is told the end of the connection, requests go over another one."""
    await lease_of(store, CHAT)
    for number, to_client in enumerate((True, False, True, False), 1):
        proxy.half_close(to_client=to_client)
        await eventually(lambda number=number: store.append_in(CHAT, SAID, part_id=f"p{number}", at=NOW))
        assert len(await eventually(lambda: store.read_in(CHAT, after=0))) == number


# --- two session managers, one of them on a bad line


@dataclass
class Said:
    """An agent that says one word, waits, and says another; and who ran it."""

    gate: Gate = field(default_factory=Gate)
    runs: list[str] = field(default_factory=list)

    def agent(self) -> ChatAgent:
        agent = ChatAgent("gated")

        @agent.run
        async def respond(turn: Turn) -> AsyncIterator[dict]:
            self.runs.append(turn.run_id)
            yield {"type": "text-start", "id": "t"}
            yield {"type": "text-delta", "id": "t", "delta": "one "}
            await self.gate.wait()
            yield {"type": "text-delta", "id": "t", "delta": "two"}
            yield {"type": "text-end", "id": "t"}

        return agent


@dataclass
class Two:
    """Two session managers; what the first one asks the database goes through the proxy."""

    first: SessionManager
    second: SessionManager
    here: Said
    there: Said

    def chats(self, chat: str) -> tuple[AgentChat, AgentChat]:
        return AgentChat("gated", id=chat, sessions=self.first), AgentChat("gated", id=chat, sessions=self.second)

    async def begin(self, chat: AgentChat) -> None:
        """Begin a turn at the first one, before there is a second one that could take it."""
        await chat.send_message("Hello")
        await self.here.gate.reached.wait()
        await self.second.start()


@pytest.fixture
async def two(request, proxy, direct) -> AsyncIterator[Two]:
    here, there, ttl = Said(), Said(), getattr(request, "param", TTL)
    second = SessionManager(there.agent(), PostgresStore(direct), lease_ttl=ttl)
    async with SessionManager(here.agent(), PostgresStore(through(proxy, direct)), lease_ttl=ttl) as first:
        yield Two(first, second, here, there)
        here.gate.open()
        there.gate.open()
        proxy.heal()
        await second.aclose(grace=0.0)


class Reading:
    """A reader of `.out` in one process, for as long as it takes."""

    def __init__(self, session, after: int = 0) -> None:
        self.records = []
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._read(session, after))

    async def _read(self, session, after: int) -> None:
        async for batch in session.outbox.read(after):
            self.records += batch
            self._news.set()

    async def until(self, kind: str, count: int = 1, seconds: float = 10.0) -> None:
        """Wait for the so-manieth record of a kind."""
        async with asyncio.timeout(seconds):
            while sum(record.kind == kind for record in self.records) < count:
                assert not self.task.done(), self.task
                self._news.clear()
                await self._news.wait()

    def has(self, kind: str) -> int:
        return sum(record.kind == kind for record in self.records)


@pytest.mark.parametrize("hole", HOLES)
async def test_a_worker_that_is_cut_off_is_replaced(proxy, two, hole):
    """A worker cut off in mid-answer is replaced within its lease and two seconds; the answer ends once, its readers
    read on when the line is back, what it still said is not written, and it serves again."""
    here, there = two.chats("c")
    await two.begin(here)
    local = Reading(await two.first.get_session("c"))
    remote = Reading(await two.second.get_session("c"))
    await remote.until("chunk", 2)
    HOLES[hole](proxy)
    began = time.monotonic()
    await remote.until("turn-complete")
    took = time.monotonic() - began
    two.here.gate.open()  # the old worker says its second word into the hole
    await asyncio.sleep(TTL)
    assert not local.task.done()
    proxy.heal()
    await local.until("turn-complete")
    two.there.gate.open()
    assert await asyncio.wait_for(there.send_message("Again").text(), 10) == "one two"
    assert await asyncio.wait_for(here.send_message("And here").text(), 10) == "one two"
    await local.until("turn-complete", 3)
    await remote.until("turn-complete", 3)
    seqs = [record.seq for record in local.records]
    assert seqs == list(range(1, len(seqs) + 1))
    assert [(record.kind, record.body) for record in local.records] == [(one.kind, one.body) for one in remote.records]
    messages = await there.messages()
    assert [one["role"] for one in messages] == ["user", "assistant"] * 3
    assert [part["text"] for part in messages[1]["parts"] if part["type"] == "text"] == ["one "]
    print(f"{hole}: taken over and ended after {took:.2f} s with a lease of {TTL} s")
    assert took < TTL + 2.0
    for reading in (local, remote):
        reading.task.cancel()


async def test_a_worker_that_is_cut_off_stops_its_model(proxy, two):
    """A worker that could not renew its leases for their time ends its runs: it asks nobody for more words."""
    here, _ = two.chats("c")
    ended = asyncio.Event()
    two.here.gate.wait = lambda gate=two.here.gate: _told(gate, ended)
    await two.begin(here)
    proxy.black_hole()
    began = time.monotonic()
    await asyncio.wait_for(ended.wait(), 10)
    took = time.monotonic() - began
    proxy.heal()
    print(f"given up after {took:.2f} s with a lease of {TTL} s")
    assert took < TTL + WRITE_SECONDS, "a lease, and the renewal that it waited for in vain"


async def _told(gate: Gate, ended: asyncio.Event) -> None:
    gate.reached.set()
    try:
        await gate.opened.wait()
    finally:
        ended.set()


@pytest.mark.parametrize("two", [10.0], indirect=True, ids=["usual TTL"])
async def test_a_turn_over_a_slow_line(proxy, two):
    """With 200 ms to the database and back answers are whole and written once, and leases last."""
    two.here.gate.open()
    here, there = two.chats("slow")
    assert await here.send_message("Hello").text() == "one two"
    for way in proxy.ways:
        way.latency, way.jitter = 0.1, 0.02
    assert await asyncio.wait_for(here.send_message("Again").text(), 10) == "one two"
    proxy.heal()
    assert len(two.here.runs) == 2
    assert len(await there.messages()) == 4


@pytest.mark.parametrize("way", ["to_server", "to_client"])
async def test_a_turn_whose_commits_are_cut(proxy, direct, way):
    """A turn is completed once, whatever byte of its last writes the line to the database is cut at."""
    line, agent = getattr(proxy, way), ChatAgent("cut")
    places = iter(range(0, 1500, 60) if way == "to_server" else range(0, 250, 10))

    @agent.run
    async def respond(turn: Turn) -> AsyncIterator[dict]:
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": f"answer {turn.number}"}
        line.cut(next(places))
        yield {"type": "text-end", "id": "t"}

    texts = []
    async with SessionManager(agent, PostgresStore(f"{through(proxy, direct)}?listen_url={direct}")) as sessions:
        chat = AgentChat("cut", id="c", sessions=sessions)
        reading = Reading(await sessions.start_session("cut", "c"))
        for _ in range(25):
            texts.append(await asyncio.wait_for(chat.send_message("Hello").text(), 15))
            proxy.heal()
        await reading.until("turn-complete", 25)
        stored = await eventually(chat.messages)
        reading.task.cancel()
    assert texts == [f"answer {number}" for number in range(25)]
    assert [one["role"] for one in stored] == ["user", "assistant"] * 25
    assert reading.has("turn-complete") == reading.has("turn-start") == 25
    print(f"{way}: {line.cuts} cuts")
    assert line.cuts >= 15


# --- the line by which a process is told of others


@pytest.mark.parametrize(("how", "bound"), [("reset", 1.5), ("silence", 3.0)])
async def test_notifications_are_cut_off(proxy, direct, how, bound):
    """While no notification comes through, readers at other processes see records after about a second."""
    gated = Said()
    quiet = PostgresStore(f"{direct}?listen_url={through(proxy, direct)}")
    second = SessionManager(Said().agent(), quiet)
    async with SessionManager(gated.agent(), PostgresStore(direct)) as first, AsyncExitStack() as stack:
        chat = AgentChat("gated", id="c", sessions=first)
        await chat.send_message("Hello")
        await gated.gate.reached.wait()  # the first one serves it, and goes on to
        await stack.enter_async_context(second)
        reading = Reading(await second.get_session("c"))
        await reading.until("chunk", 2)
        if how == "reset":
            proxy.refuse()
            proxy.reset()
        else:
            proxy.black_hole()
        began = time.monotonic()
        gated.gate.open()
        await reading.until("turn-complete")
        took = [time.monotonic() - began]
        for number in range(2, 5):
            began = time.monotonic()
            await chat.send_message("Again").text()
            await reading.until("turn-complete", number)
            took.append(time.monotonic() - began)
        proxy.heal()
        reading.task.cancel()
    print(f"{how}: seen after {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    assert took[0] < bound
    assert max(took[1:]) < 1.5
