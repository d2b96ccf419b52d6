"""A pydantic-ai agent in a session: how its turns end, and what is left then."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic_ai import Agent, ModelRetry, UsageLimits
from pydantic_ai.exceptions import ModelHTTPError, UsageLimitExceeded
from pydantic_ai.messages import ModelResponse

from chatrt.adapters import stream_pydantic_ai
from tests.adapters.chats import last_parts, open_with
from tests.adapters.pydantic_ai_script import calls, scripted
from tests.runtime.driver import Chat, Gate, House, user


async def open_chat(house: House, agent: Agent[Any, Any], **options: Any) -> Chat:
    return await open_with(house, stream_pydantic_ai, agent, **options)


async def test_a_stop_ends_the_model_call(house: House, gate: Gate):
    """A stop in mid-answer closes the model's stream and keeps what was said."""
    agent = scripted(["half", gate.wait, "whole"])
    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()

    turn = await chat.settled(sent)

    assert (turn.text, turn.status, agent.script.closed) == ("half", "stopped", 1)
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_a_stop_ends_a_running_tool(house: House, gate: Gate):
    """A stop while a tool runs cancels it; no further model call is made; the call is told as interrupted."""
    agent = scripted([calls("slow")], ["never"])
    ended = []

    @agent.tool_plain
    async def slow() -> str:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            ended.append(1)
            raise
        return "done"

    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()

    await chat.settled(sent)

    assert (ended, len(agent.script.prompts)) == ([1], 1)
    assert (await last_parts(chat))[0]["errorText"] == "interrupted"


async def test_the_chat_goes_on_after_a_stop(house: House, gate: Gate):
    """The next turn's prompt has the partial answer and no open ends."""
    agent = scripted(["half", calls("slow")], ["ok"])

    @agent.tool_plain
    async def slow() -> str:
        await gate.wait()
        return "done"

    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    turn = await chat.send("again")

    shown = agent.script.prompts[1]
    assert (turn.text, shown[1].text, shown[2].parts[0].content) == ("ok", "half", "interrupted")


async def test_a_stopped_turn_counts_its_usage(house: House, gate: Gate):
    """What was used before a stop is counted."""
    agent = scripted([calls("slow")])
    completed: asyncio.Queue[Any] = asyncio.Queue()

    @agent.tool_plain
    async def slow() -> str:
        await gate.wait()
        return "done"

    chat = await open_chat(house, agent, on_turn_complete=completed.put_nowait)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    assert (await completed.get()).usage.input_tokens > 0


async def test_a_model_error_fails_the_turn(house: House):
    """An error of the provider in mid-answer is a failed turn with a stable code, its partial answer kept (D17)."""
    agent = scripted(["half", ModelHTTPError(429, "scripted", {"error": "slow down"})])
    chat = await open_chat(house, agent)

    turn = await chat.send("hi")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "model-rate-limit")
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_an_unusable_answer_is_a_model_error(house: House):
    """When the library gives up on what the model says, the turn fails as with any unusable answer."""
    agent = scripted([calls("pick", "{}", "c1")], [calls("pick", "{}", "c2")])

    @agent.tool_plain
    async def pick() -> str:
        raise ModelRetry("no")

    chat = await open_chat(house, agent)

    turn = await chat.send("hi")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "model-response")


async def test_the_librarys_own_errors_pass(house: House):
    """An error that is no model's reaches the application as pydantic-ai raised it."""
    completed: asyncio.Queue[Any] = asyncio.Queue()
    limits = {"usage_limits": UsageLimits(request_limit=0)}
    chat = await open_chat(house, scripted(["never"]), run_options=limits, on_turn_complete=completed.put_nowait)

    await chat.send("hi")

    assert isinstance((await completed.get()).error, UsageLimitExceeded)


async def test_a_crash_in_mid_answer_is_recovered(house: House, gate: Gate):
    """After a crash the next run closes the turn with what was said, and the chat goes on."""
    agent = scripted(["half", gate.wait, "whole"], ["ok"])
    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await gate.reached.wait()
    await house.crash()
    chat = await open_chat(house, agent)

    interrupted = await chat.settled(sent)
    turn = await chat.send("again")

    assert (interrupted.status, interrupted.text, turn.text) == ("interrupted", "half", "ok")
    assert [message.text for message in agent.script.prompts[1] if isinstance(message, ModelResponse)] == ["half"]


async def test_nothing_runs_before_it_is_read():
    """Making the stream asks no model."""
    agent = scripted(["never"])

    stream = stream_pydantic_ai(agent, [{"role": "user", "content": "hi"}])
    await stream.aclose()

    assert (agent.script.prompts, stream.usage) == ([], None)


@dataclass
class Deps:
    name: str


@pytest.mark.parametrize("closed", [False, True])
async def test_the_result_is_the_librarys(closed: bool):
    """Read to its end, the stream has the library's own result; one that was closed has none."""
    stream = stream_pydantic_ai(scripted(["a", "b"]), [{"role": "user", "content": "hi"}], deps=Deps("x"))

    async for chunk in stream:
        if closed and chunk["type"] == "text-delta":
            await stream.aclose()

    assert (stream.result.output if stream.result else None) == (None if closed else "ab")
