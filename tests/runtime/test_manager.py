"""The session manager: sessions by id, runs that come and go, leases."""

from __future__ import annotations

import asyncio

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import (
    AgentMismatchError,
    AgentNotFoundError,
    InvalidInputError,
    SessionClosedError,
    SessionNotFoundError,
    UsageError,
)
from chatrt.runtime import SessionManager
from chatrt.stores.memory import MemoryStore
from tests.runtime.driver import Chat, Gate, House, user


def echo(**options) -> ChatAgent:
    return ChatAgent("echo", run=lambda turn: turn.ui_messages[-1]["parts"][0]["text"], **options)


async def until(condition) -> None:
    """Let the other tasks run until a condition holds."""
    while not condition():
        await asyncio.sleep(0)


async def test_starting_twice_gives_the_same_session():
    """start_session is idempotent by chat id."""
    async with SessionManager(echo()) as sessions:
        first = await sessions.start_session("echo", "c", metadata={"a": 1})
        second = await sessions.start_session("echo", "c")

        assert (first.key, second.row.metadata) == (second.key, {"a": 1})


async def test_a_session_without_an_id_gets_one():
    """Without a chat id one is made up."""
    async with SessionManager(echo()) as sessions:
        assert (await sessions.start_session("echo")).chat_id.startswith("chat_")


@pytest.mark.behaviour(1)
async def test_an_unknown_agent_is_refused():
    """A session of an agent that is not served here cannot be started."""
    async with SessionManager(echo()) as sessions:
        with pytest.raises(AgentNotFoundError):
            await sessions.start_session("other", "c")


async def test_a_session_keeps_its_agent():
    """A session cannot be taken over by another agent."""
    async with SessionManager([echo(), ChatAgent("other", run=lambda turn: "x")]) as sessions:
        await sessions.start_session("echo", "c")

        with pytest.raises(AgentMismatchError):
            await sessions.start_session("other", "c")


@pytest.mark.parametrize("chat_id", ["", "x" * 257, "a\nb", "a\x00"], ids=["empty", "long", "newline", "nul"])
async def test_an_unusable_chat_id_is_refused(chat_id: str):
    """A chat id has 1 to 256 printable characters."""
    async with SessionManager(echo()) as sessions:
        with pytest.raises(InvalidInputError):
            await sessions.start_session("echo", chat_id)


async def test_an_unknown_session_raises_or_is_none():
    """get_session raises and find_session returns None."""
    async with SessionManager(echo()) as sessions:
        assert await sessions.find_session("nope") is None
        with pytest.raises(SessionNotFoundError):
            await sessions.get_session("nope")


async def test_two_agents_of_one_id_are_a_mistake():
    """Agent ids are unique in a manager."""
    with pytest.raises(UsageError):
        SessionManager([echo(), echo()])


@pytest.mark.behaviour(216)
async def test_tenants_do_not_see_each_other():
    """The same chat id in two tenants is two sessions."""
    async with SessionManager(echo()) as sessions:
        one = Chat(await sessions.start_session("echo", "c", tenant="one"), sessions)
        two = Chat(await sessions.start_session("echo", "c", tenant="two"), sessions)
        await one.send("secret")

        assert (len(await one.messages()), len(await two.messages())) == (2, 0)


@pytest.mark.behaviour(84)
async def test_an_idle_run_leaves_memory_and_comes_back():
    """After the idle time a run exits; the next message is served by a new one from the store."""
    clock = ManualClock()
    async with SessionManager(echo(idle_timeout=30.0), clock=clock) as sessions:
        chat = Chat(await sessions.start_session("echo", "c"), sessions)
        await chat.send("one")
        await until(lambda: clock.sleepers == 2)
        clock.advance(31)
        await until(lambda: sessions.active_runs == 0)

        await chat.send("two")

        assert len(await chat.messages()) == 4


async def test_a_run_that_is_needed_stays():
    """Before the idle time is over, a run keeps its session in memory."""
    clock = ManualClock()
    async with SessionManager(echo(idle_timeout=30.0), clock=clock, lease_ttl=1000) as sessions:
        chat = Chat(await sessions.start_session("echo", "c"), sessions)
        await chat.send("one")
        await until(lambda: clock.sleepers == 2)

        clock.advance(29)
        await chat.send("two")

        assert sessions.active_runs == 1


async def test_a_closed_session_takes_no_more():
    """After close, appends are refused with a stable code."""
    async with SessionManager(echo()) as sessions:
        chat = Chat(await sessions.start_session("echo", "c"), sessions)
        await sessions.close_session("c", reason="done")

        with pytest.raises(SessionClosedError):
            await chat.inbox.send_message(user("hi"))


async def test_what_was_acknowledged_before_a_close_is_answered(gate: Gate):
    """Close drops nothing: queued messages are still served (D7)."""

    async def run(turn):
        await gate.wait()
        return "x"

    async with SessionManager(ChatAgent("a", run=run)) as sessions:
        chat = Chat(await sessions.start_session("a", "c"), sessions)
        await chat.inbox.send_message(user("one"))
        sent = await chat.inbox.send_message(user("two"))
        await sessions.close_session("c")
        gate.opened.set()

        assert (await chat.settled(sent)).status == "completed"


async def test_readers_of_a_closed_session_end():
    """When a closed session is settled, live readers come to an end."""
    async with SessionManager(echo()) as sessions:
        chat = Chat(await sessions.start_session("echo", "c"), sessions)
        await chat.send("one")
        await sessions.close_session("c")

        async for _ in chat.session.outbox.read(0):
            pass

        assert chat.session.row.status == "closed"


async def test_a_deleted_session_is_gone():
    """Delete removes the session with its messages; the id can be used anew."""
    async with SessionManager(echo()) as sessions:
        chat = Chat(await sessions.start_session("echo", "c"), sessions)
        await chat.send("one")
        await sessions.delete_session("c")

        assert await sessions.find_session("c") is None
        assert await Chat(await sessions.start_session("echo", "c"), sessions).messages() == []


async def test_one_live_run_per_session():
    """Concurrent messages never start a second run."""
    running, most = 0, 0

    async def run(turn):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return "x"

    async with SessionManager(ChatAgent("a", run=run)) as sessions:
        chat = Chat(await sessions.start_session("a", "c"), sessions)
        sent = await asyncio.gather(*(chat.inbox.send_message(user(str(n))) for n in range(10)))
        for appended in sent:
            await chat.settled(appended)

    assert most == 1


async def test_a_worker_that_lost_its_lease_writes_nothing(gate: Gate):
    """When another worker takes over, the old one ends without a trace in the log."""

    async def run(turn):
        await gate.wait()
        return "too late"

    store, clock = MemoryStore(), ManualClock()
    async with SessionManager(ChatAgent("a", run=run), store, clock=clock, lease_ttl=10) as sessions:
        chat = Chat(await sessions.start_session("a", "c"), sessions)
        await chat.inbox.send_message(user("hi"))
        await gate.reached.wait()
        await store.acquire_lease(chat.session.key, owner="another", ttl=1000.0, at=clock.now() + 20)
        gate.opened.set()
        await until(lambda: sessions.active_runs == 0)

        page = await store.read_out(chat.session.key, after=0)

    assert [record.kind for record in page.records] == ["turn-start"]


async def test_closing_lets_a_running_turn_end(gate: Gate):
    """aclose waits for running turns within its grace."""

    async def run(turn):
        await gate.wait()
        return "finished"

    store = MemoryStore()
    sessions = SessionManager(ChatAgent("a", run=run), store)
    chat = Chat(await sessions.start_session("a", "c"), sessions)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    closing = asyncio.create_task(sessions.aclose(grace=5.0))
    await asyncio.sleep(0)
    gate.opened.set()
    await closing

    async with SessionManager(ChatAgent("a", run=run), store) as later:
        settled = await Chat(await later.start_session("a", "c"), later).settled(sent)

    assert (settled.text, settled.status) == ("finished", "completed")


async def test_part_ids_make_sends_idempotent(house: House):
    """The same part id appends once: one record, one turn, one answer."""
    chat = await house.open(echo())
    first = await chat.inbox.send_message(user("hi"), part_id="p1")
    second = await chat.inbox.send_message(user("hi"), part_id="p1")
    await chat.settled(first)

    assert (first.seq, second.seq, second.repeated) == (1, 1, True)
    assert len(await chat.messages()) == 2
