"""What goes wrong between an answer and the end of its turn ends the turn, never the run."""

from __future__ import annotations

import asyncio
import logging

import pytest

from chatrt.turn import current_turn
from tests.runtime.background import scripted
from tests.runtime.compacting import BIG, compacting, says
from tests.runtime.driver import Gate, House, user


@pytest.mark.parametrize("trigger", ["message", "action"])
async def test_an_error_that_deferred_work_writes_fails_the_turn(house: House, gate: Gate, trigger: str):
    """An error chunk fails the turn, whoever wrote it (D17): deferred work as well; what was said is kept."""

    async def work():
        await gate.wait()
        current_turn().response.write({"type": "error", "errorText": "no index"})

    agent = scripted("fine", "well", on_action=lambda _: current_turn().defer(work) or "fine")
    if trigger == "message":
        agent.on_turn_start(lambda event: event.turn or current_turn().defer(work))
    chat = await house.open(agent)
    sent = await (chat.inbox.send_message(user("hi")) if trigger == "message" else chat.inbox.act({}))
    await chat.until(lambda chunk: chunk["type"] == "text-end")
    gate.opened.set()

    ended = await chat.settled(sent)

    assert (ended.status, ended.complete["error"]["message"]) == ("failed", "no index")
    assert (await chat.texts())[-1] == ("assistant", "fine")
    assert (await chat.send("again")).status == "completed"


async def test_a_prompt_that_cannot_be_made_is_not_compacted(house: House, caplog: pytest.LogCaptureFixture):
    """Where the answer cannot be shown to a model there is nothing to summarize: the answer stands as it is."""

    def write(event):
        event.response.write({"type": "file", "mediaType": "image/png", "url": "/relative.png"})

    agent = compacting(says("done", BIG), on_turn_start=write)
    chat = await house.open(agent)

    with caplog.at_level(logging.ERROR):
        turn = await chat.send("hi")

    assert turn.status == "completed"
    assert "no absolute URL" in caplog.text
    assert agent.summaries.events == []


async def test_a_summary_that_cancels_itself_is_a_failed_summary(house: House, caplog: pytest.LogCaptureFixture):
    """Code that lets its own cancellation out makes no summary; the turn is as it was."""

    async def summarize(event):
        raise asyncio.CancelledError

    chat = await house.open(compacting(says("done", BIG), says("two"), compaction={"summarize": summarize}))

    with caplog.at_level(logging.ERROR):
        turn = await chat.send("hi")

    assert (turn.status, turn.text) == ("completed", "done")
    assert (await chat.send("more")).status == "completed"
