"""What waits, through stops, edits, withdrawals and the deaths of runs: it is settled once, as people last said."""

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
from chatrt.run_control import current_run
from chatrt.tools import tool
from tests.runtime.driver import Chat, Gate, House, user
from tests.runtime.test_steering import sent_while_busy, stepping, two_steps, users
from tests.runtime.troubled_store import TroubledStore, until


def saying(gate: Gate, **options: Any) -> ChatAgent:
    """An agent that says "half" and what it was asked, waits at the gate, and says "whole"."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half " + turn.ui_messages[-1]["parts"][0]["text"]}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": " whole"}
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run, **options)


async def statuses(chat: Chat, inputs: list[Any]) -> list[str]:
    return [(await chat.settled(sent)).status for sent in inputs]


async def held_injection(house: House, agent: ChatAgent, look: Gate, *said: str) -> tuple[Chat, list[Any], Gate]:
    """A turn into which messages were injected, and that waits behind that."""
    think = Gate()

    async def hold(event):
        await think.wait()

    agent.pending_messages = PendingMessages(on_injected=hold)
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, look, *said)
    await chat.until(lambda chunk: chunk["type"] == "data-pending-message-injected")
    await think.reached.wait()
    return chat, inputs, think


# --- edits and withdrawals


async def test_only_user_messages_can_be_changed(house: House, gate: Gate):
    """A tool answer that waits is no message of a user: it can be neither edited nor withdrawn (D15)."""

    @tool
    def ask(question: str) -> str:
        """Ask."""

    model = ScriptedModel([call(tool_call("ask", {"question": "?"})), "held", "thanks"])

    async def run(turn):
        if turn.ui_messages[-1]["role"] == "user" and len(turn.ui_messages) > 2:
            await gate.wait()
        return stream_text(model, turn.messages, tools=turn.tools)

    chat = await house.open(ChatAgent("a", run=run, tools=[ask]))
    asked = await chat.send("hi", "u1")
    message_id = asked.start["messageId"]
    await chat.inbox.send_message(user("more", "u2"))
    await gate.reached.wait()
    answer: Any = {
        "id": message_id,
        "role": "assistant",
        "parts": [{"type": "tool-ask", "toolCallId": "call_1", "state": "output-available", "output": "yes"}],
    }
    answered = await chat.inbox.send_message(answer)
    await chat.inbox.edit_pending(answered.seq, user("forged"))
    last = await chat.inbox.withdraw(answered.seq)
    await chat.until_read(last)
    gate.opened.set()

    assert (await chat.settled(answered)).status == "completed"
    part = (await chat.messages())[1]["parts"][-1]
    assert (part["state"], part["output"]) == ("output-available", "yes")


async def test_an_edited_message_stays_edited_when_its_turn_dies(house: House, gate: Gate):
    """The question of an interrupted turn is the text that was answered: as edited while it waited."""
    agent = saying(gate)
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("go", "u1"))
    await gate.reached.wait()
    waiting = await chat.inbox.send_message(user("wrnog", "u2"))
    await chat.until_read(await chat.inbox.edit_pending(waiting.seq, user("right")))
    gate.opened.set()
    await chat.settled(first)
    gate.opened.clear()
    await chat.until(lambda chunk: chunk.get("delta") == "half right")
    await chat.until_read(await chat.inbox.edit_pending(waiting.seq, user("too late")))
    await house.crash()
    gate.opened.set()

    chat = await house.open(agent)

    assert (await chat.settled(waiting)).status == "interrupted"
    assert [text for _, text in await chat.texts()] == ["go", "half go whole", "right", "half right"]


async def test_a_withdrawal_behind_an_injection_is_too_late_after_a_crash_as_well(house: House, gate: Gate):
    """What was injected is settled with its interrupted turn, whatever was said about it later."""
    agent = stepping(gate, ScriptedModel([call(tool_call("look", {})), "never"]), when_busy="steer")
    chat, inputs, think = await held_injection(house, agent, gate, "hurry", "more")
    await chat.until_read(await chat.inbox.withdraw(inputs[2].seq))
    await house.crash()
    think.opened.set()

    chat = await house.open(agent)

    assert await statuses(chat, inputs) == ["interrupted", "injected", "injected"]
    assert [role for role, _ in await chat.texts()] == ["user", "assistant"]


# --- stops


@pytest.mark.parametrize("options", [{"max_turns": 1}, {}])
async def test_a_stop_for_what_waits_outlives_the_run(house: House, gate: Gate, options: dict[str, Any]):
    """A stop that named a waiting message ends its turn in whatever run that is served."""
    agent = saying(gate, **options)
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    second = await chat.inbox.send_message(user("two"))
    await chat.inbox.stop(in_seq=second.seq, reason="no")
    await chat.until_read(await chat.inbox.stop(in_seq=first.seq))
    if not options:
        ended = Gate()

        @agent.on_turn_complete
        async def hold(event):
            await ended.wait()

        await chat.settled(first)
        await ended.reached.wait()
        await house.crash()
        ended.opened.set()
        gate.opened.set()
        chat = await house.open(agent)
    gate.opened.set()

    assert await statuses(chat, [first, second]) == ["stopped", "stopped"]


async def test_a_stop_during_a_hand_over_ends_the_turn_of_the_next_run(house: House):
    """A stop that is read while an input is handed to another run is not lost: the input is that run's to stop."""
    store = house.store = TroubledStore()
    ran: list[str] = []
    agent = ChatAgent("a", run=lambda turn: ran.append("run") or "ok")
    handing: list[Gate] = []

    @agent.on_turn_start
    def start(event):
        if not handing:
            handing.append(store.hold("load_snapshot"))
        current_run().request_upgrade()

    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("one"))
    await until(lambda: handing)
    await handing[0].reached.wait()
    await chat.until_read(await chat.inbox.stop())
    handing[0].opened.set()

    assert (await chat.settled(sent)).status == "stopped"
    assert ran == []


async def test_a_stop_before_a_retry_ends_the_retry(house: House, gate: Gate):
    """Who stops while an interrupted turn is being recovered means the answer that is about to begin."""
    agent = saying(gate)
    recovering = Gate()
    agent.on_recovery_boot(
        lambda event: RecoveryPlan(
            messages=event.settled_messages, turns=event.in_flight_users, before_turns=recovering.wait
        )
    )
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi", "u1"))
    await chat.until(lambda chunk: "delta" in chunk)
    await house.crash()
    gate.opened.set()
    chat = await house.open(agent)
    await recovering.reached.wait()
    await chat.until_read(await chat.inbox.stop())
    recovering.opened.set()

    assert (await chat.settled(sent)).status == "stopped"


# --- plans


async def test_what_a_plan_withdrew_stays_withdrawn(house: House, gate: Gate):
    """A worker that dies behind the commit of a plan leaves the plan: nobody asks the hook again."""
    agent = saying(gate)
    before = Gate()
    asked: list[Any] = []

    @agent.on_recovery_boot
    def recover(event):
        asked.append(event)
        return RecoveryPlan(turns=[], before_turns=before.wait)

    chat = await house.open(agent)
    inputs = [await chat.inbox.send_message(user("hi", "u1")), await chat.inbox.send_message(user("two", "u2"))]
    await chat.until(lambda chunk: "delta" in chunk)
    await house.crash()
    gate.opened.set()
    await house.open(agent)
    await before.reached.wait()
    await house.crash()

    chat = await house.open(agent)

    assert await statuses(chat, inputs) == ["interrupted", "withdrawn"]
    assert len(asked) == 1


async def test_a_retry_takes_up_what_was_injected(house: House, gate: Gate):
    """When an interrupted question is asked again, what was injected into its turn waits again: nobody answered it."""
    model = ScriptedModel([call(tool_call("look", {})), call(tool_call("look", {})), "found"])
    agent = stepping(gate, model, when_busy="steer")
    _, inputs, think = await held_injection(house, agent, gate, "hurry")
    agent.on_recovery_boot(lambda event: RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users))
    await house.crash()
    think.opened.set()

    chat = await house.open(agent)
    first = await chat.settled(inputs[0])
    second = await chat.settled(inputs[1])

    assert (first.status, second.status) == ("completed", "injected")
    assert users(model.requests[-1]) == ["go", "hurry"]


# --- injections


async def test_an_answer_that_is_over_takes_no_messages(house: House, gate: Gate):
    """A stream that goes on behind the end of its turn does not take what waits for the next one."""

    @tool
    async def look() -> str:
        """Look."""
        await gate.wait()
        return "seen"

    model = ScriptedModel([call(tool_call("look", {})), "to nobody"])
    held = Gate()
    behind: list[asyncio.Task[None]] = []

    async def run(turn):
        if turn.number == 0:
            behind.append(asyncio.create_task(turn.response.merge(stream_text(model, turn.messages, tools=[look]))))
            await gate.reached.wait()
        if turn.number == 1:
            await held.wait()
        return "ok"

    chat = await house.open(ChatAgent("a", run=run, when_busy="steer"))
    inputs = [await chat.inbox.send_message(user(word)) for word in ("one", "two", "three")]
    await held.reached.wait()
    await chat.until_read(inputs[-1])
    gate.opened.set()
    await behind[0]
    held.opened.set()

    assert await statuses(chat, inputs) == ["completed", "completed", "completed"]
    assert [text for role, text in await chat.texts() if role == "user"] == ["one", "two", "three"]


async def test_what_was_injected_is_kept_once_when_a_hook_breaks_the_history(house: House, gate: Gate):
    """The answer of a turn that fails in the end holds what was injected into it: no turn answers that again."""
    agent = stepping(gate, two_steps("again"), when_busy="steer")
    agent.on_before_turn_complete(lambda event: event.history.append({"id": "x"}) if event.turn == 0 else None)
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, gate, "hurry")

    assert await statuses(chat, inputs) == ["failed", "injected"]
    assert await chat.texts() == [("user", "go"), ("assistant", "done")]


async def test_a_validation_cannot_rename_what_is_injected(house: House, gate: Gate):
    """A message that validation gave another id is known as itself when its turn dies: it is not answered again."""
    agent = stepping(gate, ScriptedModel([call(tool_call("look", {})), "never"]), when_busy="steer")
    agent.on_validate_messages(lambda event: [{**event.messages[0], "id": event.messages[0]["id"] + "-checked"}])
    _, inputs, think = await held_injection(house, agent, gate, "hurry")
    await house.crash()
    think.opened.set()

    chat = await house.open(agent)

    assert await statuses(chat, inputs) == ["interrupted", "injected"]


async def test_what_cannot_be_injected_waits(house: House, gate: Gate):
    """When the part that holds an injection cannot be written, the turn fails and the message has a turn of its own."""
    policy = PendingMessages(prepare=lambda batch: [{"role": "user", "content": object()}])
    agent = stepping(gate, two_steps(), when_busy="steer", pending_messages=policy)
    chat = await house.open(agent)
    inputs = await sent_while_busy(chat, gate, "hurry")

    assert await statuses(chat, inputs) == ["failed", "completed"]
    assert [text for role, text in await chat.texts() if role == "user"] == ["go", "hurry"]
