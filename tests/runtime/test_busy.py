"""What arrives while a turn runs: the busy policies."""

from __future__ import annotations

import pytest

from chatrt.agent import ChatAgent
from chatrt.errors import SessionBusyError
from tests.runtime.driver import Gate, House, user


def busy(gate: Gate, policy: str) -> ChatAgent:
    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": turn.ui_messages[-1]["parts"][0]["text"]}
        if turn.number == 0:
            await gate.wait()
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run, when_busy=policy)


@pytest.mark.behaviour(80)
async def test_queue_answers_every_message_in_order(house: House, gate: Gate):
    """With queue, two messages during a turn are two turns with two answers."""
    chat = await house.open(busy(gate, "queue"))
    await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    await chat.inbox.send_message(user("two"))
    last = await chat.inbox.send_message(user("three"))
    gate.opened.set()

    await chat.settled(last)

    assert [text for _, text in await chat.texts()] == ["one", "one", "two", "two", "three", "three"]


async def test_interrupt_ends_the_running_turn(house: House, gate: Gate):
    """With interrupt, a new message ends the running turn and is answered next."""
    chat = await house.open(busy(gate, "interrupt"))
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()

    second = await chat.send("two")

    assert ((await chat.settled(first)).status, second.status) == ("stopped", "completed")


async def test_an_action_interrupts_nothing(house: House, gate: Gate):
    """An action waits for the running turn under every policy (D7)."""
    agent = busy(gate, "interrupt")
    agent.on_action(lambda event: None)
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    acted = await chat.inbox.act({})
    gate.opened.set()

    assert (await chat.settled(acted)).status == "completed"
    assert (await chat.settled(first)).status == "completed"


@pytest.mark.behaviour(81)
async def test_a_failing_turn_does_not_serve_the_next_twice(house: House, gate: Gate):
    """A turn that raises leaves the queue as it was."""
    served = []

    async def run(turn):
        served.append(turn.ui_messages[-1]["parts"][0]["text"])
        if turn.number == 0:
            await gate.wait()
            raise RuntimeError("x")
        return "ok"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    last = await chat.inbox.send_message(user("two"))
    gate.opened.set()
    await chat.settled(last)

    assert served == ["one", "two"]


async def test_reject_refuses_messages_while_a_turn_runs(house: House, gate: Gate):
    """With reject, a message or a regenerate during a turn is refused and leaves no trace; later ones are taken."""
    chat = await house.open(busy(gate, "reject"))
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()

    with pytest.raises(SessionBusyError):
        await chat.inbox.send_message(user("two"))
    with pytest.raises(SessionBusyError):
        await chat.inbox.regenerate()

    gate.opened.set()
    assert (await chat.settled(first)).status == "completed"
    assert (await chat.send("three")).status == "completed"
    assert [text for _, text in await chat.texts()] == ["one", "one", "three", "three"]


async def test_reject_lets_actions_stops_and_answers_pass(house: House, gate: Gate):
    """With reject, an action waits for the turn, and a stop ends it."""
    agent = busy(gate, "reject")
    agent.on_action(lambda event: None)
    chat = await house.open(agent)
    first = await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    acted = await chat.inbox.act({})
    await chat.inbox.stop()
    assert ((await chat.settled(first)).status, (await chat.settled(acted)).status) == ("stopped", "completed")


async def test_a_refused_message_may_be_sent_again_under_its_name(house: House, gate: Gate):
    """An append that was refused did not use up its part id."""
    chat = await house.open(busy(gate, "reject"))
    first = await chat.inbox.send_message(user("one"), part_id="p1")
    await gate.reached.wait()
    with pytest.raises(SessionBusyError):
        await chat.inbox.send_message(user("two"), part_id="p2")
    assert (await chat.inbox.send_message(user("one"), part_id="p1")).seq == first.seq
    gate.opened.set()
    await chat.settled(first)
    assert (await chat.send("two", part_id="p2")).status == "completed"
