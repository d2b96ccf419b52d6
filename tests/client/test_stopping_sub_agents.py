"""How far a stop goes: to what a turn asked for, as deep as that goes, and no further."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from chatrt import AgentChat, ChatAgent, sub_agent, tool
from chatrt.errors import StoreUnavailableError
from tests.client.family import Child, Family, asking, calling, echo
from tests.runtime.troubled_store import TroubledStore


def ask_kid(mode: str = "text", agent: str = "child") -> Any:
    """A run function that waits for a sub-agent in one of the ways to read an answer."""

    async def ask(turn: Any) -> Any:
        stream = AgentChat(agent, id="kid").send_message("x")
        match mode:
            case "text":
                return await stream.text()
            case "result":
                return (await stream.result()).text
            case "messages":
                return [message async for message in stream.messages()][-1]["parts"][-1]["text"]
            case "paced":
                return [message async for message in stream.messages(every=0.001)][-1]["parts"][-1]["text"]
            case _:
                return "".join([chunk.get("delta", "") async for chunk in stream])

    return ask


@pytest.mark.parametrize("mode", ["text", "result", "messages", "paced", "chunks"])
async def test_stop_reaches_the_sub_agent(family, mode):
    """A stop of the parent stops the turn it asked for, by name, however its answer is read."""
    child = Child()
    family.serve(asking("boss", ask_kid(mode)), child.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    child.say("half")
    await child.began.wait()
    assert await chat.stop()
    assert (await stream.result()).status == "stopped"
    assert await family.stops("kid") == [1]
    assert await family.settled("kid") == "stopped"


async def test_stop_is_durable_before_the_parent_s_turn_is_over():
    """Whoever sees the parent stopped finds the stop of the sub-agent on its `.in`, however long that takes to store."""
    done: list[str] = []

    class Slow(TroubledStore):
        async def append_in(self, key: Any, record: Any, **options: Any) -> Any:
            if record.kind == "stop" and key.chat_id == "kid":
                for _ in range(100):
                    await asyncio.sleep(0)
                done.append("stop of the sub-agent")
            return await super().append_in(key, record, **options)

        async def commit(self, lease: Any, commit: Any, **options: Any) -> Any:
            done.append(lease.key.chat_id)
            return await super().commit(lease, commit, **options)

    child = Child()
    family = Family(Slow()).serve(asking("boss", ask_kid()), child.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await child.began.wait()
    await chat.stop()
    await stream.result()
    await family.sessions.aclose(grace=0.0)
    assert done[:2] == ["stop of the sub-agent", "top"] or done[:3] == ["stop of the sub-agent", "kid", "top"]


async def test_stop_reaches_grandchildren(family):
    """A stop goes down the line."""
    leaf = Child("leaf")

    async def ask_leaf(turn: Any) -> str:
        return await AgentChat("leaf", id="leaf").send_message("x").text()

    family.serve(asking("boss", ask_kid()), asking("child", ask_leaf), leaf.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await leaf.began.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    assert await family.settled("kid") == "stopped"
    assert await family.settled("leaf") == "stopped"


@pytest.mark.parametrize("shown", [0, 3])
async def test_stop_reaches_a_sub_agent_in_a_tool(family, shown):
    """A tool that shows a growing message is cancelled with its turn, and its sub-agent is stopped."""
    child = Child()

    @tool
    async def ask() -> Any:
        async for message in AgentChat("child", id="kid").send_message("x").messages():
            yield message

    family.serve(calling("boss", [ask]), child.agent)
    chat = family.chat("boss")
    stream = chat.send_message("ask {}")
    child.say(*["word "] * shown)
    previews = 0
    async for chunk in stream:
        previews += bool(chunk.get("preliminary"))
        if child.began.is_set() and (previews > shown or not shown):
            await chat.stop()
            break
        if chunk["type"] == "tool-input-available":
            await child.began.wait()
    assert await family.settled("kid") == "stopped"
    assert await family.stops("kid") == [1]


async def test_newer_message_that_interrupts_stops_the_sub_agent(family):
    """A turn that a newer message interrupts stops what it asked for."""
    child = Child()

    async def ask(turn: Any) -> Any:
        return "again" if turn.number else await ask_kid()(turn)

    family.serve(asking("boss", ask, when_busy="interrupt"), child.agent)
    chat = family.chat("boss")
    await chat.send_message("go")
    await child.began.wait()
    assert await chat.send_message("more").text() == "again"
    assert await family.settled("kid") == "stopped"


async def test_stop_spares_the_turns_of_others(family):
    """A sub-agent that is busy with somebody else's turn goes on with it; what was asked for behind it is not begun."""
    child = Child()
    asked = asyncio.Event()

    async def ask(turn: Any) -> str:
        stream = await AgentChat("child", id="kid").send_message("x")
        asked.set()
        return await stream.text()

    family.serve(asking("boss", ask), child.agent)
    kid = family.chat("child", "kid")
    own = await kid.send_message("mine")
    await child.began.wait()
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await asked.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    child.say("all of it")
    child.end()
    assert await own.text() == "all of it"
    assert await family.settled("kid", 2) == "stopped"
    assert child.heard == ["mine"]


async def test_stop_reaches_several_at_once(family):
    """All that a turn asked for is stopped, read or not yet."""
    first, second = Child("first"), Child("second")

    async def ask(turn: Any) -> str:
        one = await AgentChat("first", id="one").send_message("x")
        await AgentChat("second", id="two").send_message("x")
        return await one.text()

    family.serve(asking("boss", ask), first.agent, second.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await asyncio.gather(first.began.wait(), second.began.wait())
    await chat.stop()
    await stream.result()
    assert await family.settled("one") == "stopped"
    assert await family.settled("two") == "stopped"


async def test_stop_while_the_input_is_being_sent():
    """A stop that comes while the input is on its way waits for it and stops its turn."""
    store = TroubledStore()
    child = Child()
    family = Family(store).serve(asking("boss", ask_kid()), child.agent)
    chat = family.chat("boss")
    await family.sessions.start_session("child", "kid")
    gate = None

    async def ask_at_the_gate(turn: Any) -> Any:
        nonlocal gate
        gate = store.hold("append_in")
        held.set()
        return await ask_kid()(turn)

    held = asyncio.Event()
    family.agents[0].hooks.run = ask_at_the_gate
    stream = await chat.send_message("go")
    await held.wait()
    await gate.reached.wait()
    await chat.stop()
    gate.opened.set()
    assert (await stream.result()).status == "stopped"
    assert await family.stops("kid") == [1]
    assert await family.settled("kid") == "stopped"
    await family.sessions.aclose(grace=0.0)


async def test_who_gives_up_while_the_input_is_being_sent():
    """A turn that gives up before it knows that its input was taken has it stopped once it is."""
    store = TroubledStore()
    child = Child()

    async def ask(turn: Any) -> Any:
        gate = store.hold("append_in", after=True)
        sending = asyncio.ensure_future(AgentChat("child", id="kid").send_message("x"))
        await gate.reached.wait()
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        gate.opened.set()
        return "without it"

    family = Family(store).serve(asking("boss", ask), child.agent)
    await family.sessions.start_session("child", "kid")
    assert await family.chat("boss").send_message("go").text() == "without it"
    assert await family.settled("kid") == "stopped"
    await family.sessions.aclose(grace=0.0)


# --- no stop


@pytest.mark.parametrize("end", ["shutdown", "crash"])
async def test_end_of_the_process_stops_nothing(family, end):
    """A parent whose run is ended from outside sends no stop; it is interrupted, and what it asked for is not stopped."""
    child = Child()
    family.serve(asking("boss", ask_kid()), child.agent)
    stream = family.chat("boss").send_message("go")
    await stream
    child.say("half")
    await child.began.wait()
    session = await family.sessions.get_session("kid")
    async for batch in session.outbox.read(0):
        if any(b"half" in record.body for record in batch):
            break
    if end == "crash":
        await family.crash()
    else:
        await family.sessions.aclose(grace=0.0)
    family.serve(*family.agents)
    await family.sessions.start()
    assert await family.settled("kid") == "interrupted"
    assert await family.stops("kid") == []


async def test_answer_that_is_not_read_goes_on(family):
    """What a turn asked for and did not wait for goes on when that turn has ended."""
    child = Child()

    async def ask(turn: Any) -> str:
        await AgentChat("child", id="kid").send_message("x")
        return "started"

    family.serve(asking("boss", ask), child.agent)
    assert await family.chat("boss").send_message("go").text() == "started"
    child.say("done")
    child.end()
    assert await family.settled("kid") == "completed"
    assert await family.stops("kid") == []


async def test_reader_that_only_looks_on_stops_nothing(family):
    """A turn that only follows another session's answer by `reconnect` does not stop it."""
    child = Child()
    reading = asyncio.Event()

    async def follow(turn: Any) -> str:
        stream = await AgentChat("child", id="kid").reconnect()
        assert stream is not None
        async for _ in stream:
            reading.set()
        return ""

    family.serve(asking("boss", follow), child.agent)
    own = await family.chat("child", "kid").send_message("mine")
    await child.began.wait()
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    child.say("one ")
    await reading.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    child.say("two")
    child.end()
    assert await own.text() == "one two"
    assert await family.stops("kid") == []


async def test_client_outside_of_a_run_stops_nothing(family):
    """Outside of runs a reader that is cancelled detaches, as ever (D16)."""
    child = Child()
    family.serve(child.agent)
    reader = asyncio.create_task(family.chat("child", "kid").send_message("x").text())
    await child.began.wait()
    reader.cancel()
    await asyncio.wait({reader})
    child.end()
    assert await family.settled("kid") == "completed"
    assert await family.stops("kid") == []


async def test_answer_that_ended_is_not_stopped(family, gate):
    """A stop behind the end of the sub-agent's turn goes nowhere."""
    child = Child()
    child.end()

    async def ask(turn: Any) -> str:
        await ask_kid()(turn)
        await gate.wait()
        return ""

    family.serve(asking("boss", ask), child.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await gate.reached.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    assert await family.stops("kid") == []


# --- loops of one's own


async def test_stop_reaches_what_a_loop_asked_for(family):
    """A loop that serves its session itself has what it asked for stopped too, in any of its turns."""
    child = Child()
    boss = ChatAgent("boss")

    @boss.serve
    async def serve(session: Any) -> None:
        async for turn in session.turns():
            if turn.number:
                await turn.complete(await AgentChat("child", id="kid").send_message("x").text())
            else:
                await turn.complete("first")

    family.serve(boss, child.agent)
    chat = family.chat("boss")
    assert await chat.send_message("go").text() == "first"
    stream = await chat.send_message("go")
    await child.began.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    assert await family.settled("kid") == "stopped"


# --- who gives up waiting


async def test_who_gives_up_waiting_stops_the_sub_agent(family):
    """A turn that goes on after it gave up on an answer has that stopped."""
    child = Child()

    async def ask(turn: Any) -> str:
        waiting = asyncio.create_task(ask_kid()(turn))
        await child.began.wait()
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        return "without it"

    family.serve(asking("boss", ask), child.agent)
    assert await family.chat("boss").send_message("go").text() == "without it"
    assert await family.settled("kid") == "stopped"


async def test_leaving_an_iteration_stops_the_sub_agent(family):
    """Inside of a run, who stops reading an answer in the middle has its turn stopped."""
    child = Child()
    child.say("enough")

    async def ask(turn: Any) -> str:
        stream = AgentChat("child", id="kid").send_message("x")
        async for chunk in stream:
            if chunk["type"] == "text-delta":
                await stream.aclose()
                return chunk["delta"]
        return ""

    family.serve(asking("boss", ask), child.agent)
    assert await family.chat("boss").send_message("go").text() == "enough"
    assert await family.settled("kid") == "stopped"


async def test_turn_that_fails_stops_what_it_waited_for(family):
    """A turn that fails stops the answers it was reading."""
    child = Child()

    async def fail(turn: Any) -> Any:
        reading = asyncio.ensure_future(ask_kid()(turn))
        turn.kept = reading
        await child.began.wait()
        raise RuntimeError("boom")

    boss = asking("boss", ask_kid())
    boss.hooks.run = fail
    family.serve(boss, child.agent)
    assert (await family.chat("boss").send_message("go").result()).status == "failed"
    assert await family.settled("kid") == "stopped"


async def test_stop_that_cannot_be_sent_does_not_hold_the_parent():
    """A store that is away delays the end of the parent's turn, and breaks nothing."""

    class Forgetful(TroubledStore):
        async def append_in(self, key: Any, record: Any, **options: Any) -> Any:
            if record.kind == "stop" and key.chat_id == "kid":
                raise StoreUnavailableError("away")
            return await super().append_in(key, record, **options)

    child = Child()
    family = Family(Forgetful()).serve(asking("boss", ask_kid()), child.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await child.began.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    await family.sessions.aclose(grace=0.0)


# --- closing


async def test_closing_the_parent_closes_the_family(family):
    """A session that is closed closes the sessions it started, and those that they started."""

    async def ask_leaf(turn: Any) -> str:
        return await AgentChat("echo", id="leaf").send_message("x").text()

    family.serve(asking("boss", ask_kid()), asking("child", ask_leaf), echo())
    chat = family.chat("boss")
    await chat.send_message("go").text()
    assert await chat.close("enough")
    rows = [row async for row in family.sessions.iter_sessions()]
    assert [(row.key.chat_id, row.status, row.closed_reason) for row in rows] == [
        ("kid", "closed", "enough"),
        ("leaf", "closed", "enough"),
        ("top", "closed", "enough"),
    ]


async def test_closed_parent_still_answers_with_its_sub_agents(family):
    """What a closed session was asked before is answered, with its sub-agents; they are closed after that."""
    child = Child()
    family.serve(asking("boss", ask_kid()), child.agent)
    chat = family.chat("boss")
    stream = await chat.send_message("go")
    await child.began.wait()
    await chat.close()
    assert (await family.sessions.get_session("kid")).row.status == "open"
    child.say("done")
    child.end()
    assert await stream.text() == "done"
    session = await family.sessions.get_session("kid")
    async for _ in session.outbox.read(0):
        pass  # ends when the session is closed
    assert session.row.status == "closed"


async def test_deleting_the_parent_deletes_the_family(family):
    """With a session go the sessions it started; others stay."""
    family.serve(asking("boss", ask_kid(agent="echo")), echo())
    await family.chat("boss").send_message("go").text()
    await family.chat("echo", "stranger").send_message("x").text()
    assert await family.sessions.delete_session("top")
    assert [row.key.chat_id async for row in family.sessions.iter_sessions()] == ["stranger"]


async def test_deleting_a_parent_that_runs(family):
    """A parent and a sub-agent that are at work are deleted with what they do."""
    child = Child()
    family.serve(asking("boss", ask_kid()), child.agent)
    await family.chat("boss").send_message("go")
    await child.began.wait()
    assert await family.sessions.delete_session("top")
    assert [row async for row in family.sessions.iter_sessions()] == []


async def test_sub_agent_of_one_turn(family):
    """A conversation that is closed with its turn is a new one, under the same key, in the next."""

    async def ask(turn: Any) -> str:
        first = await sub_agent("echo", key="a", close="turn").send_message("one").text()
        second = await sub_agent("echo", key="a", close="turn").send_message("two").text()
        return f"{first}, {second}"

    family.serve(asking("boss", ask), echo())
    chat = family.chat("boss")
    for _ in range(2):
        assert await chat.send_message("go").text() == "one (1), two (3)"
    await family.sessions.aclose()
    await family.store.open()
    rows = [row async for row in family.store.iter_sessions("", parent="top")]
    assert [row.status for row in rows] == ["closed", "closed"]
