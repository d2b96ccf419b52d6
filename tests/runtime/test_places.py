"""Where summaries and background messages stand in an answer, whatever becomes of the parts before them."""

from __future__ import annotations

from typing import Any

from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, finish, tool_call
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.background import note
from tests.runtime.background import prompt as rows_of
from tests.runtime.compacting import BIG, compacting, last_prompt, looks, says
from tests.runtime.driver import Gate, House, user


def half_calls() -> Any:
    """A step that fails in the middle of the inputs of two calls."""
    first, second = (tool_call("look", {"place": "attic"}, id=f"half_{n}", deltas=2) for n in (1, 2))
    return [*first[:2], *second[:2], RuntimeError("scripted")]


async def test_a_place_outlives_the_parts_before_it(house: House, gate: Gate):
    """A stop takes half-streamed calls away (D8); the summary and what stands behind it stay where they were."""

    @tool
    async def wait(place: str) -> str:
        """Wait."""
        await gate.wait()
        return "never"

    @tool
    async def study(place: str) -> str:
        """Study."""
        current_turn().inject([note("it is old")])
        return "stone"

    broken = ScriptedModel([half_calls()])
    studies = call(tool_call("study", {"place": "box"}, id="c1"), finish("tool-calls", input_tokens=BIG))
    waits = call(tool_call("wait", {"place": "here"}, id="c2"))
    model = ScriptedModel([studies, waits, says("well")])

    async def run(turn):
        if turn.number == 0:
            await turn.pipe(stream_text(broken, turn.messages, tools=[study, wait]))
        return stream_text(model, turn.messages, tools=[study, wait])

    agent = compacting(run=run, tools=[study, wait])
    agent.model = model
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    await chat.inbox.stop()
    assert (await chat.settled(sent)).status == "stopped"

    await chat.send("more")

    shown = rows_of(model.requests[-1])
    assert shown[1:] == ["it is old", "tool-call", "tool-result", "more"]


async def test_what_a_tool_shows_of_another_model_is_not_compacted(house: House):
    """The prompt of a stream that a tool merges is not the chat's: no summary of it stands for the chat."""
    inner = ScriptedModel([call(tool_call("dig", {}), finish("tool-calls", input_tokens=BIG)), "dug"])

    @tool
    async def dig() -> str:
        """Dig."""
        return "bone"

    @tool
    async def look(place: str) -> str:
        """Look."""
        current_turn().inject([note("for the chat")])
        await current_turn().response.merge(stream_text(inner, [{"role": "user", "content": "inner"}], tools=[dig]))
        return "seen"

    agent = compacting(looks("box"), says("done"), says("well"), tools=[look])
    chat = await house.open(agent)
    await chat.send("go")

    await chat.send("more")

    assert len(inner.requests[1].messages) == 3
    assert agent.summaries.events == []
    assert last_prompt(agent)[0] == ["go"]


async def test_the_summary_that_reaches_furthest_holds(house: House, gate: Gate):
    """A slow summary of earlier messages, which ends behind a newer one, does not take its place."""

    async def slow(event):
        await gate.wait()
        return "slow summary"

    def defer(event):
        if event.turn == 0:
            control = current_turn().control
            current_turn().defer(lambda: control.compact(summarize=slow))

    agent = compacting(says("one"), looks("box", BIG), says("two"), says("three"), on_turn_complete=defer)
    chat = await house.open(agent)
    await chat.send("1")
    await gate.reached.wait()
    await chat.send("2")
    gate.opened.set()
    await chat.send("3")

    assert last_prompt(agent)[0] == ["SUM summary 1"]
