"""`on_recovery_boot`: what a dead run left, and what the application makes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.events import RecoveryBootEvent, RecoveryPlan
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from tests.runtime.driver import Chat, Gate, House, user


def dying(gate: Gate, **options: Any) -> ChatAgent:
    """An agent that says "half", waits at the gate, and says "whole" when it is served undisturbed."""

    async def run(turn):
        text = turn.ui_messages[-1]["parts"][0]["text"]
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": f"half {text}"}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": " whole"}
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run, **options)


async def crashed(house: House, gate: Gate, agent: ChatAgent, *waiting: str) -> list[Any]:
    """A settled turn, a turn that dies in mid-answer, and messages that wait behind it."""
    chat = await house.open(agent)
    gate.opened.set()
    await chat.send("before", "u0")
    gate.opened.clear()
    gate.reached.clear()
    inputs = [await chat.inbox.send_message(user("hi", "u1"))]
    await gate.reached.wait()
    inputs += [await chat.inbox.send_message(user(word, f"u{n}")) for n, word in enumerate(waiting, 2)]
    await chat.until(lambda chunk: chunk.get("delta") == "half hi")
    await house.crash()
    gate.opened.set()
    return inputs


def planned(agent: ChatAgent, plan: RecoveryPlan | None = None) -> list[RecoveryBootEvent]:
    events: list[RecoveryBootEvent] = []

    @agent.on_recovery_boot
    def recover(event):
        events.append(event)
        return plan

    return events


async def said(chat: Chat) -> list[str]:
    return [text for _, text in await chat.texts()]


@pytest.mark.behaviour(46)
async def test_the_hook_sees_what_the_dead_run_left(house: House, gate: Gate):
    """The event has the partial answer, the settled messages, what is in flight, and the dead run's id."""
    agent = dying(gate)
    events = planned(agent)
    runs: list[str] = []
    agent.on_turn_start(lambda e: runs.append(e.run_id))
    inputs = await crashed(house, gate, agent, "wait")
    chat = await house.open(agent)
    await chat.settled(inputs[-1])

    (event,) = events
    assert [m["id"] for m in event.settled_messages if m["role"] == "user"] == ["u0"]
    assert [m["id"] for m in event.in_flight_users] == ["u1", "u2"]
    assert event.partial_assistant is not None
    assert event.partial_assistant["parts"][-1]["text"] == "half hi"
    assert (event.previous_run_id, event.cause) == (runs[0], "unknown")
    assert event.run_id != runs[0]


@pytest.mark.behaviour(45, 48)
async def test_without_a_partial_answer_the_hook_is_silent(house: House, gate: Gate):
    """A clean continuation, and inputs nobody had begun to answer, need no plan."""
    agent = ChatAgent("a", run=lambda turn: "ok")
    events = planned(agent)
    chat = await house.open(agent)
    await chat.send("one")
    await house.crash()
    chat = await house.open(agent)
    await chat.send("two")
    assert events == []


@pytest.mark.behaviour(50)
async def test_by_default_the_partial_answers_its_question(house: House, gate: Gate):
    """Without a plan the question and its partial answer are kept, and the rest is answered, each by a turn of its own."""
    agent = dying(gate)
    planned(agent)
    inputs = await crashed(house, gate, agent, "two", "three")
    chat = await house.open(agent)
    statuses = [(await chat.settled(sent)).status for sent in inputs]
    assert statuses == ["interrupted", "completed", "completed"]
    assert await said(chat) == [
        "before",
        "half before whole",
        "hi",
        "half hi",
        "two",
        "half two whole",
        "three",
        "half three whole",
    ]


@pytest.mark.behaviour(51)
async def test_a_plan_may_answer_nothing(house: House, gate: Gate):
    """With `turns=[]` what waits is withdrawn."""
    agent = dying(gate)
    planned(agent, RecoveryPlan(turns=[]))
    inputs = await crashed(house, gate, agent, "two")
    chat = await house.open(agent)
    assert [(await chat.settled(sent)).status for sent in inputs] == ["interrupted", "withdrawn"]
    assert await said(chat) == ["before", "half before whole", "hi", "half hi"]


@pytest.mark.behaviour(52)
async def test_a_plan_may_give_another_history(house: House, gate: Gate):
    """`messages` is the history to go on with, committed with the interrupted turn."""
    agent = dying(gate)
    note: Any = {"id": "n", "role": "assistant", "parts": [{"type": "text", "text": "I was cut off."}]}
    planned(agent, RecoveryPlan(messages=[user("hi", "u1"), note]))
    inputs = await crashed(house, gate, agent)
    chat = await house.open(agent)
    assert (await chat.settled(inputs[0])).status == "interrupted"
    assert await said(chat) == ["hi", "I was cut off."]
    await house.crash()
    assert await said(await house.open(agent)) == ["hi", "I was cut off."]


async def test_a_plan_may_ask_the_question_again(house: House, gate: Gate):
    """A plan whose `turns` hold the interrupted question runs it from scratch, after a turn-complete that says so."""
    agent = dying(gate)
    ended: list[str] = []

    @agent.on_recovery_boot
    def recover(event):
        return RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users)

    agent.on_turn_complete(lambda e: ended.append(e.status))
    inputs = await crashed(house, gate, agent, "two")
    ended.clear()
    chat = await house.open(agent)
    completes = [
        (body["inSeq"], body["status"], body.get("willRetry", False))
        async for body in completes_up_to(chat, inputs[1].seq)
    ]

    assert completes[-3:] == [
        (inputs[0].seq, "interrupted", True),
        (inputs[0].seq, "completed", False),
        (inputs[1].seq, "completed", False),
    ]
    assert ended == ["completed", "completed"]
    assert await said(chat) == ["before", "half before whole", "hi", "half hi whole", "two", "half two whole"]


async def completes_up_to(chat: Chat, in_seq: int) -> AsyncIterator[dict[str, Any]]:
    async for record in chat.records():
        if record.kind == "turn-complete":
            body = json.loads(record.body)
            yield body
            if body["inSeq"] == in_seq:
                return


@pytest.mark.behaviour(54)
async def test_before_turns_comes_before_the_first_of_them(house: House, gate: Gate):
    """`before_turns` has ended when the first recovered turn starts."""
    agent = dying(gate)
    order: list[str] = []

    async def before() -> None:
        order.append("before")

    planned(agent, RecoveryPlan(before_turns=before))
    inputs = await crashed(house, gate, agent, "two")
    agent.on_turn_start(lambda e: order.append("turn"))
    chat = await house.open(agent)
    await chat.settled(inputs[1])
    assert order == ["before", "turn"]


@pytest.mark.behaviour(55)
@pytest.mark.parametrize("plan", [RuntimeError("boom"), RecoveryPlan(turns=[user("x", "unknown")]), "keep it"])
async def test_a_hook_that_fails_changes_nothing(house: House, gate: Gate, plan: Any):
    """Raising, naming a message that is not in flight, or returning no plan is logged: it goes on as without the hook."""
    agent = dying(gate)

    @agent.on_recovery_boot
    def recover(event):
        event.history.slice(0, 0)
        if isinstance(plan, Exception):
            raise plan
        return plan

    inputs = await crashed(house, gate, agent, "two")
    chat = await house.open(agent)
    assert [(await chat.settled(sent)).status for sent in inputs] == ["interrupted", "completed"]
    assert (await said(chat))[:4] == ["before", "half before whole", "hi", "half hi"]


@pytest.mark.behaviour(53)
async def test_the_hook_is_silent_when_the_application_has_the_history(house: House, gate: Gate):
    """With `hydrate_messages` the application decides what is left of a dead run."""
    agent = dying(gate)
    agent.hydrate_messages(lambda e: [*e.previous_messages, *e.incoming_messages])
    events = planned(agent)
    inputs = await crashed(house, gate, agent)
    chat = await house.open(agent)
    assert (await chat.settled(inputs[0])).status == "interrupted"
    assert events == []


async def test_on_boot_comes_first(house: House, gate: Gate):
    """`on_boot` fires before `on_recovery_boot` (D19)."""
    agent = dying(gate)
    inputs = await crashed(house, gate, agent)
    order: list[str] = []
    agent.on_boot(lambda e: order.append("boot"))
    agent.on_recovery_boot(lambda e: order.append("recovery"))
    chat = await house.open(agent)
    await chat.settled(inputs[0])
    assert order == ["boot", "recovery"]


@pytest.mark.behaviour(47)
async def test_pending_calls_are_those_before_the_closing(house: House, gate: Gate):
    """Calls without a result are told with their inputs, although the partial answer is closed truthfully."""

    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        await gate.wait()
        return "paid"

    model = ScriptedModel([call(tool_call("pay", {"amount": 3}, id="c1")), "done"])
    agent = ChatAgent("a", run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), tools=[pay])
    events = planned(agent)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi", "u1"))
    await gate.reached.wait()
    await house.crash()
    gate.opened.set()
    chat = await house.open(agent)
    await chat.settled(sent)

    (event,) = events
    (pending,) = event.pending_tool_calls
    assert (pending.tool_call_id, pending.tool_name, pending.input) == ("c1", "pay", {"amount": 3})
    assert event.partial_assistant is not None
    assert event.partial_assistant["parts"][pending.part_index]["state"] == "output-error"


async def test_what_the_hook_writes_is_part_of_the_partial_answer(house: House, gate: Gate):
    """`event.response` writes into the answer that is being closed."""
    agent = dying(gate)
    agent.on_recovery_boot(lambda e: e.response.write({"type": "data-notice", "id": "n", "data": "cut off"}))
    inputs = await crashed(house, gate, agent)
    chat = await house.open(agent)
    closed = await chat.settled(inputs[0])
    assert "data-notice" in closed.types
    assert (await chat.messages())[-1]["parts"][-1] == {"type": "data-notice", "id": "n", "data": "cut off"}


async def test_a_crash_in_recovery_is_harmless(house: House, gate: Gate):
    """A worker that dies in the hook leaves everything for the next one, which asks again."""
    agent = dying(gate)
    stuck, asked = Gate(), []

    @agent.on_recovery_boot
    async def recover(event):
        asked.append(event.run_id)
        if len(asked) == 1:
            await stuck.wait()
        return RecoveryPlan(turns=event.in_flight_users, messages=event.settled_messages)

    inputs = await crashed(house, gate, agent)
    await house.open(agent)
    await stuck.reached.wait()
    await house.crash()
    stuck.opened.set()
    chat = await house.open(agent)
    await chat.settled(inputs[0])
    assert await said(chat) == ["before", "half before whole", "hi", "half hi whole"]
    assert len(asked) == 2


@pytest.mark.parametrize("kept", [True, False])
async def test_a_plan_without_the_interrupted_answers_leaves_no_branch_of_them(house: House, gate: Gate, *, kept: bool):
    """What a client answered in a turn that is forgotten is not given, and nothing shows that it ever was."""

    @tool
    def ask(question: str) -> str:
        """Ask."""

    model = ScriptedModel([call(tool_call("ask", {"question": "?"}))])

    async def run(turn):
        if turn.ui_messages[-1]["role"] == "user":
            async for chunk in stream_text(model, turn.messages, tools=turn.tools):
                yield chunk
        else:
            yield {"type": "text-start", "id": "t"}
            yield {"type": "text-delta", "id": "t", "delta": "half"}
            await gate.wait()

    agent = ChatAgent("a", run=run, tools=[ask])
    agent.on_recovery_boot(lambda event: RecoveryPlan(messages=event.history.all() if kept else event.settled_messages))
    chat = await house.open(agent)
    asked = await chat.send("hi", "u1")
    part = {"type": "tool-ask", "toolCallId": "call_1", "state": "output-available", "output": "yes"}
    answered = await chat.inbox.send_message({"id": asked.start["messageId"], "role": "assistant", "parts": [part]})
    await chat.until(lambda chunk: chunk.get("delta") == "half")
    await house.crash()

    chat = await house.open(agent)
    await chat.settled(answered)
    state = await chat.session.load()

    assert state.messages[-1]["parts"][-1]["state"] == ("output-available" if kept else "input-available")
    assert state.branches == {}
