"""Compaction between the steps of an answer: a summary takes the place of the prompt, and people go on seeing everything."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from chatrt.models.scripted import call, finish, tool_call
from chatrt.tools import ApprovalDecision, tool
from tests.runtime.compacting import BIG, brief, compacting, last_prompt, look, looks, parts, says
from tests.runtime.driver import Gate, House, user


async def test_a_step_above_the_threshold_is_followed_by_a_summary(house: House):
    """When a step took more tokens than the threshold, the next one is shown the summary alone."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert last_prompt(agent) == [["SUM summary 1"]]
    assert agent.model.requests[-1].messages[0]["role"] == "user"
    assert (turn.text, turn.status) == ("done", "completed")


async def test_a_step_at_the_threshold_is_not(house: House):
    """The threshold itself is not above it: prompt and answer count together."""
    agent = compacting(looks("box", 499), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    assert last_prompt(agent) == [["look"], ["call box"], ["seen box"]]


async def test_the_summary_is_made_of_the_prompt(house: House):
    """summarize is told everything that the prompt had, results included, and what it weighed."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)
    await chat.send("look")

    [event] = agent.summaries.events

    assert [brief(part) for row in event.messages for part in parts(row)] == ["look", "call box", "seen box"]
    assert (event.source, event.total_tokens, event.input_tokens) == ("inner", BIG + 1, BIG)
    assert (event.step_number, len(event.steps), event.chat_id, event.turn) == (1, 1, "chat", 0)


async def test_later_steps_stand_on_the_summary(house: House):
    """What comes after the summary is added to it, step by step."""
    agent = compacting(looks("box", BIG), looks("bag"), looks("bin"), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    assert last_prompt(agent) == [["SUM summary 1"], ["call bag"], ["seen bag"], ["call bin"], ["seen bin"]]


async def test_a_long_answer_is_compacted_again(house: House):
    """Each boundary is asked about anew; a later summary is made of the earlier one and what came since."""
    agent = compacting(looks("box", BIG), looks("bag"), looks("bin", BIG), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    event = agent.summaries.events[1]
    assert next(brief(part) for row in event.messages for part in parts(row)) == "SUM summary 1"
    assert last_prompt(agent) == [["SUM summary 2"]]


async def test_the_answer_shows_that_it_was_compacted(house: House):
    """A transient part tells that it begins; one that is kept, of the same id, stands in a step of its own."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)

    turn = await chat.send("look")

    at = turn.types.index("data-compaction")
    begun, *shown = turn.chunks[at : at + 4]
    assert begun == {
        "type": "data-compaction",
        "id": begun["id"],
        "data": {"status": "compacting", "totalTokens": BIG + 1},
        "transient": True,
    }
    assert shown == [
        {"type": "start-step"},
        {"type": "data-compaction", "id": begun["id"], "data": {"status": "complete", "totalTokens": BIG + 1}},
        {"type": "finish-step"},
    ]
    assert (turn.types[at - 1], turn.types[at + 4]) == ("finish-step", "start-step")


async def test_people_go_on_seeing_everything(house: House):
    """The history keeps every message and part; the compaction is one part among them (D9)."""
    agent = compacting(looks("box", BIG), says("done"))
    chat = await house.open(agent)

    await chat.send("look")

    question, answer = await chat.messages()
    assert question["parts"] == [{"type": "text", "text": "look"}]
    kinds = [part["type"] for part in answer["parts"]]
    assert kinds == ["step-start", "tool-look", "step-start", "data-compaction", "step-start", "text"]


async def test_nothing_is_asked_before_the_first_step(house: House):
    """Between the steps means between them: an answer of one step is only asked about at its end."""
    asked = []

    def should_compact(event):
        asked.append((event.source, event.step_number))
        return False

    chat = await house.open(compacting(looks("box"), says("done"), compaction={"should_compact": should_compact}))

    await chat.send("look")

    assert asked == [("inner", 1), ("outer", -1)]


async def test_without_numbers_nothing_is_compacted(house: House):
    """A threshold says nothing where the provider does not tell how many tokens a step took."""
    silent = {"type": "finish", "finishReason": {"unified": "tool-calls"}}
    agent = compacting([*tool_call("look", {"place": "box"}), silent], says("done"), compaction={"threshold": 0})
    chat = await house.open(agent)

    await chat.send("look")

    assert [event.source for event in agent.summaries.events] == ["outer"]
    assert last_prompt(agent)[0] == ["look"]


async def test_a_step_with_an_unanswered_call_is_not_summarized(house: House):
    """Where a call has no result the summary would stand between the two: the step goes on as it is (D9)."""

    @tool(needs_approval=lambda *_: ApprovalDecision.deny("policy"))
    async def rm(path: str) -> str:
        """Remove."""
        return "removed"

    both = call(
        tool_call("look", {"place": "box"}, id="c1"),
        tool_call("rm", {"path": "/"}, id="c2"),
        finish("tool-calls", input_tokens=BIG),
    )
    agent = compacting(both, says("done"), tools=[look, rm])
    chat = await house.open(agent)

    await chat.send("look")

    assert agent.summaries.events == []
    assert len(agent.model.requests) == 2
    assert last_prompt(agent)[0] == ["look"]


async def test_a_failing_summary_leaves_the_prompt(house: House, caplog):
    """What summarize raises is logged; the answer goes on uncompacted, and the reader learns that it failed."""

    def summarize(event):
        raise RuntimeError("no words")

    agent = compacting(looks("box", BIG), says("done"), compaction={"summarize": summarize})
    chat = await house.open(agent)

    with caplog.at_level(logging.ERROR):
        turn = await chat.send("look")

    parts = [chunk for chunk in turn.chunks if chunk["type"] == "data-compaction"]
    assert turn.status == "completed"
    assert last_prompt(agent) == [["look"], ["call box"], ["seen box"]]
    assert [(part["data"]["status"], part["transient"]) for part in parts] == [("compacting", True), ("failed", True)]
    assert "no words" in caplog.text


@pytest.mark.parametrize("given", ["", "  \n", None, 5])
async def test_no_summary_is_a_failing_summary(house: House, given: Any):
    """A summary is a text that says something."""
    agent = compacting(looks("box", BIG), says("done"), compaction={"summarize": lambda _: given})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert (turn.status, last_prompt(agent)[0]) == ("completed", ["look"])


async def test_a_failing_should_compact_is_a_no(house: House):
    """What should_compact raises is logged, and nothing is compacted or shown."""

    def should_compact(event):
        raise RuntimeError("undecided")

    agent = compacting(looks("box", BIG), says("done"), compaction={"should_compact": should_compact})
    chat = await house.open(agent)

    turn = await chat.send("look")

    assert turn.status == "completed"
    assert "data-compaction" not in turn.types


async def test_a_stop_ends_the_summary(house: House, gate: Gate):
    """A stop while summarize is at work ends it at once; the answer so far is kept."""
    ended = asyncio.Event()

    async def summarize(event):
        try:
            await gate.wait()
        finally:
            ended.set()
        return "never"

    agent = compacting(looks("box", BIG), compaction={"summarize": summarize})
    chat = await house.open(agent)
    sent = await chat.inbox.send_message(user("look"))
    await gate.reached.wait()

    await chat.inbox.stop()
    turn = await chat.settled(sent)

    assert (turn.status, ended.is_set()) == ("stopped", True)
    assert [part["type"] for part in (await chat.messages())[-1]["parts"]] == ["step-start", "tool-look"]
