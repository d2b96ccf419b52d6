"""Custom agents: a loop of the application's own over the turns of a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.errors import ModelUnavailableError
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import Gate, House, user
from tests.runtime.troubled_store import TroubledStore, until


def served(loop: Any, **options: Any) -> ChatAgent:
    return ChatAgent("a", serve=loop, **options)


@pytest.mark.behaviour(82)
async def test_every_message_is_a_turn_of_the_loop(house: House, gate: Gate):
    """What arrives during a turn comes to the loop as later turns, in order."""
    seen: list[Any] = []

    async def loop(session):
        async for turn in session.turns():
            seen.append((turn.trigger, turn.ui_messages[-1]["parts"][0]["text"]))
            if len(seen) == 1:
                await gate.wait()
            await turn.complete(f"answer {len(seen)}")

    chat = await house.open(served(loop))
    inputs = [await chat.inbox.send_message(user(word)) for word in ("one", "two", "three")]
    await gate.reached.wait()
    gate.opened.set()
    await chat.settled(inputs[-1])

    assert seen == [("message", "one"), ("message", "two"), ("message", "three")]
    assert [text for _, text in await chat.texts()] == ["one", "answer 1", "two", "answer 2", "three", "answer 3"]


async def test_complete_gives_the_answer_as_it_is_stored(house: House):
    """`complete` returns the answer when it is committed; the loop goes on with its own variables."""
    answers: list[Any] = []
    model = ScriptedModel(["Hello.", "Again."])

    async def loop(session):
        count = 0
        async for turn in session.turns():
            count += 1
            message = await turn.complete(stream_text(model, turn.messages))
            answers.append((count, message["id"], message["parts"][-1]["text"], len(session.history.all())))

    chat = await house.open(served(loop))
    first, second = await chat.send("one"), await chat.send("two")
    while len(answers) < 2:
        await asyncio.sleep(0)

    assert answers == [
        (1, first.complete["messageId"], "Hello.", 2),
        (2, second.complete["messageId"], "Again.", 4),
    ]


async def test_hooks_fire_around_the_turns_of_a_loop(house: House):
    """A loop takes the place of `run` and of nothing else."""
    told: list[str] = []

    async def loop(session):
        async for turn in session.turns():
            told.append("loop")
            await turn.complete("ok")

    agent = served(loop)
    for name in ("on_boot", "on_chat_start", "on_turn_start", "on_before_turn_complete", "on_turn_complete"):
        getattr(agent, name)(lambda event, name=name: told.append(name))
    chat = await house.open(agent)
    await chat.send("one")
    assert told == [
        "on_boot",
        "on_chat_start",
        "on_turn_start",
        "loop",
        "on_before_turn_complete",
        "on_turn_complete",
    ]


async def test_a_turn_that_is_not_completed_ends_as_it_stands(house: House):
    """Going on to the next turn completes the one before with what was written."""

    async def loop(session):
        async for turn in session.turns():
            turn.response.write({"type": "data-note", "id": "n", "data": turn.number})

    chat = await house.open(served(loop))
    first, second = await chat.send("one"), await chat.send("two")
    assert [first.status, second.status] == ["completed", "completed"]
    assert [m["parts"] for m in await chat.messages() if m["role"] == "assistant"] == [
        [{"type": "data-note", "id": "n", "data": 0}],
        [{"type": "data-note", "id": "n", "data": 1}],
    ]


@pytest.mark.behaviour(132)
async def test_a_failing_stream_keeps_the_partial_and_raises(house: House):
    """What fails in `complete` is a failed turn with its partial answer, and is raised in the loop, which may go on."""
    raised: list[BaseException] = []

    async def broken():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        raise ModelUnavailableError("gone")

    async def loop(session):
        async for turn in session.turns():
            try:
                await turn.complete(broken() if turn.number == 0 else "ok")
            except ModelUnavailableError as error:
                raised.append(error)

    chat = await house.open(served(loop))
    first, second = await chat.send("one"), await chat.send("two")
    assert [first.status, second.status, len(raised)] == ["failed", "completed", 1]
    assert [text for _, text in await chat.texts()] == ["one", "half", "two", "ok"]


async def test_a_loop_that_raises_fails_its_turn_and_is_started_again(house: House):
    """An exception in the loop is the failure of the open turn; the next input starts the loop anew."""
    starts: list[int] = []

    async def loop(session):
        starts.append(len(starts))
        async for turn in session.turns():
            if len(starts) == 1:
                raise RuntimeError
            await turn.complete("ok")

    chat = await house.open(served(loop))
    first, second = await chat.send("one"), await chat.send("two")
    assert [first.status, second.status, starts] == ["failed", "completed", [0, 1]]


async def test_leaving_the_loop_ends_the_run(house: House):
    """A loop that ends is done with its run: the next input starts another run and another loop."""
    runs: list[str] = []

    async def loop(session):
        runs.append(session.run.run_id)
        async for turn in session.turns():
            await turn.complete("ok")
            break

    chat = await house.open(served(loop))
    first = await chat.send("one")
    while chat.sessions.active_runs:
        await asyncio.sleep(0)
    second = await chat.send("two")
    assert [first.status, second.status, len(set(runs))] == ["completed", "completed", 2]


async def test_a_stop_ends_the_answer_and_the_loop_goes_on(house: House, gate: Gate):
    """A stopped turn is over with its partial answer: `complete` returns it, and `stopped` says so."""
    seen: list[Any] = []

    async def slow():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()

    async def loop(session):
        async for turn in session.turns():
            message = await turn.complete(slow() if turn.number == 0 else "ok")
            seen.append((turn.stopped, message["parts"][-1]["text"]))

    chat = await house.open(served(loop))
    sent = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    await chat.inbox.stop()
    assert (await chat.settled(sent)).status == "stopped"
    await chat.send("two")
    while len(seen) < 2:
        await asyncio.sleep(0)
    assert seen == [(True, "half"), (False, "ok")]


@pytest.mark.behaviour(83)
async def test_a_message_right_after_a_stop_is_the_next_turn(house: House, gate: Gate):
    """With steering on, what comes right behind a stop is answered by a turn of its own."""

    async def slow():
        yield {"type": "text-start", "id": "t"}
        await gate.wait()

    async def loop(session):
        async for turn in session.turns():
            await turn.complete(slow() if turn.number == 0 else "ok")

    chat = await house.open(served(loop, when_busy="steer"))
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    await chat.inbox.stop()
    second = await chat.inbox.send_message(user("two"))
    assert [(await chat.settled(sent)).status for sent in (first, second)] == ["stopped", "completed"]


async def test_the_current_turn_is_that_of_the_loop(house: House):
    """Inside of the loop `current_turn()` is the turn at hand."""
    seen: list[bool] = []

    async def loop(session):
        async for turn in session.turns():
            seen.append(current_turn() is turn)
            await turn.complete("ok")

    chat = await house.open(served(loop))
    await chat.send("one")
    await chat.send("two")
    assert seen == [True, True]


async def test_the_loop_ends_when_the_run_leaves_memory(house: House):
    """The iteration is over when the run is suspended; what the loop does behind it still happens."""
    told: list[str] = []

    async def loop(session):
        async for turn in session.turns():
            await turn.complete("ok")
        told.append("cleaned up")

    clock = ManualClock()
    chat = await house.open(served(loop), clock=clock)
    await chat.send("one")
    while clock.sleepers < 2:
        await asyncio.sleep(0)
    clock.advance(30)
    while chat.sessions.active_runs:
        await asyncio.sleep(0)
    assert told == ["cleaned up"]
    assert (await chat.send("two")).status == "completed"


async def test_an_action_without_a_handler_comes_to_the_loop(house: House):
    """Without `on_action` an action is a turn of the loop, with the action in it; it changes the history like one."""

    async def loop(session):
        async for turn in session.turns():
            if turn.trigger == "action":
                turn.history.slice(0, -2)
                await turn.done()
            else:
                await turn.complete("ok")

    chat = await house.open(served(loop))
    await chat.send("one")
    await chat.send("two")
    assert (await chat.act({"type": "undo"})).status == "completed"
    assert [text for _, text in await chat.texts()] == ["one", "ok"]


async def test_a_session_is_a_durable_channel(house: House):
    """Data go in and data parts come out, both durable and in order, and neither is a message."""

    async def loop(session):
        async for turn in session.turns():
            turn.response.write({"type": "data-double", "data": turn.data * 2})

    chat = await house.open(served(loop))
    outs = [await chat.settled(await chat.inbox.send_data(n)) for n in (1, 21)]
    assert [chunk["data"] for out in outs for chunk in out.chunks if chunk["type"] == "data-double"] == [2, 42]
    assert await chat.messages() == []


async def test_data_for_an_agent_without_a_loop_are_refused(house: House):
    """An agent with a `run` function takes no data: they are settled as failed."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "ok"))
    refused = await chat.settled(await chat.inbox.send_data({"x": 1}))
    assert (refused.status, refused.complete["error"]["code"]) == ("failed", "invalid-input")


# --- pipe


@pytest.mark.behaviour(133)
async def test_pipe_says_how_a_stream_ended(house: House):
    """`pipe` writes a stream and gives its status, the answer so far and the finish reason."""
    results: list[Any] = []
    model = ScriptedModel(["Hello."])

    async def run(turn):
        results.append(await turn.pipe(stream_text(model, turn.messages)))

    chat = await house.open(ChatAgent("a", run=run))
    sent = await chat.send("one")
    (result,) = results
    assert (result.status, result.finish_reason, result.error) == ("complete", "stop", None)
    assert (result.message["parts"][-1]["text"], sent.text) == ("Hello.", "Hello.")


@pytest.mark.behaviour(134)
async def test_pipe_raises_nothing(house: House):
    """A stream that fails gives `error`, with the error and the partial answer; the turn may go on."""
    results: list[Any] = []

    async def broken():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        raise RuntimeError("boom")

    async def run(turn):
        results.append(await turn.pipe(broken()))
        return "instead"

    chat = await house.open(ChatAgent("a", run=run))
    assert (await chat.send("one")).status == "completed"
    (result,) = results
    assert (result.status, str(result.error), result.message["parts"][0]["text"]) == ("error", "boom", "half")


@pytest.mark.behaviour(135)
async def test_pipe_ends_with_a_stop(house: House, gate: Gate):
    """In a loop a stop ends the piped stream: the status is `aborted`, with the partial answer."""
    results: list[Any] = []
    piped = asyncio.Event()

    async def slow():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()

    async def loop(session):
        async for turn in session.turns():
            results.append(await turn.pipe(slow()))
            piped.set()
            await turn.done()

    chat = await house.open(served(loop))
    sent = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    await chat.inbox.stop()
    assert (await chat.settled(sent)).status == "stopped"
    await piped.wait()
    (result,) = results
    assert (result.status, result.message["parts"][0]["text"]) == ("aborted", "half")


async def test_a_loop_is_steered_like_a_run_function(house: House, gate: Gate):
    """What is said meanwhile goes into the prompt of an answer that the loop completes a turn with."""

    @tool
    async def look() -> str:
        """Look."""
        await gate.wait()
        return "seen"

    model = ScriptedModel([call(tool_call("look", {})), "done"])

    async def loop(session):
        async for turn in session.turns():
            await turn.complete(stream_text(model, turn.messages, tools=turn.tools))

    chat = await house.open(served(loop, when_busy="steer", tools=[look]))
    await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    late = await chat.inbox.send_message(user("hurry"))
    await chat.until_read(late)
    gate.opened.set()
    assert (await chat.settled(late)).status == "injected"


async def test_a_loop_that_does_not_end_keeps_no_turn_waiting(house: House, gate: Gate):
    """What comes while a run leaves is served by another loop, also when the old one ignores that it was cancelled."""
    store = house.store = TroubledStore()
    clock = ManualClock()

    async def loop(session):
        async for turn in session.turns():
            await turn.complete("ok")
        while not gate.opened.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    chat = await house.open(served(loop), clock=clock)
    await chat.send("one")
    await until(lambda: clock.sleepers >= 2)
    leaving = store.hold("release_lease")
    clock.advance(30)
    await gate.reached.wait()
    await until(lambda: clock.sleepers >= 2)
    clock.advance(3)
    await leaving.reached.wait()
    second = await chat.inbox.send_message(user("two"))
    leaving.opened.set()
    answered = await asyncio.wait_for(chat.settled(second), 20)
    gate.opened.set()

    assert (answered.status, answered.text) == ("completed", "ok")
