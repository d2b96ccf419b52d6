"""What is left when a worker dies, and how the next run takes it up."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.stores.sqlite import SQLiteStore
from chatrt.tools import tool
from tests.runtime.driver import Gate, House, user


@pytest.fixture(params=["memory", "sqlite"])
def house_of(request: pytest.FixtureRequest, house: House, tmp_path: Any) -> House:
    """A house on each store."""
    if request.param == "sqlite":
        house.store = SQLiteStore(tmp_path / "chat.db")
    return house


def dying(gate: Gate, **options: Any) -> ChatAgent:
    """An agent that says "half", waits at the gate, and goes on with "whole" when it is served undisturbed."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "whole"}
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run, **options)


async def crashed_in_mid_answer(house: House, gate: Gate, agent: ChatAgent) -> Any:
    """Send a message, wait until the first words are on the log, and kill the worker."""
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi", "u1"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await gate.reached.wait()
    await house.crash()
    gate.opened.set()
    return sent


async def test_a_partial_answer_is_kept(house_of: House, gate: Gate):
    """What a person had seen of an answer is in the history after the restart, closed."""
    agent = dying(gate)
    sent = await crashed_in_mid_answer(house_of, gate, agent)
    chat = await house_of.open(agent)

    await chat.settled(sent)

    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]
    assert (await chat.messages())[-1]["parts"][0]["state"] == "done"


async def test_an_interrupted_turn_is_settled_once(house_of: House, gate: Gate):
    """The interrupted input gets one turn-complete, with status interrupted."""
    agent = dying(gate)
    sent = await crashed_in_mid_answer(house_of, gate, agent)
    chat = await house_of.open(agent)

    turn = await chat.settled(sent)

    assert (turn.status, turn.complete["inSeq"]) == ("interrupted", sent.seq)
    assert turn.types == ["start", "text-start", "text-delta", "text-end", "abort"]


@pytest.mark.behaviour(50)
async def test_the_chat_goes_on(house_of: House, gate: Gate):
    """After a recovery the next message is answered, and its prompt has the partial answer."""
    seen = []
    agent = dying(gate, on_turn_start=lambda event: seen.append(len(event.ui_messages)))
    await crashed_in_mid_answer(house_of, gate, agent)
    chat = await house_of.open(agent)

    turn = await chat.send("more")

    assert (turn.text, seen[-1]) == ("halfwhole", 3)


@pytest.mark.behaviour(49)
async def test_queued_messages_are_answered(house_of: House, gate: Gate):
    """Messages that waited behind the interrupted one are answered, in order, once each."""
    agent = dying(gate)
    chat = await house_of.open(agent)
    await chat.inbox.send_message(user("one"))
    two = await chat.inbox.send_message(user("two"))
    three = await chat.inbox.send_message(user("three"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await house_of.crash()
    gate.opened.set()
    chat = await house_of.open(agent)

    await chat.settled(three)

    assert (await chat.settled(two)).status == "completed"
    assert [text for role, text in await chat.texts() if role == "user"] == ["one", "two", "three"]


@pytest.mark.behaviour(49)
async def test_nothing_seen_is_served_again(house_of: House):
    """When nobody saw anything of the answer, the input is served from the start, under the same message id."""
    gate = Gate()

    async def run(turn):
        await gate.wait()
        return "answer"

    agent = ChatAgent("a", run=run)
    chat = await house_of.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    message_id = chat.session.running.message_id
    await house_of.crash()
    gate.opened.set()
    chat = await house_of.open(agent)

    turn = await chat.settled(sent)

    assert (turn.text, turn.status, turn.start["messageId"]) == ("answer", "completed", message_id)
    assert len(await chat.messages()) == 2


@pytest.mark.behaviour(49)
async def test_an_input_that_no_run_read_is_served(house_of: House):
    """A message that was acknowledged just before the worker died is answered by the next."""
    agent = ChatAgent("a", run=lambda turn: "answer")
    chat = await house_of.open(agent)
    house_of.sessions._wake = lambda live, appended: None
    chat = await house_of.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await house_of.crash()

    chat = await house_of.open(agent)

    assert (await chat.settled(sent)).text == "answer"


async def test_start_takes_up_what_was_left(house_of: House, gate: Gate):
    """A restarted worker settles what was left without being asked."""
    completed = Gate()
    agent = dying(gate)
    await crashed_in_mid_answer(house_of, gate, agent)
    agent.on_turn_complete(lambda event: completed.reached.set())

    await house_of.open(agent, "another chat")

    await completed.reached.wait()
    chat = await house_of.open(agent)
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_the_hook_is_told_of_the_interruption(house_of: House, gate: Gate):
    """on_turn_complete fires for the interrupted turn, in the run that closes it."""
    seen = []
    agent = dying(gate, on_turn_complete=lambda event: seen.append((event.status, event.error.code)))
    sent = await crashed_in_mid_answer(house_of, gate, agent)
    chat = await house_of.open(agent)
    await chat.settled(sent)
    await chat.send("next")

    assert seen[0] == ("interrupted", "turn-interrupted")


@pytest.mark.behaviour(73)
async def test_a_call_that_may_have_started_is_not_run_again(house_of: House):
    """A tool call that was on record when the worker died becomes an error that says interrupted (D8)."""
    gate, runs = Gate(), []

    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        runs.append(amount)
        await gate.wait()
        return "paid"

    model = ScriptedModel([call(tool_call("pay", {"amount": 5})), "I am not sure it was paid"])
    agent = ChatAgent("a", tools=[pay], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    chat = await house_of.open(agent)
    sent = await chat.inbox.send_message(user("pay 5"))
    await gate.reached.wait()
    await house_of.crash()
    gate.opened.set()
    chat = await house_of.open(agent)
    await chat.settled(sent)

    await chat.send("was it paid?")

    result = model.requests[-1].messages[2]["content"][0]
    assert (runs, result["output"]) == ([5], {"type": "error-text", "value": "interrupted"})


async def test_an_approved_call_that_may_have_started_is_not_run_again(house_of: House):
    """An approval is single-use, also when the worker dies while the approved tool runs."""
    gate, runs = Gate(), []

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        runs.append(amount)
        await gate.wait()
        return "paid"

    model = ScriptedModel([call(tool_call("pay", {"amount": 5})), "well", "again"])
    agent = ChatAgent("a", tools=[pay], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    chat = await house_of.open(agent)
    first = await chat.send("pay 5")
    part = (await chat.messages())[-1]["parts"][-1]
    answer = {
        "id": first.start["messageId"],
        "role": "assistant",
        "parts": [
            {
                "type": "tool-pay",
                "toolCallId": "call_1",
                "state": "approval-responded",
                "approval": {"id": part["approval"]["id"], "approved": True},
            }
        ],
    }
    sent = await chat.inbox.send_message(answer)
    await gate.reached.wait()
    await house_of.crash()
    gate.opened.set()
    chat = await house_of.open(agent)

    turn = await chat.settled(sent)
    await chat.send("go on")

    assert (turn.status, runs) == ("interrupted", [5])
    assert (await chat.messages())[1]["parts"][1]["state"] == "output-error"


async def test_crashing_in_recovery_is_harmless(house_of: House, gate: Gate):
    """Dying again while the interrupted turn is being closed leads to the same end."""
    agent = dying(gate)
    sent = await crashed_in_mid_answer(house_of, gate, agent)
    boot = Gate()

    async def hold(event):
        await boot.wait()

    agent.on_boot(hold)
    await house_of.open(agent)
    await boot.reached.wait()
    await house_of.crash()
    boot.opened.set()

    chat = await house_of.open(agent)

    assert (await chat.settled(sent)).status == "interrupted"
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_a_reader_reads_on_over_the_crash(house_of: House, gate: Gate):
    """A cursor from before the crash goes on without a gap or a repeat."""
    agent = dying(gate)
    chat = await house_of.open(agent)
    sent = await chat.inbox.send_message(user("hi", "u1"))
    cursor = await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await house_of.crash()
    gate.opened.set()
    chat = await house_of.open(agent)
    await chat.settled(sent)

    seqs = [record.seq async for batch in chat.session.outbox.read(cursor, live=False) for record in batch]

    assert seqs == list(range(cursor + 1, chat.session.outbox.last_seq + 1))


@pytest.mark.behaviour(62)
async def test_an_idle_chat_has_nothing_to_recover(house_of: House):
    """After a clean end the next run finds nothing unfinished."""
    agent = ChatAgent("a", run=lambda turn: "x")
    chat = await house_of.open(agent)
    await chat.send("one")
    last = chat.session.outbox.last_seq
    await house_of.crash()
    chat = await house_of.open(agent)

    turn = await chat.send("two")

    assert turn.start is not None
    first_new = await anext(chat.records(last))
    assert first_new.kind == "turn-start"
