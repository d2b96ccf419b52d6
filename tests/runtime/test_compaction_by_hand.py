"""Compaction by hand: application code asks for it."""

from __future__ import annotations

import asyncio

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text, summarize_with
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, finish, tool_call
from chatrt.run_control import current_run
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.compacting import BIG, compacting, last_prompt, looks, prompt, says
from tests.runtime.driver import Gate, House
from tests.runtime.troubled_store import idle


async def test_an_action_compacts(house: House):
    """turn.compact() in an action summarizes the chat; the next turn stands on it, and no message tells of it."""
    results = []

    async def act(event):
        results.append(await current_turn().compact())

    agent = compacting(says("one"), says("two"), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.act({"type": "compact"})
    assert await chat.texts() == [("user", "1"), ("assistant", "one")]
    await chat.send("2")

    assert [(result.status, result.layer.summary) for result in results] == [("compacted", "summary 1")]
    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]


async def test_run_compacts_before_it_answers(house: House):
    """Inside of run the question stays as it was asked, and turn.messages stand on the summary."""
    layers = []

    async def run(turn):
        if turn.number == 1:
            assert len(turn.messages) == 4
            await turn.compact()
            layers.append(turn.compaction)
        return stream_text(model, turn.messages)

    model = ScriptedModel([says("one"), says("two")])
    agent = compacting(run=run, prepare_messages=lambda event: [*event.messages, {"role": "user", "content": "mark"}])
    chat = await house.open(agent)
    await chat.send("1")

    await chat.send("2")

    assert prompt(model.requests[-1]) == [["SUM summary 1"], ["2"], ["mark"]]
    assert [layer.summary for layer in layers] == ["summary 1"]


async def test_a_hook_compacts_ahead_of_run(house: House):
    """What a hook compacts is what run is given."""

    async def on_turn_start(event):
        if event.turn == 1:
            await current_run().compact()

    agent = compacting(says("one"), says("two"), on_turn_start=on_turn_start)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.send("2")

    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]


async def test_compacting_in_the_idle_time_is_kept(house: House, gate: Gate):
    """A compaction that was deferred behind a turn is stored as soon as it is made."""

    async def summarize(event):
        await gate.wait()
        return "summary 1"

    def on_turn_complete(event):
        if event.turn == 0 and not event.continuation:
            current_turn().defer(current_turn().compact)

    policy = {"summarize": summarize}
    agent = compacting(says("one"), says("two"), compaction=policy, on_turn_complete=on_turn_complete)
    chat = await house.open(agent)
    await chat.send("1")
    await gate.reached.wait()
    await idle()
    gate.opened.set()
    while "layers" not in (await house.store.load_snapshot(chat.session.key)).state:
        await asyncio.sleep(0)
    await house.crash()

    await (await house.open(agent)).send("2")

    assert last_prompt(agent) == [["SUM summary 1"], ["2"]]


async def test_without_anything_new_it_is_skipped(house: House):
    """Where no answer was given since the last summary there is nothing to summarize, and before the first neither."""
    results = []

    async def act(event):
        results.append(await current_turn().compact())

    chat = await house.open(compacting(says("one"), on_action=act))
    await chat.act({})
    await chat.send("1")
    await chat.act({})
    await chat.act({})

    reasons = [(result.status, result.reason) for result in results]
    assert reasons == [("skipped", "nothing-to-compact"), ("compacted", "asked"), ("skipped", "nothing-to-compact")]


async def test_open_calls_are_not_covered(house: House):
    """An answer that waits for its client stays outside of the summary; where there is nothing else it is skipped."""
    results = []

    async def act(event):
        results.append(await current_turn().compact())

    asks = call(tool_call("ask_user", {"question": "which?"}, id="ask"))
    chat = await house.open(compacting(asks, on_action=act))
    await chat.send("1")

    await chat.act({})

    assert [(result.status, result.reason) for result in results] == [("skipped", "open-calls")]


async def test_the_steps_before_an_open_call_are_covered(house: House):
    """A long answer that waits is summarized up to the step that asked, and goes on from there."""

    async def act(event):
        await current_turn().compact()

    asks = call(tool_call("ask_user", {"question": "which?"}, id="ask"))
    agent = compacting(looks("box"), asks, says("done"), on_action=act)
    chat = await house.open(agent)
    turn = await chat.send("1")
    await chat.act({})

    part = {"type": "tool-ask_user", "toolCallId": "ask", "state": "output-available", "output": "left"}
    await chat.answer(part, message_id=turn.complete["messageId"])

    assert last_prompt(agent) == [["SUM summary 1"], ["call which?"], ["left"]]


async def test_a_failing_action_compacts_nothing(house: House):
    """What an action compacted before it failed is undone with the rest of it (D20)."""

    async def act(event):
        await current_turn().compact()
        raise RuntimeError("changed my mind")

    agent = compacting(says("one"), says("two"), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")
    await chat.act({})

    await chat.send("2")

    assert last_prompt(agent) == [["1"], ["one"], ["2"]]


async def test_who_asks_is_told_what_went_wrong(house: House):
    """What summarize raises is raised by compact; an agent without a compaction has to say how to summarize."""
    raised = []

    def broken(event):
        raise RuntimeError("no words")

    async def act(event):
        for summarize in (None, broken):
            try:
                await current_turn().compact(summarize=summarize)
            except Exception as error:
                raised.append(type(error).__name__)
        raised.append((await current_turn().compact(summarize=lambda _: "short")).layer.summary)

    model = ScriptedModel([says("one")])
    agent = ChatAgent("a", run=lambda turn: stream_text(model, turn.messages), on_action=act)
    chat = await house.open(agent)
    await chat.send("1")

    await chat.act({})

    assert raised == ["UsageError", "RuntimeError", "short"]


async def test_the_current_compaction_can_be_read(house: House):
    """turn.compaction is None, then the layer that holds, also inside of the answer that made it."""
    seen = []

    async def peek(place: str) -> str:
        """Look somewhere."""
        layer = current_turn().compaction
        seen.append(layer and layer.summary)
        return "seen"

    script = [
        call(tool_call("peek", {"place": "a"}, id="c1"), finish("tool-calls", input_tokens=BIG)),
        call(tool_call("peek", {"place": "b"}, id="c2")),
        says("done"),
    ]
    chat = await house.open(compacting(*script, tools=[tool(peek)]))

    await chat.send("1")

    assert seen == [None, "summary 1"]


async def test_a_model_makes_the_summary(house: House):
    """summarize_with asks a model in the midst of a turn, without becoming part of the answer."""
    writer = ScriptedModel(["A box was looked into."])
    agent = compacting(looks("box", BIG), says("done"), compaction={"summarize": summarize_with(writer)})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert turn.text == "done"
    assert last_prompt(agent) == [["SUM A box was looked into."]]
    assert [spec.name for spec in writer.requests[0].tools] == ["look", "ask_user"]
