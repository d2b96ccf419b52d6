"""Stop: a person ends the running turn, at any moment; the partial answer is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import FunctionModel, ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from tests.runtime.driver import Gate, House, user


def holding(gate: Gate, **options: Any) -> ChatAgent:
    """An agent that says "half", waits at the gate, and says "whole"."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "whole"}
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run, **options)


async def test_stop_in_mid_stream(house: House, gate: Gate):
    """A stop ends the turn with what was said so far, closed and followed by abort."""
    chat = await house.open(holding(gate))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()

    await chat.inbox.stop(reason="enough")
    turn = await chat.settled(sent)

    assert (turn.text, turn.status) == ("half", "stopped")
    assert turn.chunks[-2:] == [{"type": "text-end", "id": "t"}, {"type": "abort", "reason": "enough"}]


async def test_the_partial_answer_is_kept(house: House, gate: Gate):
    """The stopped answer is in the history, its text closed."""
    chat = await house.open(holding(gate))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert (await chat.messages())[-1]["parts"] == [{"type": "text", "text": "half", "state": "done"}]


async def test_stop_before_the_first_token(house: House):
    """A stop that comes before the model said anything leaves no empty message."""
    gate = Gate()

    async def run(turn):
        await gate.wait()
        return "never"

    chat = await house.open(ChatAgent("a", run=run))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()

    turn = await chat.settled(sent)

    assert (turn.types, turn.status) == (["abort"], "stopped")
    assert await chat.texts() == [("user", "hi")]


async def test_stop_right_after_sending(house: House):
    """A stop sent right behind the message, before the run picked it up, means that message: run is never called."""
    called = []
    chat = await house.open(ChatAgent("a", run=lambda turn: called.append(1)))
    sent = await chat.inbox.send_message(user("hi"))
    await chat.inbox.stop()

    turn = await chat.settled(sent)

    assert (turn.status, called) == ("stopped", [])


async def test_stop_between_turns_does_nothing(house: House):
    """A stop without a running turn is harmless and does not stop a later one."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    await chat.send("one")
    await chat.inbox.stop()

    assert (await chat.send("two")).status == "completed"


async def test_stop_of_another_turn_does_nothing(house: House, gate: Gate):
    """A stop that names an input acts on no other."""
    chat = await house.open(holding(gate))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()

    await chat.inbox.stop(in_seq=99)
    gate.opened.set()

    assert (await chat.settled(sent)).status == "completed"


async def test_stop_twice_is_stop_once(house: House, gate: Gate):
    """Stop is idempotent."""
    chat = await house.open(holding(gate))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.inbox.stop()
    await chat.settled(sent)
    gate.opened.set()

    assert (await chat.send("again")).status == "completed"


async def test_a_message_right_after_a_stop_is_answered(house: House, gate: Gate):
    """The next message need not wait for the turn-complete."""
    chat = await house.open(holding(gate))
    await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    gate.opened.set()

    turn = await chat.send("again")

    assert (turn.text, turn.status) == ("halfwhole", "completed")


async def test_the_turn_complete_hook_knows(house: House, gate: Gate):
    """on_turn_complete fires once for a stopped turn, with the raw and the closed message."""
    seen = []

    def complete(event):
        seen.append(
            (
                event.stopped,
                event.raw_response_message["parts"][0]["state"],
                event.response_message["parts"][0]["state"],
            )
        )

    chat = await house.open(holding(gate, on_turn_complete=complete))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)
    gate.opened.set()
    await chat.send("again")

    assert seen[0] == (True, "streaming", "done")


async def test_the_model_call_is_ended(house: House):
    """A stop closes the model's stream: nothing goes on generating behind it."""
    closed = asyncio.Event()
    gate = Gate()

    async def parts(request):
        try:
            yield {"type": "text-start", "id": "t"}
            await gate.wait()
        finally:
            closed.set()

    model = FunctionModel(parts)
    chat = await house.open(ChatAgent("a", run=lambda turn: stream_text(model, turn.messages)))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert closed.is_set()


async def test_a_running_tool_is_ended_and_said_to_be_interrupted(house: House):
    """A call that may have started becomes an error that says interrupted (D8); its task is cancelled."""
    gate = Gate()
    cancelled = []

    @tool
    async def slow() -> str:
        """Take long."""
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        return "done"

    model = ScriptedModel([call(tool_call("slow", {}))])
    agent = ChatAgent("a", tools=[slow], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()

    turn = await chat.settled(sent)

    assert {"type": "tool-output-error", "toolCallId": "call_1", "errorText": "interrupted"} in turn.chunks
    assert cancelled == [1]
    part = (await chat.messages())[-1]["parts"][-1]
    assert (part["state"], part["errorText"]) == ("output-error", "interrupted")


async def test_half_a_tool_input_goes(house: House):
    """A tool input that was still streaming is not in the history (D8)."""
    gate = Gate()

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "let me"}
        yield {"type": "text-end", "id": "t"}
        yield {"type": "tool-input-start", "toolCallId": "c", "toolName": "x"}
        yield {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"a":'}
        await gate.wait()

    chat = await house.open(ChatAgent("a", run=run))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert [part["type"] for part in (await chat.messages())[-1]["parts"]] == ["text"]


async def test_stop_requested_is_visible_to_run(house: House):
    """Code that must not be cut may look at turn.stop_requested."""
    gate = Gate()
    seen = []

    async def run(turn):
        try:
            await gate.wait()
        finally:
            seen.append(turn.stop_requested)

    chat = await house.open(ChatAgent("a", run=run))
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert seen == [True]


async def test_a_reader_that_leaves_stops_nothing(house: House, gate: Gate):
    """A reader that disconnects never stops a turn (D16)."""
    chat = await house.open(holding(gate))
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await gate.reached.wait()
    gate.opened.set()

    assert (await chat.settled(sent)).status == "completed"
