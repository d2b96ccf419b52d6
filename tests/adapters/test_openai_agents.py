"""An agent of the OpenAI Agents SDK in a session: what it streams, what it is shown, its tools and handoffs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import (
    Agent,
    RunHooks,
    function_tool,
    handoff,
)
from pydantic import BaseModel

from chatrt.adapters import stream_openai_agents
from tests.adapters.chats import last_parts, open_with
from tests.adapters.sdk_model import ScriptedSdkModel, agent_of, call, message
from tests.runtime.driver import Chat, House


async def open_chat(house: House, agent: Agent[Any], **options: Any) -> Chat:
    return await open_with(house, stream_openai_agents, agent, **options)


@function_tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


# --- answers --------------------------------------------------------------------------------------------------------


async def test_an_answer_streams(house: House):
    """Text comes delta by delta, in a step, and the turn completes."""
    chat = await open_chat(house, agent_of([message("Hel", "lo")]))

    turn = await chat.send("hi")

    assert turn.types == ["start", "start-step", "text-start", *["text-delta"] * 2, "text-end", "finish-step", "finish"]
    assert (turn.text, turn.status, turn.complete["finishReason"]) == ("Hello", "completed", "stop")
    assert await chat.texts() == [("user", "hi"), ("assistant", "Hello")]


async def test_the_second_turn_sees_the_first(house: House):
    """The agent is shown what was said before, as input items."""
    agent = agent_of([message("one")], [message("two")])
    chat = await open_chat(house, agent)
    await chat.send("first")

    await chat.send("second")

    assert agent.model.prompts[1] == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "second"},
    ]


async def test_the_usage_is_the_turns(house: House):
    """What the models used counts for the turn and the session (D10)."""
    completed: asyncio.Queue[Any] = asyncio.Queue()
    agent = agent_of([call("add", a=1, b=2)], [message("3")], tools=[add])
    chat = await open_chat(house, agent, on_turn_complete=completed.put_nowait)

    await chat.send("hi")

    usage = (await completed.get()).usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (20, 10, 30)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (8, 4)


async def test_structured_output_is_a_data_part(house: House):
    """A final output that is no text is a `data-output` part behind the text it was read from."""

    class City(BaseModel):
        name: str

    chat = await open_chat(house, agent_of([message('{"name": "Ulm"}')], output_type=City))

    await chat.send("hi")

    assert (await last_parts(chat))[-1] == {"type": "data-output", "data": {"name": "Ulm"}}


# --- tools ----------------------------------------------------------------------------------------------------------


async def test_a_tool_round(house: House):
    """Input streams, the tool runs, its output and the next step follow in the same message."""
    chat = await open_chat(house, agent_of([message("let me"), call("add", a=1, b=2)], [message("3")], tools=[add]))

    turn = await chat.send("1+2?")

    assert turn.types == [
        "start",
        *["start-step", "text-start", "text-delta", "text-end"],
        *["tool-input-start", "tool-input-delta", "tool-input-available", "tool-output-available"],
        *["finish-step", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"],
    ]
    part = (await last_parts(chat))[1]
    assert (part["state"], part["input"], part["output"]) == ("output-available", {"a": 1, "b": 2}, 3)


async def test_the_next_turn_sees_the_tool_round(house: House):
    """Call and result of an earlier turn are in the later prompt, paired."""
    agent = agent_of([call("add", a=1, b=2)], [message("3")], [message("ok")], tools=[add])
    chat = await open_chat(house, agent)
    await chat.send("1+2?")

    await chat.send("thanks")

    assert agent.model.prompts[2][1:4] == [
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 1, "b": 2}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
        {"role": "assistant", "content": "3"},
    ]


async def test_a_call_is_on_record_before_its_tool_starts(house: House):
    """When the tool's body runs, everybody can read that it was called, although the SDK runs ahead of its reader."""
    seen: list[str] = []

    @function_tool
    async def look() -> str:
        """Look."""
        stored = (await house.store.read_out(chat.session.key, after=0)).records
        seen.extend(record.body.decode() for record in stored if record.kind == "chunk")
        return "looked"

    chat = await open_chat(house, agent_of([call("look")], [message("done")], tools=[look]))

    await chat.send("hi")

    assert "tool-input-available" in seen[-1]


async def test_a_tool_waits_for_its_reader():
    """A tool does not start before its reader came back for what follows the call."""
    started: list[int] = []

    @function_tool
    async def look() -> str:
        """Look."""
        started.append(1)
        return "looked"

    agent = agent_of([call("look")], [message("done")], tools=[look])
    stream = stream_openai_agents(agent, [{"role": "user", "content": "hi"}])
    async for chunk in stream:
        if chunk["type"] == "tool-input-available":
            for _ in range(50):
                await asyncio.sleep(0)
            assert started == []

    assert started == [1]


async def test_calls_of_one_step_run_together(house: House):
    """Waiting for the record does not make parallel calls wait for each other."""
    both = asyncio.Barrier(2)

    @function_tool
    async def meet() -> str:
        """Meet the other."""
        await both.wait()
        return "met"

    agent = agent_of([call("meet", "c1"), call("meet", "c2")], [message("done")], tools=[meet])
    chat = await open_chat(house, agent)

    turn = await chat.send("hi")

    assert (turn.text, [part["output"] for part in (await last_parts(chat))[:2]]) == ("done", ["met", "met"])


async def test_a_call_id_that_comes_again(house: House):
    """Some providers count their calls from one in each answer: such a call is a call of its own."""
    agent = agent_of([call("add", a=1, b=2)], [message("3")], [call("add", a=2, b=2)], [message("4")], tools=[add])
    chat = await open_chat(house, agent)
    await chat.send("1+2?")

    turn = await chat.send("2+2?")

    assert (turn.text, (await last_parts(chat))[0]["output"]) == ("4", 4)


async def test_a_tools_exception_is_what_the_sdk_makes_of_it(house: House):
    """The SDK gives the model a text for an exception; it is the output of the call, and the answer goes on."""

    @function_tool(failure_error_function=lambda context, error: f"failed: {error}")
    async def boom() -> str:
        """Fail."""
        raise ValueError("no")

    chat = await open_chat(house, agent_of([call("boom")], [message("sorry")], tools=[boom]))

    turn = await chat.send("hi")

    assert (turn.text, (await last_parts(chat))[0]["output"]) == ("sorry", "failed: no")


async def test_an_exception_that_the_sdk_lets_pass_fails_the_turn(house: House):
    """Without a failure function the exception ends the run: a failed turn, the call told as interrupted."""

    @function_tool(failure_error_function=None)
    async def boom() -> str:
        """Fail."""
        raise ValueError("secret")

    chat = await open_chat(house, agent_of([message("let me"), call("boom")], tools=[boom]))

    turn = await chat.send("hi")

    assert (turn.status, "secret" in str(turn.chunks)) == ("failed", False)
    assert [part["state"] for part in await last_parts(chat)] == ["done", "output-error"]


async def test_an_output_that_ends_the_run(house: House):
    """When a tool's output is the final one, it is shown as data in a step of its own: the message is finished."""
    agent = agent_of([call("add", a=1, b=2)], tools=[add], tool_use_behavior="stop_on_first_tool")
    chat = await open_chat(house, agent)

    await chat.send("hi")

    parts = (await chat.messages())[-1]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "tool-add", "step-start", "data-output"]
    assert parts[-1]["data"] == "3"


async def test_the_applications_hooks_are_called(house: House):
    """Hooks given to the adapter see the run, and the context that was given with them."""
    seen: list[Any] = []

    class Hooks(RunHooks[Any]):
        async def on_agent_start(self, context, agent):
            seen.append(("agent", context.context))

        async def on_llm_start(self, context, agent, system_prompt, input_items):
            seen.append("llm start")

        async def on_llm_end(self, context, agent, response):
            seen.append("llm end")

        async def on_tool_start(self, context, agent, tool):
            seen.append(("start", tool.name))

        async def on_tool_end(self, context, agent, tool, result):
            seen.append(("end", result))

        async def on_agent_end(self, context, agent, output):
            seen.append(("done", output))

    agent = agent_of([call("add", a=1, b=2)], [message("3")], tools=[add])
    chat = await open_chat(house, agent, run_options={"hooks": Hooks(), "context": "mine"})

    await chat.send("hi")

    llm = ["llm start", "llm end"]
    assert seen == [("agent", "mine"), *llm, ("start", "add"), ("end", 3), *llm, ("done", "3")]


# --- handoffs -------------------------------------------------------------------------------------------------------


async def test_a_handoff_is_a_call_and_a_data_part(house: House):
    """Who was handed the conversation is told, and the other agent answers in the next step."""
    billing = Agent(name="Billing", model=ScriptedSdkModel([message("billing here")]))
    chat = await open_chat(house, agent_of([call("transfer_to_billing")], handoffs=[billing]))

    turn = await chat.send("my bill")

    parts = await last_parts(chat)
    assert (turn.text, parts[0]["state"]) == ("billing here", "output-available")
    assert parts[1] == {"type": "data-handoff", "data": {"from": "Desk", "to": "Billing"}}


@pytest.mark.parametrize("named", [False, True])
async def test_the_agent_that_was_handed_the_chat_goes_on(house: House, named: bool):
    """The next turn begins with the agent the conversation was handed to, found by its name."""
    billing = Agent(name="Billing", model=ScriptedSdkModel([message("billing here")], [message("still here")]))
    desk = agent_of([call("transfer_to_billing")], handoffs=[handoff(billing) if named else billing])
    chat = await open_chat(house, desk, run_options={"agents": [billing]} if named else {})
    await chat.send("my bill")

    turn = await chat.send("and?")

    assert (turn.text, len(desk.model.prompts), len(billing.model.prompts)) == ("still here", 1, 2)
