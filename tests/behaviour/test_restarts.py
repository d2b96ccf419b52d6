"""What a new run finds in the store: the history, and inputs that nobody has served."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.stores import Appended, NewRecord
from tests.behaviour.crashes import crashed, left_behind, message, saying, text
from tests.runtime.driver import Gate, House, texts, user

# --- the history


@pytest.mark.behaviour(35)
async def test_hooks_of_a_new_run_see_the_history(house: House):
    """A new run begins with the stored messages: on_boot sees them already."""
    seen: list[Any] = []
    agent = ChatAgent("a", run=lambda turn: "x", on_boot=lambda event: seen.append(texts(event.history.all())))
    await (await house.open(agent)).send("one")
    await house.crash()

    await (await house.open(agent)).send("two")

    assert seen == [[], [("user", "one"), ("assistant", "x")]]


@pytest.mark.behaviour(67, 68)
async def test_turns_come_back_in_order(house: House):
    """Several turns are as many questions and answers in the first prompt after a restart."""
    model = ScriptedModel(["a", "b", "c"])
    agent = ChatAgent("a", run=lambda turn: stream_text(model, turn.messages))
    chat = await house.open(agent)
    await chat.send("1")
    await chat.send("2")
    await house.crash()

    await (await house.open(agent)).send("3")

    assert [(row["role"], row["content"][0]["text"]) for row in model.requests[-1].messages] == [
        ("user", "1"),
        ("assistant", "a"),
        ("user", "2"),
        ("assistant", "b"),
        ("user", "3"),
    ]


@pytest.mark.behaviour(39, 40, 41)
async def test_a_chat_starts_once_over_a_crash(house: House, gate: Gate):
    """on_chat_start of a turn that was interrupted is not fired again by the next one."""
    started: list[Any] = []
    chat = await house.open(saying(gate, *text("half"), on_chat_start=lambda event: started.append(event.run_id)))
    await chat.inbox.send_message(user("hi"))
    await crashed(house, chat, gate)

    await (await house.open(saying(gate, on_chat_start=lambda event: started.append(event.run_id)))).send("next")

    assert len(started) == 1


@pytest.mark.behaviour(41)
async def test_a_first_turn_that_begins_again_starts_the_chat_again(house: House, gate: Gate):
    """When nothing was seen of the first turn it is served from its start, on_chat_start included (D19)."""
    started: list[Any] = []

    async def start(event):
        started.append(event.run_id)
        await gate.wait()

    agent = ChatAgent("a", run=lambda turn: "x", on_chat_start=start)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await house.crash()
    gate.opened.set()
    chat = await house.open(agent)

    turn = await chat.settled(sent)
    await chat.send("next")

    assert (turn.status, len(started), len(set(started))) == ("completed", 2, 2)


# --- the inbox


@pytest.mark.behaviour(50)
async def test_the_waiting_message_follows_the_partial_answer(house: House, gate: Gate):
    """The interrupted question counts as answered by what was said; the turn of the next one sees both before it."""
    seen: list[Any] = []
    agent = saying(gate, *text("half"), on_turn_start=lambda event: seen.append(texts(event.ui_messages)))
    chat = await house.open(agent)
    await chat.inbox.send_message(user("one"))
    waiting = await chat.inbox.send_message(user("two"))
    await crashed(house, chat, gate)
    chat = await house.open(agent)

    turn = await chat.settled(waiting)

    assert (turn.status, turn.text) == ("completed", "to two")
    assert seen[1:] == [[("user", "one"), ("assistant", "half"), ("user", "two")]]


@pytest.mark.behaviour(49, 56)
async def test_waiting_messages_keep_order_and_client_data(house: House):
    """Messages that nobody had read are served in order, each with the client data it came with."""
    seen: list[Any] = []
    agent = ChatAgent("a", run=lambda turn: seen.append((turn.client_data, texts(turn.ui_messages)[-1][1])))
    await house.open(agent)
    await house.crash()
    await left_behind(house, message("one", "u1", clientData="A"), message("two", "u2", clientData="B"))
    chat = await house.open(agent)

    await chat.settled(Appended(2, repeated=False))

    assert seen == [("A", "one"), ("B", "two")]


@pytest.mark.behaviour(57, 59)
async def test_stops_and_unknown_records_are_no_messages(house: House):
    """Of what was left in the inbox only messages make turns."""
    seen: list[Any] = []
    agent = ChatAgent("a", run=lambda turn: seen.append(texts(turn.ui_messages)[-1][1]))
    await house.open(agent)
    await house.crash()
    await left_behind(
        house,
        NewRecord("stop", b"{}"),
        NewRecord("unheard-of", b"null"),
        message("one", "u1"),
        NewRecord("stop", b"{}"),
    )
    chat = await house.open(agent)
    turn = await chat.settled(Appended(3, repeated=False))
    last = await chat.send("two")

    assert (turn.status, seen[-1], last.status) == ("stopped", "two", "completed")
    assert await chat.texts() == [("user", "one"), ("user", "two")]


@pytest.mark.behaviour(58)
async def test_waiting_regenerates_and_actions_are_served(house: House):
    """What was acknowledged is served after a restart, whatever it is, in its order (D7)."""
    agent = ChatAgent(
        "a",
        run=lambda turn: f"{turn.trigger} {len(turn.ui_messages)}",
        on_action=lambda event: f"did {event.action}",
    )
    await (await house.open(agent)).send("one")
    await house.crash()
    await left_behind(
        house, NewRecord("regenerate", b"{}"), NewRecord("action", b'{"action":"it"}'), message("two", "u2")
    )
    chat = await house.open(agent)

    await chat.settled(Appended(4, repeated=False))

    assert [words for _, words in await chat.texts()] == ["one", "regenerate 1", "did it", "two", "message 4"]


@pytest.mark.behaviour(61, 62)
async def test_what_is_settled_is_not_served_again(house: House):
    """A new run reads the inbox from behind what was settled."""
    served: list[Any] = []
    agent = ChatAgent("a", run=lambda turn: served.append(texts(turn.ui_messages)[-1][1]))
    chat = await house.open(agent)
    await chat.send("one")
    await chat.send("two")
    await house.crash()

    await (await house.open(agent)).send("three")

    assert served == ["one", "two", "three"]
