"""A pydantic-ai agent as the run function, in a session: what it streams, what it is shown, its tools."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext, UsageLimits
from pydantic_ai.messages import ModelRequest, ModelResponse
from pydantic_ai.models.function import DeltaToolCall
from pydantic_ai.models.test import TestModel

from chatrt.adapters import stream_pydantic_ai
from tests.adapters.chats import last_parts, open_with
from tests.adapters.pydantic_ai_script import calls, scripted
from tests.runtime.driver import Chat, Gate, House, user


async def open_chat(house: House, agent: Agent[Any, Any], **options: Any) -> Chat:
    return await open_with(house, stream_pydantic_ai, agent, **options)


# --- answers --------------------------------------------------------------------------------------------------------


async def test_an_answer_streams(house: House):
    """Text comes delta by delta, in a step, and the turn completes."""
    chat = await open_chat(house, scripted(["Hel", "lo"]))

    turn = await chat.send("hi")

    assert turn.types == ["start", "start-step", "text-start", *["text-delta"] * 2, "text-end", "finish-step", "finish"]
    assert (turn.text, turn.status, turn.complete["finishReason"]) == ("Hello", "completed", "stop")


async def test_the_answer_is_in_the_history(house: House):
    """What was streamed is the assistant message of the chat."""
    chat = await open_chat(house, scripted(["Hel", "lo"]))

    await chat.send("hi")

    assert await chat.texts() == [("user", "hi"), ("assistant", "Hello")]


async def test_the_second_turn_sees_the_first(house: House):
    """The agent is shown what was said before, as requests and responses of its own library."""
    agent = scripted(["one"], ["two"])
    chat = await open_chat(house, agent)
    await chat.send("first")

    await chat.send("second")

    shown = agent.script.prompts[1]
    assert [type(message) for message in shown] == [ModelRequest, ModelResponse, ModelRequest]
    assert (shown[0].parts[0].content, shown[1].text, shown[2].parts[0].content) == ("first", "one", "second")


async def test_the_usage_is_the_turns(house: House):
    """What the models used counts for the turn and the session (D10)."""
    completed: asyncio.Queue[Any] = asyncio.Queue()
    chat = await open_chat(house, scripted(["Hello"]), on_turn_complete=completed.put_nowait)

    await chat.send("hi")

    event = await completed.get()
    assert event.usage.output_tokens == event.total_usage.output_tokens == 1
    assert event.usage.input_tokens > 0


async def test_the_agents_system_prompt_is_kept(house: House):
    """A chat's history has no system prompt; the agent's own is there in every turn."""
    agent = scripted(["one"], ["two"], system_prompt="Be brief.")
    chat = await open_chat(house, agent)
    await chat.send("first")

    await chat.send("second")

    assert [prompt[0].parts[0].content for prompt in agent.script.prompts] == ["Be brief.", "Be brief."]


async def test_dependencies_and_run_options_pass(house: House):
    """`deps` and further arguments of `Agent.run` reach the run."""
    agent = scripted([calls("whoami")], ["done"], deps_type=str)

    @agent.tool
    async def whoami(ctx: RunContext[str]) -> str:
        return f"{ctx.deps} in {ctx.conversation_id}"

    chat = await open_chat(house, agent, run_options={"deps": "ada", "usage_limits": UsageLimits(request_limit=2)})

    await chat.send("hi")

    assert (await last_parts(chat))[0]["output"] == "ada in chat"


async def test_structured_output_is_a_data_part(house: House):
    """The final output of an output tool is a `data-output` part in a step of its own, behind its call."""

    class City(BaseModel):
        name: str
        people: int

    chat = await open_chat(house, Agent(TestModel(custom_output_args={"name": "Ulm", "people": 5}), output_type=City))

    await chat.send("hi")

    parts = (await chat.messages())[-1]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "tool-final_result", "step-start", "data-output"]
    assert parts[-1]["data"] == {"name": "Ulm", "people": 5}


async def test_an_answer_that_was_refused_is_given_again(house: House):
    """What an output validator refuses was seen by the person: it stays, the next answer is a step of its own."""
    agent = scripted(["no"], ["yes"], ["ok"])

    @agent.output_validator
    def positive(output: str) -> str:
        if output == "no":
            raise ModelRetry("Say yes.")
        return output

    chat = await open_chat(house, agent)
    await chat.send("well?")

    turn = await chat.send("thanks")

    parts = (await chat.messages())[1]["parts"]
    assert [part.get("text") for part in parts] == [None, "no", None, "yes"]
    shown = [part.content for message in agent.script.prompts[2][1:-1] for part in message.parts]
    assert (turn.text, shown) == ("ok", ["no", "yes"])


async def test_what_is_said_meanwhile_is_the_next_turn(house: House, gate: Gate):
    """Such an agent cannot be steered between its steps: a message that comes while it runs waits for its turn."""
    agent = scripted([calls("slow")], ["one"], ["two"])

    @agent.tool_plain
    async def slow() -> str:
        await gate.wait()
        return "done"

    chat = await open_chat(house, agent, when_busy="steer")
    sent = await chat.inbox.send_message(user("first"))
    await gate.reached.wait()
    later = await chat.inbox.send_message(user("second"))
    gate.opened.set()

    turns = [await chat.settled(sent), await chat.settled(later)]

    assert [(turn.text, turn.status) for turn in turns] == [("one", "completed"), ("two", "completed")]


# --- tools ----------------------------------------------------------------------------------------------------------


async def test_a_tool_round(house: House):
    """Input streams, the tool runs, its output and the next step follow in the same message."""
    agent = scripted(["let me", calls("add", '{"a": 1,'), {1: DeltaToolCall(json_args='"b": 2}')}], ["3"])

    @agent.tool_plain
    async def add(a: int, b: int) -> int:
        return a + b

    chat = await open_chat(house, agent)

    turn = await chat.send("1+2?")

    assert turn.types == [
        "start",
        *["start-step", "text-start", "text-delta", "text-end"],
        *["tool-input-start", *["tool-input-delta"] * 2, "tool-input-available", "tool-output-available"],
        *["finish-step", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"],
    ]
    part = (await last_parts(chat))[1]
    assert (part["state"], part["input"], part["output"]) == ("output-available", {"a": 1, "b": 2}, 3)


async def test_the_next_turn_sees_the_tool_round(house: House):
    """Call and result of an earlier turn are in the later prompt, paired."""
    agent = scripted([calls("add", '{"a": 1, "b": 2}')], ["3"], ["ok"])

    @agent.tool_plain
    async def add(a: int, b: int) -> int:
        return a + b

    chat = await open_chat(house, agent)
    await chat.send("1+2?")

    await chat.send("thanks")

    _, called, returned, said, _ = agent.script.prompts[2]
    assert (called.parts[0].args, said.text) == ({"a": 1, "b": 2}, "3")
    assert (returned.parts[0].content, returned.parts[0].outcome) == (3, "success")


async def test_a_call_is_on_record_before_its_tool_starts(house: House):
    """When the tool's body runs, everybody can read that it was called: a crash there tells the truth."""
    agent = scripted([calls("look")], ["done"])
    seen: list[str] = []

    @agent.tool_plain
    async def look() -> str:
        stored = (await house.store.read_out(chat.session.key, after=0)).records
        seen.extend(json.loads(record.body)["type"] for record in stored if record.kind == "chunk")
        return "looked"

    chat = await open_chat(house, agent)

    await chat.send("hi")

    assert seen[-1] == "tool-input-available"


async def test_a_tool_waits_for_its_reader():
    """A tool does not start before its reader came back for what follows the call; nor does an output function."""
    agent = scripted([calls("look")], [calls("final_result", '{"response": "x"}', "c2")], output_type=[_final])
    started: list[str] = []
    _ran.clear()

    @agent.tool_plain
    async def look() -> str:
        started.append("look")
        return "looked"

    async for chunk in stream_pydantic_ai(agent, [{"role": "user", "content": "hi"}]):
        if chunk["type"] == "tool-input-available":
            before = [*started, *_ran]
            for _ in range(50):
                await asyncio.sleep(0)
            assert [*started, *_ran] == before

    assert (started, _ran) == (["look"], ["final"])


_ran: list[str] = []


def _final(response: str) -> str:
    """Answer."""
    _ran.append("final")
    return response


async def test_a_retry_is_shown_as_the_tools_error(house: House):
    """`ModelRetry` becomes the error of that call, and the model tries again in the next step."""
    agent = scripted([calls("pick", '{"n": 1}', "c1")], [calls("pick", '{"n": 2}', "c2")], ["done"])

    @agent.tool_plain
    async def pick(n: int) -> str:
        if n == 1:
            raise ModelRetry("not that one")
        return "good"

    chat = await open_chat(house, agent)

    turn = await chat.send("hi")

    assert {"type": "tool-output-error", "toolCallId": "c1", "errorText": "not that one"} in turn.chunks
    assert [part.get("state") for part in await last_parts(chat)] == ["output-error", "output-available", "done"]


async def test_the_next_turn_sees_the_error_as_one(house: House):
    """A call that failed is shown to the model as failed, with the text it read before."""
    agent = scripted([calls("pick", "{}", "c1")], ["sorry"], ["ok"])

    @agent.tool_plain
    async def pick() -> str:
        raise ModelRetry("not that one")

    chat = await open_chat(house, agent)
    await chat.send("hi")

    await chat.send("and now?")

    returned = agent.script.prompts[2][2].parts[0]
    assert (returned.content, returned.outcome) == ("not that one", "failed")


async def test_a_call_id_that_comes_again(house: House):
    """Some providers count their calls from one in each answer: such a call is a call of its own."""
    agent = scripted([calls("add", '{"a": 1}')], ["one"], [calls("add", '{"a": 2}')], ["two"])

    @agent.tool_plain
    async def add(a: int) -> int:
        return a

    chat = await open_chat(house, agent)
    await chat.send("one?")

    turn = await chat.send("two?")

    assert (turn.text, (await last_parts(chat))[0]["output"]) == ("two", 2)


async def test_arguments_that_are_no_json_are_an_input_error(house: House):
    """A call that cannot be read never looks available; it shows its raw text and why it was refused."""
    agent = scripted([calls("add", '{"a": ', "c1")], ["sorry"])

    @agent.tool_plain
    async def add(a: int) -> int:
        return a

    chat = await open_chat(house, agent)

    turn = await chat.send("hi")

    assert "tool-input-available" not in turn.types
    error = next(chunk for chunk in turn.chunks if chunk["type"] == "tool-input-error")
    assert (error["input"], "invalid" in error["errorText"].lower()) == ('{"a": ', True)


async def test_an_exception_in_a_tool_fails_the_turn(house: House):
    """Any other exception ends the run: a failed turn with what was said, and the call as an interrupted one."""
    agent = scripted(["let me", calls("boom")])

    @agent.tool_plain
    async def boom() -> str:
        raise ValueError("secret")

    chat = await open_chat(house, agent)

    turn = await chat.send("hi")

    assert (turn.status, "secret" in str(turn.chunks)) == ("failed", False)
    assert [part["state"] for part in await last_parts(chat)] == ["done", "output-error"]
