"""What a session says of itself to those who look from outside."""

from __future__ import annotations

import pytest

from chatrt.agent import ChatAgent
from tests.runtime.driver import Gate, House, texts, user


def holding(gate: Gate) -> ChatAgent:
    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("a", run=run)


async def test_the_question_of_the_running_turn_is_there(house: House, gate: Gate):
    """Whoever loads a chat in mid-answer sees the question; the answer is on `.out`, behind the cursor."""
    chat = await house.open(holding(gate))
    await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()

    state = await chat.session.load()

    assert (texts(state.messages), state.status) == ([("user", "hi")], "running")
    records = [record.kind async for batch in chat.session.outbox.read(state.cursor, live=False) for record in batch]
    assert records[0] == "turn-start"


async def test_waiting_messages_are_pending(house: House, gate: Gate):
    """Messages that wait for their turn are told apart from those that are being answered."""
    chat = await house.open(holding(gate))
    await chat.inbox.send_message(user("one"))
    await gate.reached.wait()
    await chat.inbox.send_message(user("two"))

    state = await chat.session.load()

    assert (texts(state.messages), texts([waiting.message for waiting in state.pending])) == (
        [("user", "one")],
        [("user", "two")],
    )


async def test_a_settled_chat_has_all_and_nothing_pending(house: House):
    """When nothing runs, the messages are all that was committed."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    turn = await chat.send("hi")

    state = await chat.session.load()

    assert (texts(state.messages), state.pending) == ([("user", "hi"), ("assistant", "x")], [])
    assert (state.cursor, state.status) == (turn.seq, "idle")


async def test_while_an_answer_is_given_again_the_old_one_is_gone(house: House):
    """During a regenerate the messages end with the question."""
    gate, answers = Gate(), iter(["old", None])

    async def run(turn):
        answer = next(answers)
        if answer is None:
            await gate.wait()
        return answer or "new"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("hi")
    again = await chat.inbox.regenerate()
    await gate.reached.wait()

    during = texts((await chat.session.load()).messages)
    gate.opened.set()
    await chat.settled(again)

    assert (during, await chat.texts()) == ([("user", "hi")], [("user", "hi"), ("assistant", "new")])


async def test_a_lone_stop_leaves_the_chat_idle(house: House):
    """A stop that had nothing to end does not make the chat look busy."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))
    await chat.send("hi")
    appended = await chat.inbox.stop()
    sent = await chat.send("again")

    position = await chat.session.position()

    assert (appended.seq, sent.complete["inSeq"], position.in_cursor, position.status) == (2, 3, 3, "idle")


@pytest.mark.parametrize("said", ["stop", "withdraw", "preload"])
async def test_what_is_never_answered_keeps_nobody_waiting(house: House, said: str):
    """A session where only such inputs wait is idle: nothing of them is to come on `.out`."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "ok"))
    await house.store.acquire_lease(chat.session.key, owner="another", ttl=1e12, at=0.0)
    await (chat.inbox.withdraw(1) if said == "withdraw" else getattr(chat.inbox, said)())

    before = (await chat.session.position()).status
    await chat.inbox.send_message(user("hi"))

    assert (before, (await chat.session.load()).status) == ("idle", "running")


async def test_all_that_waits_is_listed(house: House):
    """`pending` is whole, however much waits."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "ok"))
    await house.store.acquire_lease(chat.session.key, owner="another", ttl=1e12, at=0.0)
    for number in range(250):
        await chat.inbox.send_message(user(str(number)))

    assert [p.in_seq for p in (await chat.session.load()).pending] == list(range(1, 251))
