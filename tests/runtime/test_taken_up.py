"""An input between waiting and its turn, and a turn between two runs: what is shown of them, and what a stop means."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.events import RecoveryPlan
from tests.runtime.driver import Chat, Gate, House, user
from tests.runtime.test_steering import sent_while_busy, stepping, two_steps
from tests.runtime.test_waiting import saying, statuses
from tests.runtime.troubled_store import TroubledStore


async def pending(chat: Chat) -> list[tuple[int, str]]:
    state = await chat.session.load()
    return [(one.in_seq, one.message["parts"][0]["text"]) for one in state.pending]


async def died(house: House, agent: ChatAgent, *waiting: str) -> list[Any]:
    """A turn whose worker died in mid-answer, and messages that wait behind it."""
    chat = await house.open(agent)
    inputs = [await chat.inbox.send_message(user("hi", "u1"))]
    await chat.until(lambda chunk: "delta" in chunk)
    inputs += [await chat.inbox.send_message(user(word)) for word in waiting]
    await house.crash()
    return inputs


# --- what is shown


@pytest.mark.parametrize("change", ["edit", "withdraw"])
async def test_what_was_taken_up_is_shown_as_it_is_served(house: House, gate: Gate, change: str):
    """A message whose hooks run shows as waiting until its turn begins, and not as somebody would have it too late."""
    agent = stepping(gate, two_steps())
    agent.on_boot(lambda event: gate.wait())
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    inbox = chat.inbox
    late = await (inbox.withdraw(sent.seq) if change == "withdraw" else inbox.edit_pending(sent.seq, user("stay")))
    await chat.until_read(late)
    shown = await pending(chat)
    gate.opened.set()

    assert (await chat.settled(sent)).status == "completed"
    assert shown == [(sent.seq, "go")]
    assert await chat.texts() == [("user", "go"), ("assistant", "done")]


async def test_an_edit_that_came_in_time_is_shown_when_it_is_served(house: House, gate: Gate):
    """A message that was edited while it waited shows with the new text while its hooks run."""
    agent = stepping(gate, two_steps("two"))
    second = Gate()
    agent.on_validate_messages(lambda event: second.wait() if event.messages[0]["id"] == "u2" else event.messages)
    chat = await house.open(agent)
    await chat.inbox.send_message(user("go", "u1"))
    await gate.reached.wait()
    waiting = await chat.inbox.send_message(user("wrnog", "u2"))
    await chat.until_read(await chat.inbox.edit_pending(waiting.seq, user("right")))
    gate.opened.set()
    await second.reached.wait()
    await chat.until_read(await chat.inbox.edit_pending(waiting.seq, user("late")))

    assert await pending(chat) == [(waiting.seq, "right")]


async def test_a_turn_that_is_being_closed_shows_the_question_it_answered(house: House, gate: Gate):
    """Nobody can edit the question of a dead turn any more, and nobody sees it edited."""
    agent = saying(gate)
    inputs = await died(house, agent)
    agent.on_boot(lambda event: gate.wait())
    gate.reached.clear()
    chat = await house.open(agent)
    await gate.reached.wait()
    await chat.until_read(await chat.inbox.edit_pending(inputs[0].seq, user("bye")))

    assert await pending(chat) == []
    assert await chat.texts() == [("user", "hi")]


async def test_what_was_injected_waits_no_more_while_its_turn_is_stored(house: House, gate: Gate):
    """From its injection on a message is never among those that wait, also not while the store takes its time."""
    house.store = store = TroubledStore()
    chat = await house.open(stepping(gate, two_steps(), when_busy="steer"))
    storing = store.hold("commit")
    inputs = await sent_while_busy(chat, gate, "hurry")
    await storing.reached.wait()
    shown = await pending(chat)
    storing.opened.set()

    assert shown == []
    assert await statuses(chat, inputs) == ["completed", "injected"]


# --- what a stop means while a dead turn is being closed


@pytest.fixture(params=["before it is taken up", "while it is being closed"])
def stopped(request: pytest.FixtureRequest, house: House) -> Any:
    """Open a chat whose worker died, and stop something, before or after a run has read what waits."""
    house.store = store = TroubledStore()

    async def stop(agent: ChatAgent, in_seq: int | None) -> Chat:
        boot = Gate()
        agent.on_boot(lambda event: boot.wait())
        taking_up = store.hold("load_snapshot")
        if request.param != "before it is taken up":
            taking_up.opened.set()
        chat = await house.open(agent)
        await (taking_up if request.param == "before it is taken up" else boot).reached.wait()
        said = await chat.inbox.stop(in_seq=in_seq)
        taking_up.opened.set()
        await boot.reached.wait()
        await chat.until_read(said)
        boot.opened.set()
        return chat

    return stop


async def test_a_stop_of_another_input_is_not_lost_on_a_dead_turn(house: House, gate: Gate, stopped: Any):
    """A stop that names what waits behind a dead turn stops that."""
    agent = saying(gate)
    inputs = await died(house, agent, "two", "three")
    gate.opened.set()

    chat = await stopped(agent, inputs[1].seq)

    assert await statuses(chat, inputs) == ["interrupted", "stopped", "completed"]


@pytest.mark.parametrize("named", [True, False])
async def test_a_stop_that_means_a_dead_turn_hits_no_other(house: House, gate: Gate, stopped: Any, *, named: bool):
    """Until a dead turn is closed it is the one that people mean by a stop; what waits behind it is answered."""
    agent = saying(gate)
    inputs = await died(house, agent, "two")
    gate.opened.set()

    chat = await stopped(agent, inputs[0].seq if named else None)

    assert await statuses(chat, inputs) == ["interrupted", "completed"]


async def test_a_stop_that_means_a_dead_turn_ends_its_retry(house: House, gate: Gate, stopped: Any):
    """When the application has the question of a dead turn answered again, a stop that came before is not forgotten."""
    agent = saying(gate)
    agent.on_recovery_boot(lambda event: RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users))
    inputs = await died(house, agent, "two")
    gate.opened.set()

    chat = await stopped(agent, inputs[0].seq)

    assert await statuses(chat, inputs) == ["stopped", "completed"]
