"""Nothing that users say while a turn runs is lost or shown twice, whatever becomes of the turn (D6, D7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.events import RecoveryPlan
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.pending_messages import PendingMessages
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import Chat, Gate, House, user
from tests.runtime.test_steering import sent_while_busy, stepping, two_steps, users
from tests.runtime.troubled_store import idle


async def test_a_stream_that_outlives_its_turn_takes_no_messages(house: House, gate: Gate):
    """A stream that was left behind by its turn reaches a step boundary: what waits then is not its to take."""
    later, left = Gate(), []

    @tool
    async def look() -> str:
        """Look."""
        await gate.wait()
        return "seen"

    model = ScriptedModel([call(tool_call("look", {})), "late"])

    async def run(turn):
        if turn.number == 0:
            left.append(asyncio.create_task(turn.pipe(stream_text(model, turn.messages, tools=[look]))))
            await gate.reached.wait()
            return "first"
        if turn.number == 1:
            await later.wait()
        return f"answer {turn.number}"

    chat = await house.open(ChatAgent("a", run=run, when_busy="steer"))
    await chat.send("one")
    second = await chat.inbox.send_message(user("two"))
    await later.reached.wait()
    third = await chat.inbox.send_message(user("three"))
    await chat.until_read(third)
    gate.opened.set()
    await asyncio.wait(left)
    later.opened.set()

    assert [(await chat.settled(sent)).status for sent in (second, third)] == ["completed", "completed"]
    assert [said for role, said in await chat.texts() if role == "user"] == ["one", "two", "three"]


@pytest.mark.parametrize("rows", [[{"role": "user", "content": object()}], [user("a UI message")], "text", [7]])
async def test_what_prepare_cannot_say_is_not_lost(house: House, gate: Gate, rows: Any):
    """When `prepare` gives what is no prompt the turn fails, and the messages get their own turn."""
    policy = PendingMessages(prepare=lambda batch: rows)
    chat = await house.open(stepping(gate, two_steps("two"), when_busy="steer", pending_messages=policy))
    inputs = await sent_while_busy(chat, gate, "hurry")

    assert [(await chat.settled(sent)).status for sent in inputs] == ["failed", "completed"]
    assert (await chat.texts())[-2] == ("user", "hurry")


async def test_a_stream_in_a_tool_is_not_steered(house: House, gate: Gate):
    """What a tool shows of another model's answer is no place for what users say: the chat's own model reads it."""
    inner = ScriptedModel([call(tool_call("dig", {})), "dug"])

    @tool
    async def dig() -> str:
        """Dig."""
        await gate.wait()
        return "bone"

    @tool
    async def look() -> str:
        """Look."""
        prompt = [{"role": "user", "content": "inner"}]
        await current_turn().response.merge(stream_text(inner, prompt, tools=[dig]))
        return "seen"

    model = two_steps()
    agent = ChatAgent(
        "a", run=lambda turn: stream_text(model, turn.messages, tools=[look]), tools=[look], when_busy="steer"
    )
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, gate, "hurry")

    assert [(await chat.settled(sent)).status for sent in inputs] == ["completed", "injected"]
    assert len(inner.requests[1].messages) == 3
    assert users(model.requests[1]) == ["go", "hurry"]


async def test_a_withdrawal_behind_the_injection_comes_too_late_after_a_crash_too(house: House):
    """A message that was shown as injected is settled so, although a withdrawal came before the crash."""
    look, think = Gate(), Gate()
    agent = stepping(look, ScriptedModel([call(tool_call("look", {})), "never"]), when_busy="steer")
    agent.pending_messages = PendingMessages(on_injected=lambda event: think.wait())
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, look, "hurry")
    await chat.until(lambda chunk: chunk["type"] == "data-pending-message-injected")
    await think.reached.wait()
    await chat.inbox.withdraw(inputs[1].seq)
    await house.crash()
    think.opened.set()

    chat = await house.open(agent)

    assert [(await chat.settled(sent)).status for sent in inputs] == ["interrupted", "injected"]
    assert [role for role, _ in await chat.texts()] == ["user", "assistant"]


async def crashed_behind_an_injection(house: House, script: ScriptedModel, **hooks: Any) -> tuple[Chat, list[Any]]:
    """A turn that dies when "hurry" was injected into it, and another run that takes it up with a hook."""
    look, think = Gate(), Gate()
    agent = stepping(look, script, when_busy="steer")
    agent.pending_messages = PendingMessages(on_injected=lambda event: think.wait())
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, look, "hurry")
    await chat.until(lambda chunk: chunk["type"] == "data-pending-message-injected")
    await think.reached.wait()
    await house.crash()
    think.opened.set()
    agent.on_recovery_boot(hooks["on_recovery_boot"])
    return await house.open(agent), inputs


async def test_a_plan_that_asks_again_asks_everything(house: House):
    """A plan that runs the question again runs what was injected into the lost answer, too: it is in flight."""
    seen: list[Any] = []

    def recover(event):
        seen.extend(message["parts"][0]["text"] for message in event.in_flight_users)
        return RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users)

    model = two_steps("one", "two")
    chat, inputs = await crashed_behind_an_injection(house, model, on_recovery_boot=recover)

    assert [(await chat.settled(sent)).status for sent in inputs] == ["completed", "completed"]
    assert seen == ["go", "hurry"]
    assert [said for role, said in await chat.texts() if role == "user"] == ["go", "hurry"]


async def test_a_plan_that_drops_the_answer_keeps_what_was_injected(house: House):
    """What was injected into an answer that a plan gives up is answered by a turn of its own."""
    chat, inputs = await crashed_behind_an_injection(
        house, two_steps("one"), on_recovery_boot=lambda event: RecoveryPlan(messages=event.settled_messages)
    )

    assert [(await chat.settled(sent)).status for sent in inputs] == ["interrupted", "completed"]
    assert [said for _, said in await chat.texts()] == ["hurry", "done"]


async def test_a_plan_that_keeps_the_answer_keeps_what_was_injected_in_it(house: House):
    """Where the partial answer is part of the plan's messages, what was injected is, too, and is not asked again."""

    def recover(event):
        return RecoveryPlan(messages=[*event.settled_messages, *event.in_flight_users[:1], event.partial_assistant])

    chat, inputs = await crashed_behind_an_injection(house, two_steps("one"), on_recovery_boot=recover)

    assert [(await chat.settled(sent)).status for sent in inputs] == ["interrupted", "injected"]
    assert [role for role, _ in await chat.texts()] == ["user", "assistant"]


async def test_an_answer_that_cannot_be_stored_does_not_show_it_twice(house: House, gate: Gate):
    """When a hook leaves what cannot be stored, what was injected is in the answer or has its own turn, never both."""
    model = two_steps("two", "three")
    agent = stepping(gate, model, when_busy="steer")

    @agent.on_before_turn_complete
    def spoil(event):
        if event.turn == 0:
            event.history.append({"id": "bad", "role": "user", "parts": [object()]})

    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, gate, "hurry")
    for sent in inputs:
        await chat.settled(sent)
    await idle()

    await chat.send("more")

    assert users(model.requests[-1]).count("hurry") == 1
