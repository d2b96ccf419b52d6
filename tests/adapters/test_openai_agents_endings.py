"""An agent of the OpenAI Agents SDK in a session: how its turns end, and what is left then."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    function_tool,
)

from chatrt.adapters import stream_openai_agents
from tests.adapters.chats import last_parts, open_with
from tests.adapters.sdk_model import agent_of, call, message, reasoning
from tests.runtime.driver import Chat, Gate, House, user


async def open_chat(house: House, agent: Agent[Any], **options: Any) -> Chat:
    return await open_with(house, stream_openai_agents, agent, **options)


@function_tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_a_stop_ends_the_model_call(house: House, gate: Gate):
    """A stop in mid-answer closes the model's stream and keeps what was said."""
    agent = agent_of([message("half"), gate.wait, message("whole")])
    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()

    turn = await chat.settled(sent)

    assert (turn.text, turn.status, agent.model.closed) == ("half", "stopped", 1)
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_a_stop_ends_a_running_tool(house: House, gate: Gate):
    """A stop while a tool runs cancels it; no further model call is made; the call is told as interrupted."""
    ended = []

    @function_tool
    async def slow() -> str:
        """Take long."""
        try:
            await gate.wait()
        except asyncio.CancelledError:
            ended.append(1)
            raise
        return "done"

    agent = agent_of([call("slow")], [message("never")], tools=[slow])
    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()

    await chat.settled(sent)

    assert (ended, len(agent.model.prompts)) == ([1], 1)
    assert (await last_parts(chat))[0]["errorText"] == "interrupted"


async def test_closing_ends_a_running_tool(gate: Gate):
    """When `aclose` returns, the run and its tool are over, whatever the reader did last."""
    ended = []

    @function_tool
    async def slow() -> str:
        """Take long."""
        try:
            await gate.wait()
        finally:
            ended.append(1)
        return "done"

    stream = stream_openai_agents(agent_of([call("slow")], tools=[slow]), [{"role": "user", "content": "hi"}])
    reader = asyncio.create_task(_read(stream))
    await gate.reached.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await stream.aclose()

    assert ended == [1]


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_closing_between_chunks_ends_the_run(gate: Gate):
    """A reader that leaves while the SDK runs ahead of it ends the run too."""
    agent = agent_of([message("half"), gate.wait])
    stream = stream_openai_agents(agent, [{"role": "user", "content": "hi"}])
    async for chunk in stream:
        if chunk["type"] == "text-delta":
            break
    await gate.reached.wait()
    await stream.aclose()

    assert agent.model.closed == 1


async def test_the_chat_goes_on_after_a_stop(house: House, gate: Gate):
    """The next turn's prompt has the partial answer and no open ends."""

    @function_tool
    async def slow() -> str:
        """Take long."""
        await gate.wait()
        return "done"

    agent = agent_of([message("half"), call("slow")], [message("ok")], tools=[slow])
    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await gate.reached.wait()
    await chat.inbox.stop()
    await chat.settled(sent)

    turn = await chat.send("again")

    shown = agent.model.prompts[1]
    assert (turn.text, shown[1]["content"], shown[3]["output"]) == ("ok", "half", "interrupted")


async def test_a_model_error_fails_the_turn(house: House):
    """An error of the provider in mid-answer is a failed turn with a stable code, its partial answer kept (D17)."""
    response = httpx.Response(429, request=httpx.Request("POST", "https://api.openai.com"))
    error = openai.RateLimitError("slow down", response=response, body=None)

    async def shown() -> None:
        await chat.until(lambda chunk: chunk["type"] == "text-delta")

    chat = await open_chat(house, agent_of([message("half"), shown, error]))

    turn = await chat.send("hi")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "model-rate-limit")
    assert await chat.texts() == [("user", "hi"), ("assistant", "half")]


async def test_an_unusable_answer_is_a_model_error(house: House):
    """A call of a tool that does not exist is the model's fault: a failed turn, as with any unusable answer."""
    chat = await open_chat(house, agent_of([call("nothing")]))

    turn = await chat.send("hi")

    assert (turn.status, turn.complete["error"]["code"]) == ("failed", "model-response")


async def test_too_many_model_calls(house: House):
    """The SDK's own errors reach the application as they are."""
    completed: asyncio.Queue[Any] = asyncio.Queue()
    agent = agent_of([call("add", "c1", a=1, b=1)], [call("add", "c2", a=1, b=1)], tools=[add])
    chat = await open_chat(house, agent, run_options={"max_turns": 1}, on_turn_complete=completed.put_nowait)

    turn = await chat.send("hi")

    assert (turn.status, type((await completed.get()).error)) == ("failed", MaxTurnsExceeded)


async def test_a_guardrail_that_trips_fails_the_turn(house: House):
    """An input guardrail ends the turn, and the application sees which."""
    completed: asyncio.Queue[Any] = asyncio.Queue()

    async def refuse(context, agent, given):
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    guardrail = InputGuardrail(guardrail_function=refuse, run_in_parallel=False)
    chat = await open_chat(
        house, agent_of([message("never")], input_guardrails=[guardrail]), on_turn_complete=completed.put_nowait
    )

    turn = await chat.send("hi")

    assert (turn.status, type((await completed.get()).error)) == ("failed", InputGuardrailTripwireTriggered)


async def test_a_crash_in_mid_answer_is_recovered(house: House, gate: Gate):
    """After a crash the next run closes the turn with what was said, and the chat goes on."""
    agent = agent_of([message("half"), gate.wait, message("whole")], [message("ok")])
    chat = await open_chat(house, agent)
    sent = await chat.inbox.send_message(user("hi"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await gate.reached.wait()
    await house.crash()
    chat = await open_chat(house, agent)

    interrupted = await chat.settled(sent)
    turn = await chat.send("again")

    assert (interrupted.status, interrupted.text, turn.text) == ("interrupted", "half", "ok")
    assert agent.model.prompts[1][1] == {"role": "assistant", "content": "half"}


async def test_reasoning_goes_back_encrypted(house: House):
    """Reasoning that came with its encrypted content is replayed with the ids of its step."""
    agent = agent_of([reasoning("hm", encrypted="enc"), message("one", item_id="msg_9")], [message("two")])
    chat = await open_chat(house, agent)
    await chat.send("first")

    await chat.send("second")

    thought, said = agent.model.prompts[1][1:3]
    summary = [{"type": "summary_text", "text": "hm"}]
    assert thought == {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "enc"}
    assert (said["id"], said["content"][0]["text"]) == ("msg_9", "one")


async def test_nothing_runs_before_it_is_read():
    """Making the stream asks no model."""
    agent = agent_of([message("never")])

    stream = stream_openai_agents(agent, [{"role": "user", "content": "hi"}])
    await stream.aclose()

    assert (agent.model.prompts, stream.usage) == ([], None)
