"""Actions: typed commands that change the history; they are durable and no turns."""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from chatrt.agent import ChatAgent
from chatrt.stores.sqlite import SQLiteStore
from tests.runtime.driver import Gate, House, user


class Undo(BaseModel):
    type: Literal["undo"]


class Rollback(BaseModel):
    type: Literal["rollback"]
    target: str


def undoing(**options: Any) -> ChatAgent:
    """An agent with undo and rollback."""
    agent = ChatAgent("a", run=lambda turn: f"answer {len(turn.ui_messages)}", action=Undo | Rollback, **options)

    @agent.on_action
    def act(event):
        match event.action:
            case Undo():
                event.history.slice(0, -2)
            case Rollback(target=target):
                event.history.rollback_to(target)

    return agent


@pytest.mark.behaviour(13)
async def test_an_action_reaches_the_hook_as_its_type(house: House):
    """The payload is validated into the agent's action type."""
    seen = []
    agent = ChatAgent(
        "a", run=lambda turn: "x", action=Undo | Rollback, on_action=lambda event: seen.append(event.action)
    )
    chat = await house.open(agent)

    await chat.act({"type": "rollback", "target": "m"})

    assert seen == [Rollback(type="rollback", target="m")]


@pytest.mark.behaviour(14)
async def test_undo_takes_the_last_exchange_back(house: House):
    """A history mutation of an action is committed with its turn-complete (D2)."""
    chat = await house.open(undoing())
    await chat.send("one")
    await chat.send("two")

    turn = await chat.act({"type": "undo"})

    assert (turn.status, turn.chunks) == ("completed", [])
    assert await chat.texts() == [("user", "one"), ("assistant", "answer 1")]


async def test_an_action_is_durable(house: House):
    """What an action changed is still changed after a crash."""
    agent = undoing()
    chat = await house.open(agent)
    await chat.send("one")
    await chat.act({"type": "undo"})
    await house.crash()

    chat = await house.open(agent)

    assert await chat.texts() == []


async def test_the_next_turn_sees_the_change(house: House):
    """After an undo the model is shown the shorter history."""
    chat = await house.open(undoing())
    await chat.send("one")
    await chat.send("two")
    await chat.act({"type": "undo"})

    assert (await chat.send("three")).text == "answer 3"


async def test_an_unfit_action_fails_visibly(house: House):
    """An action that does not fit gives an error with a stable code, and changes nothing."""
    chat = await house.open(undoing())
    await chat.send("one")

    turn = await chat.act({"type": "explode"})

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "invalid-action")
    assert len(await chat.messages()) == 2


async def test_an_unknown_message_fails_visibly(house: House):
    """Rolling back to a message that is not there is an error, not a silence (D4)."""
    chat = await house.open(undoing())
    await chat.send("one")

    turn = await chat.act({"type": "rollback", "target": "nope"})

    assert turn.complete["error"]["code"] == "message-not-found"


async def test_a_failing_action_changes_nothing(house: House):
    """When the handler raises, what it had changed before is undone (D20)."""

    def act(event):
        event.history.set([])
        raise ValueError("late")

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_action=act))
    await chat.send("one")

    await chat.act({})

    assert len(await chat.messages()) == 2


async def test_a_failing_action_is_no_turn(house: House):
    """A failed action fires no on_turn_complete (D20)."""
    completed = []

    def act(event):
        raise ValueError("no")

    agent = ChatAgent("a", run=lambda turn: "x", on_action=act, on_turn_complete=lambda event: completed.append(1))
    chat = await house.open(agent)

    turn = await chat.act({})

    assert (turn.types, completed) == (["error"], [])


@pytest.mark.behaviour(16)
async def test_an_agent_without_actions_refuses_them(house: House):
    """Without on_action an action is refused with a stable code."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x"))

    assert (await chat.act({"type": "undo"})).complete["error"]["code"] == "invalid-action"


async def test_the_answer_of_an_action_is_streamed_and_kept(house: House):
    """What an action returns is shown and appended to the history (D3)."""
    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_action=lambda event: "done as asked"))
    await chat.send("one")

    turn = await chat.act({})

    assert turn.text == "done as asked"
    assert (await chat.texts())[-1] == ("assistant", "done as asked")
    assert len(await chat.messages()) == 3


@pytest.mark.behaviour(15)
async def test_an_action_may_stream(house: House):
    """An action may return a stream; run() is not called for it."""

    async def stream():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "again"}
        yield {"type": "text-end", "id": "t"}

    def act(event):
        event.history.slice(0, -1)
        return stream()

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_action=act))
    await chat.send("one")

    await chat.act({})

    assert await chat.texts() == [("user", "one"), ("assistant", "again")]


async def test_a_stream_that_fails_keeps_what_was_shown(house: House):
    """Once the handler has returned, its change stands and the partial answer stays (D21)."""

    async def stream():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        raise RuntimeError("cut")

    def act(event):
        event.history.slice(0, -1)
        return stream()

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_action=act))
    await chat.send("one")

    turn = await chat.act({})

    assert turn.status == "failed"
    assert await chat.texts() == [("user", "one"), ("assistant", "half")]


async def test_the_answer_of_an_action_can_be_stopped(house: House, gate: Gate):
    """A stop ends an action's stream too."""

    async def stream():
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()

    chat = await house.open(ChatAgent("a", run=lambda turn: "x", on_action=lambda event: stream()))
    acted = await chat.inbox.act({})
    await gate.reached.wait()
    await chat.inbox.stop()

    turn = await chat.settled(acted)

    assert turn.status == "stopped"
    assert await chat.texts() == [("assistant", "half")]


async def test_an_action_does_not_count_as_the_first_turn(house: House):
    """on_chat_start waits for the first real message."""
    started = []
    agent = ChatAgent(
        "a", run=lambda turn: "x", on_action=lambda event: None, on_chat_start=lambda event: started.append(1)
    )
    chat = await house.open(agent)
    await chat.act({})
    before = list(started)

    await chat.send("one")

    assert (before, started) == ([], [1])


async def test_undone_messages_stay_in_the_store(house: House, tmp_path):
    """Undo moves the active leaf and destroys nothing (D14)."""
    house.store = SQLiteStore(tmp_path / "chat.db")
    chat = await house.open(undoing())
    await chat.send("one")
    await chat.send("two")

    await chat.act({"type": "undo"})
    await house.sessions.aclose()
    house.sessions = None

    with sqlite3.connect(tmp_path / "chat.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM nodes").fetchone()
    connection.close()
    assert count == 4


@pytest.mark.behaviour(58)
async def test_an_interrupted_action_is_done_again(house: House, gate: Gate):
    """An acknowledged action whose worker died before the commit is served again, and its change is there once."""

    async def act(event):
        event.history.slice(0, -1)
        await gate.wait()

    agent = ChatAgent("a", run=lambda turn: "x", on_action=act)
    chat = await house.open(agent)
    await chat.send("one")
    acted = await chat.inbox.act({})
    await gate.reached.wait()
    await house.crash()
    gate.opened.set()

    chat = await house.open(agent)
    turn = await chat.settled(acted)

    assert (turn.status, await chat.texts()) == ("completed", [("user", "one")])


async def test_messages_wait_for_an_action(house: House, gate: Gate):
    """A message that arrives while an action is handled is served next."""

    async def act(event):
        await gate.wait()
        event.history.set([])

    chat = await house.open(ChatAgent("a", run=lambda turn: str(len(turn.ui_messages)), on_action=act))
    await chat.send("one")
    await chat.inbox.act({})
    await gate.reached.wait()
    sent = await chat.inbox.send_message(user("two"))
    gate.opened.set()

    assert (await chat.settled(sent)).text == "1"
