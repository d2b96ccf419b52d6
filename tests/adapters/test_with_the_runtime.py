"""Answers of other libraries in a session with compaction, steering and a background."""

from __future__ import annotations

from typing import Any

import pytest
from agents import function_tool

from chatrt.adapters import stream_openai_agents, stream_pydantic_ai
from chatrt.compaction import Compaction
from chatrt.turn import current_turn
from tests.adapters.chats import open_with
from tests.adapters.pydantic_ai_script import calls, scripted
from tests.adapters.sdk_model import agent_of, call, message
from tests.runtime.background import note
from tests.runtime.driver import Chat, Gate, House, user


async def look() -> str:
    """Look."""
    return "seen"


async def open_library(house: House, library: str, tool: Any = look, **options: Any) -> Chat:
    """A chat of an agent that calls the tool, says "done", and later "well" and "fine"."""
    if library == "pydantic-ai":
        agent = scripted([calls("look")], ["done"], ["well"], ["fine"], tools=[tool])
        return await open_with(house, stream_pydantic_ai, agent, **options)
    script = [call("look")], [message("done")], [message("well")], [message("fine")]
    return await open_with(house, stream_openai_agents, agent_of(*script, tools=[function_tool(tool)]), **options)


libraries = pytest.mark.parametrize("library", ["pydantic-ai", "openai-agents"])


@libraries
async def test_compaction_looks_at_the_last_step(house: House, library: str):
    """How large the prompt is, the last step says; all steps together would tell of a larger one."""
    events: list[Any] = []
    policy = Compaction(should_compact=events.append, summarize=lambda _: "summary")
    chat = await open_library(house, library, compaction=policy)

    turn = await chat.send("go")

    assert turn.status == "completed"
    (event,) = events
    state = (await house.store.load_snapshot(chat.session.key)).state
    assert 0 < event.total_tokens < state["totalUsage"]["totalTokens"]


@libraries
async def test_a_summary_stands_in_the_next_prompt(house: House, library: str):
    """A compaction behind an answer holds for other libraries, too."""
    policy = Compaction(should_compact=lambda event: event.turn == 0, summarize=lambda _: "so far so good")
    chat = await open_library(house, library, compaction=policy)
    await chat.send("go")

    turn = await chat.send("more")

    assert (turn.status, turn.text) == ("completed", "well")


@libraries
async def test_what_is_said_meanwhile_is_the_next_turn(house: House, gate: Gate, library: str):
    """A library that does not stop between its steps is not steered: what is said meanwhile gets its own turn."""

    async def look() -> str:
        """Look."""
        await gate.wait()
        return "seen"

    chat = await open_library(house, library, look, when_busy="steer")
    first = await chat.inbox.send_message(user("go"))
    await gate.reached.wait()
    second = await chat.inbox.send_message(user("hurry"))
    await chat.until_read(second)
    gate.opened.set()

    assert [(await chat.settled(sent)).status for sent in (first, second)] == ["completed", "completed"]
    assert (await chat.texts())[-2:] == [("user", "hurry"), ("assistant", "well")]


@libraries
async def test_background_messages_reach_other_libraries(house: House, library: str):
    """What is injected during an answer waits for the next prompt; a system text between messages is understood."""

    def inject(event):
        if event.turn < 2:
            current_turn().inject([note("be kind")])

    chat = await open_library(house, library, on_turn_start=inject)

    statuses = [(await chat.send(words)).status for words in ("one", "two", "three")]

    assert statuses == ["completed"] * 3
