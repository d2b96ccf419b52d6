"""What run puts on the stream, and what it makes of the history; handles of one session."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from tests.runtime.driver import House


@pytest.mark.behaviour(76, 77, 78)
@pytest.mark.parametrize("chunk", ["text", 3, None, ["type"], {}, {"delta": "x"}, {"type": 3}], ids=repr)
async def test_what_is_no_chunk_never_reaches_the_log(house: House, chunk: Any):
    """A text, a number or an object without a type on the stream fails the turn; what came before it stays."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "kept"}
        yield chunk

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert (turn.status, turn.types) == ("failed", ["start", "text-start", "text-delta", "text-end", "error"])
    assert await chat.texts() == [("user", "hi"), ("assistant", "kept")]


async def test_what_is_merged_and_what_is_returned_is_one_message(house: House):
    """Streams that run merges and the one it returns follow each other in one answer, with one start and one finish."""
    models = [ScriptedModel(["first "]), ScriptedModel(["second "]), ScriptedModel(["third"])]

    async def run(turn):
        for model in models[:2]:
            await turn.response.merge(stream_text(model, turn.messages))
        return stream_text(models[2], turn.messages)

    chat = await house.open(ChatAgent("a", run=run))

    turn = await chat.send("hi")

    assert await chat.texts() == [("user", "hi"), ("assistant", "first second third")]
    assert [turn.types.count(kind) for kind in ("start", "start-step", "finish")] == [1, 3, 1]


async def test_the_answer_follows_the_history_that_run_made(house: House):
    """When run changes the history, its answer stands behind what it made of it."""

    def run(turn):
        turn.history.set([{"id": "s", "role": "user", "parts": [{"type": "text", "text": "in short"}]}])
        return "answer"

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("one")

    await chat.send("two")

    assert await chat.texts() == [("user", "in short"), ("assistant", "answer")]


@pytest.mark.behaviour(213, 216)
async def test_handles_of_one_session_share_its_outbox(house: House):
    """However often a session is opened in a process, there is one outbox of it, and another one of another session."""
    agent = ChatAgent("a", run=lambda turn: "x")
    first = await house.open(agent)
    again = await house.open(agent)
    other = await house.open(agent, "other")

    assert first.session.outbox is again.session.outbox
    assert first.session.outbox is not other.session.outbox
