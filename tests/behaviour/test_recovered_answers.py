"""What a new run makes of an answer that it finds on the outbox without its end."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.codec import dumps
from chatrt.stores import Appended, NewRecord
from tests.behaviour.crashes import KEY, crashed, message, saying, text
from tests.runtime.driver import Gate, House, user


@pytest.mark.behaviour(70)
async def test_the_outbox_has_no_words_of_the_user(house: House):
    """Questions are kept in the inbox and in the messages; the outbox has answers only."""
    agent = ChatAgent("a", run=lambda turn: "x", on_action=lambda event: event.history.slice(0, -2))
    chat = await house.open(agent)
    await chat.send("my-secret-words", "u1")
    await chat.regenerate()
    await chat.send("my-secret-words again", "u1")
    await chat.act({})

    bodies = [record.body async for batch in chat.session.outbox.read(live=False) for record in batch]

    assert bodies
    assert not any(b"my-secret-words" in body for body in bodies)


@pytest.mark.behaviour(66, 71)
async def test_only_the_unfinished_turn_is_recovered(house: House, gate: Gate):
    """What is read of the outbox begins behind the last turn-complete: earlier answers are no part of the partial."""
    agent = saying(gate, *text("half"), at=1)
    chat = await house.open(agent)
    first = await chat.send("one")
    sent = await chat.inbox.send_message(user("two"))
    await crashed(house, chat, gate, after=first.seq)
    chat = await house.open(agent)

    await chat.settled(sent)

    assert [words for _, words in await chat.texts()] == ["one", "to one", "two", "half"]


HALF_CALL = [
    {"type": "tool-input-start", "toolCallId": "c", "toolName": "ask"},
    {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"ques'},
]


@pytest.mark.behaviour(73)
async def test_half_a_tool_input_does_not_survive_a_crash(house: House, gate: Gate):
    """A call whose input was still streaming goes, the words before it stay (D8)."""
    agent = saying(gate, *text("Let me see"), *HALF_CALL)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await crashed(house, chat, gate, last="tool-input-delta")
    chat = await house.open(agent)

    await chat.settled(sent)

    assert (await chat.messages())[-1]["parts"] == [{"type": "text", "text": "Let me see", "state": "done"}]


@pytest.mark.behaviour(74)
async def test_an_answer_of_which_nothing_is_left_is_none(house: House, gate: Gate):
    """A partial answer that had nothing but half a call leaves no message."""
    agent = saying(gate, *HALF_CALL)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await crashed(house, chat, gate, last="tool-input-delta")
    chat = await house.open(agent)

    turn = await chat.settled(sent)

    assert (turn.status, await chat.texts()) == ("interrupted", [("user", "hi")])


@pytest.mark.behaviour(75)
async def test_a_whole_answer_survives_a_crash_as_it_is(house: House, gate: Gate):
    """An answer that was said whole before the worker died is in the history as it was said, once, behind its question."""

    async def before(event):
        await gate.wait()

    agent = ChatAgent("a", run=lambda turn: "all of it", on_before_turn_complete=before)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await crashed(house, chat, gate)
    chat = await house.open(agent)

    await chat.settled(sent)

    assert await chat.texts() == [("user", "hi"), ("assistant", "all of it")]
    assert (await chat.messages())[-1]["parts"] == [{"type": "text", "text": "all of it", "state": "done"}]


@pytest.mark.behaviour(79)
async def test_a_stored_chunk_that_fits_nowhere_costs_only_itself(house: House, caplog: pytest.LogCaptureFixture):
    """A chunk on the log that contradicts those before it is passed over, with a word in the log; the others count."""
    store = house.store
    await store.open()
    await store.create_session(KEY, agent="a", metadata={}, client_data=None, at=0.0)
    await store.append_in(KEY, message("hi", "u1"), part_id=None, at=0.0)
    dead = await store.acquire_lease(KEY, owner="dead", ttl=1.0, at=0.0)
    start = {"inSeq": 1, "trigger": "message", "messageId": "m1"}
    stray = {"type": "text-delta", "id": "never-begun", "delta": "stray"}
    chunks = [{"type": "start", "messageId": "m1"}, stray, *text("kept")]
    records = [NewRecord("turn-start", dumps(start)), *(NewRecord("chunk", dumps(chunk)) for chunk in chunks)]
    await store.append_out(dead, records, at=0.0)
    chat = await house.open(ChatAgent("a", run=lambda turn: "never asked"))

    turn = await chat.settled(Appended(1, repeated=False))

    assert turn.status == "interrupted"
    assert await chat.texts() == [("user", "hi"), ("assistant", "kept")]
    assert "contradicts" in caplog.text


async def test_the_partial_answer_of_a_regenerate_is_kept(house: House, gate: Gate):
    """A partial answer that was seen stays, also when no message of its own brought it about (D21)."""

    async def run(turn):
        if turn.trigger == "regenerate":
            for chunk in text("half"):
                yield chunk
            await gate.wait()
            return
        for chunk in text("first"):
            yield chunk

    agent = ChatAgent("a", run=run)
    chat = await house.open(agent)
    first = await chat.send("hi")
    asked = await chat.inbox.regenerate()
    await crashed(house, chat, gate, after=first.seq)
    chat = await house.open(agent)

    turn = await chat.settled(asked)

    assert (turn.status, await chat.texts()) == ("interrupted", [("user", "hi"), ("assistant", "half")])


async def test_a_cancelled_run_fires_no_hook(house: House, gate: Gate):
    """A turn whose run is cancelled from outside ends without a hook or a turn-complete; the next run settles it."""
    fired: list[Any] = []
    agent = saying(
        gate,
        *text("half"),
        on_before_turn_complete=lambda event: fired.append("before"),
        on_turn_complete=lambda event: fired.append(event.status),
    )
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.until(lambda chunk: chunk["type"] == "text-end")
    await house.sessions.aclose(grace=0.0)
    house.sessions = None
    await house.store.open()
    left = (await house.store.read_out(KEY, after=0)).records
    before = list(fired)
    gate.opened.set()
    chat = await house.open(agent)

    turn = await chat.settled(sent)

    assert (before, "turn-complete" in [record.kind for record in left]) == ([], False)
    assert turn.status == "interrupted"


async def test_a_partial_answer_follows_the_hydrated_history(house: House, gate: Gate):
    """With hydrate_messages, too, what was said before a crash is kept, behind what the hook returns (D21)."""
    own = {"id": "s1", "role": "user", "parts": [{"type": "text", "text": "from my database"}]}
    asked: list[Any] = []

    def hydrate(event):
        asked.append([message["id"] for message in event.incoming_messages])
        return [own, *event.incoming_messages]

    async def run(turn):
        for chunk in text("half"):
            yield chunk
        await gate.wait()

    agent = ChatAgent("a", run=run, hydrate_messages=hydrate)
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("hi", "u1"))
    await crashed(house, chat, gate)
    chat = await house.open(agent)

    turn = await chat.settled(sent)

    assert (turn.status, asked) == ("interrupted", [["u1"], ["u1"]])
    assert await chat.texts() == [("user", "from my database"), ("user", "hi"), ("assistant", "half")]
