"""Two session managers on one PostgreSQL database, as two processes have them: any takes an input, any is read."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatrt import ChatAgent, Turn
from chatrt.client import AgentChat
from chatrt.runtime import SessionManager
from chatrt.runtime.outbox import Outbox
from chatrt.stores.base import Commit, NewRecord, OutPage, SessionKey
from chatrt.stores.postgres import PostgresStore, migrate

Managers = tuple[SessionManager, SessionManager]


def gated_agent() -> tuple[ChatAgent, asyncio.Event, list[str]]:
    """An agent that says one word, waits for the event, and says another; and the names of who ran it."""
    agent, gate, runs = ChatAgent("gated"), asyncio.Event(), []

    @agent.run
    async def respond(turn: Turn) -> AsyncIterator[dict]:
        runs.append(turn.run_id)
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "one "}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "two"}
        yield {"type": "text-end", "id": "t"}

    return agent, gate, runs


@pytest.fixture
async def two(postgres_url) -> AsyncIterator[tuple[Managers, asyncio.Event, list[str]]]:
    await migrate(postgres_url)
    agent, gate, runs = gated_agent()
    async with (
        SessionManager(agent, PostgresStore(postgres_url)) as first,
        SessionManager(agent, PostgresStore(postgres_url)) as second,
    ):
        yield (first, second), gate, runs


async def test_an_answer_is_read_anywhere(two):
    """What one process writes is read live from another one, from the first word to the end."""
    (first, second), gate, runs = two
    await first.start_session("gated", "read")
    here, there = AgentChat("gated", id="read", sessions=first), AgentChat("gated", id="read", sessions=second)
    await here.send_message("Hello")
    stream = await there.reconnect()
    read = []
    async for chunk in stream:
        if chunk["type"] == "text-delta":
            read.append(chunk["delta"])
            gate.set()
    assert read == ["one ", "two"]
    assert len(runs) == 1


async def test_an_input_is_taken_anywhere(two):
    """A second message that comes in at another process is answered by the run that there is."""
    (first, second), gate, runs = two
    gate.set()
    here, there = AgentChat("gated", id="taken", sessions=first), AgentChat("gated", id="taken", sessions=second)
    assert await here.send_message("Hello").text() == "one two"
    assert await there.send_message("Again").text() == "one two"
    assert len(await here.messages()) == 4
    assert len(set(runs)) == 1


async def test_a_stop_is_taken_anywhere(two):
    """A stop that comes in at another process ends the turn at once."""
    (first, second), _gate, _runs = two
    here, there = AgentChat("gated", id="stopped", sessions=first), AgentChat("gated", id="stopped", sessions=second)
    stream = here.send_message("Hello")
    async for chunk in stream:
        if chunk["type"] == "text-delta":
            assert await there.stop()
    assert stream.status == "stopped"


async def test_a_session_is_closed_anywhere(two):
    """A session that is closed at one process takes nothing more at the other, and its readers come to their end."""
    (first, second), gate, _runs = two
    gate.set()
    here, there = AgentChat("gated", id="closed", sessions=first), AgentChat("gated", id="closed", sessions=second)
    await here.send_message("Hello").text()
    session = await second.get_session("closed")
    reading = asyncio.create_task(_read_all(session))
    assert await here.close()
    assert "turn-complete" in await reading
    with pytest.raises(Exception, match="closed"):
        await there.send_message("More")


async def _read_all(session) -> list[str]:
    return [record.kind async for batch in session.outbox.read() for record in batch]


async def test_what_is_told_during_a_look_is_not_missed(two):
    """A notice that comes while a reader looks how long the log is counts, although the look may be older."""
    (first, _), gate, _ = two
    gate.set()
    chat = AgentChat("gated", id="told", sessions=first)
    await chat.send_message("Hello").text()
    store = PausingStore(first.store)
    outbox = Outbox(SessionKey("", "told"), store)
    reading = asyncio.create_task(_last_of(outbox, 3))
    await store.asked.wait()
    outbox.follow(3)
    store.answer.set()
    assert await asyncio.wait_for(reading, 5) >= 3


async def _last_of(outbox: Outbox, seq: int) -> int:
    async for batch in outbox.read(2):
        if batch[-1].seq >= seq:
            return batch[-1].seq
    return 0


class CountingStore:
    """Counts the calls of a store."""

    def __init__(self, store: PostgresStore) -> None:
        self._store, self.calls = store, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        async def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            return await attribute(*arguments, **options)

        return call


async def test_who_does_not_hold_the_lease_does_not_ask_for_it(postgres_url):
    """An append at a process that does not serve the session is told who does, and nobody tries to take the lease."""
    await migrate(postgres_url)
    agent, gate, runs = gated_agent()
    store = CountingStore(PostgresStore(postgres_url))
    async with (
        SessionManager(agent, PostgresStore(postgres_url)) as first,
        SessionManager(agent, store) as second,  # type: ignore[arg-type]
    ):
        here, there = AgentChat("gated", id="held", sessions=first), AgentChat("gated", id="held", sessions=second)
        await anext(aiter(here.send_message("Hello")))
        before = store.calls["acquire_lease"]
        waiting = [await there.send_message(f"more {number}") for number in range(3)]
        gate.set()
        for stream in waiting:
            assert await stream.text() == "one two"
        assert store.calls["acquire_lease"] == before == 0
    assert len(set(runs)) == 1


async def test_roles_share_a_store(postgres_url):
    """What a process of role `web` takes in is answered by a worker, at once, and read where it came in."""
    await migrate(postgres_url)
    agent, gate, _ = gated_agent()
    gate.set()
    async with (
        SessionManager(agent, PostgresStore(postgres_url), role="web") as web,
        SessionManager(agent, PostgresStore(postgres_url), role="worker") as worker,
    ):
        chat = AgentChat("gated", id="roles", sessions=web)
        began = time.monotonic()
        assert await chat.send_message("Hello").text() == "one two"
        took = time.monotonic() - began
        print(f"FIGURE answered by another process in {took:.3f} s")
        assert (web.active_runs, worker.active_runs) == (0, 1)
        assert took < 1  # by the notice, not by the next look


async def test_a_lease_that_is_given_back_is_taken_at_once(postgres_url):
    """What a process leaves at its end another one goes on with at once, long before the lease would have run out."""
    await migrate(postgres_url)
    agent, gate, _runs = gated_agent()
    first = SessionManager(agent, PostgresStore(postgres_url), lease_ttl=60.0)
    async with SessionManager(agent, PostgresStore(postgres_url), role="web", lease_ttl=60.0) as web:
        stream = AgentChat("gated", id="left", sessions=web).send_message("Hello")
        await first.start()
        await anext(aiter(stream))
        async with SessionManager(agent, PostgresStore(postgres_url), lease_ttl=60.0) as second:
            began = time.monotonic()
            await first.aclose(grace=0.0)
            async with asyncio.timeout(20):
                while not second.active_runs:
                    await asyncio.sleep(0.01)
            print(f"FIGURE handed over in {time.monotonic() - began:.3f} s")
            assert time.monotonic() - began < 3
    gate.set()


class PausingStore:
    """Says at its first answer that the log has two records, and says that only when it may: a look that is old by then."""

    def __init__(self, store) -> None:
        self.asked, self.answer, self._store = asyncio.Event(), asyncio.Event(), store

    async def read_out(self, key, *, after, limit):
        page = await self._store.read_out(key, after=after, limit=limit)
        if self.answer.is_set():
            return page
        self.asked.set()
        await self.answer.wait()
        return OutPage(page.records[:2], page.first_seq, 2)


async def test_a_reader_of_a_worker_that_was_replaced_without_noticing(postgres_url):
    """What another process wrote while the worker here still believed to hold the session is read here all the same."""
    agent, _gate, runs = gated_agent()
    key = SessionKey("", "replaced")
    other = PostgresStore(postgres_url)
    async with SessionManager(agent, PostgresStore(postgres_url), lease_ttl=1.0) as first:
        session = await first.start_session("gated", key.chat_id)
        await AgentChat("gated", id=key.chat_id, sessions=first).send_message("Hello")
        reading = asyncio.create_task(_read_up_to(session, "turn-complete"))
        while session.running is None or session.outbox.last_seq < 3:
            await asyncio.sleep(0.01)  # that it is written is told by nothing else here
        await other.open()
        stolen = await other.acquire_lease(key, owner="other", ttl=10, at=time.time() + 3600)
        assert stolen is not None
        records = [NewRecord("turn-complete", b'{"inSeq":1,"status":"interrupted"}')]
        commit = Commit(records=records, nodes=[], leaf_id=None, in_cursor=1, state={})
        await other.commit(stolen, commit, at=time.time())
        assert (await asyncio.wait_for(reading, 5))[-1] == "turn-complete"
        await other.close()
    assert len(runs) == 1


async def _read_up_to(session, kind) -> list[str]:
    kinds: list[str] = []
    async for batch in session.outbox.read():
        kinds += [record.kind for record in batch]
        if kind in kinds:
            break
    return kinds
