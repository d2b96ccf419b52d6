"""A pydantic-ai agent as the run function, in real sessions: what it streams, keeps, asks and leaves when it ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ApprovalRequired, DeferredToolRequests, ModelRetry, RunContext, UsageLimits
from pydantic_ai.exceptions import ModelHTTPError, UsageLimitExceeded
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import DeltaToolCall
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ExternalToolset

from chatrt.adapters import stream_pydantic_ai
from chatrt.agent import ChatAgent
from tests.adapters.pydantic_ai_script import calls, scripted
from tests.runtime.driver import Chat, Gate, House, user

DEFERRING = [str, DeferredToolRequests]


async def open_chat(house: House, agent: Agent[Any, Any], **options: Any) -> Chat:
    run_options = options.pop("run_options", {})
    return await house.open(ChatAgent("a", run=lambda turn: stream_pydantic_ai(agent, turn, **run_options), **options))


async def last_parts(chat: Chat) -> list[dict[str, Any]]:
    return [part for part in (await chat.messages())[-1]["parts"] if part["type"] != "step-start"]


async def decide(chat: Chat, message_id: str, *, approved: bool, reason: str | None = None) -> Any:
    """Answer the approval that the last message asks for."""
    part = next(part for part in await last_parts(chat) if part.get("state") == "approval-requested")
    approval = {"id": part["approval"]["id"], "approved": approved, **({"reason": reason} if reason else {})}
    answer = {"type": part["type"], "toolCallId": part["toolCallId"], "state": "approval-responded"}
    return await chat.answer({**answer, "approval": approval}, message_id=message_id)


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


# --- people and clients answer --------------------------------------------------------------------------------------


def mailing(*answers: list[Any]) -> Agent[Any, Any]:
    """An agent with a tool that needs approval; `agent.sent` are the mails that went out."""
    agent = scripted(*answers, output_type=DEFERRING)
    agent.sent = []  # type: ignore[attr-defined]

    @agent.tool_plain(requires_approval=True)
    async def send_mail(to: str) -> str:
        agent.sent.append(to)
        return f"sent to {to}"

    @agent.tool_plain
    async def add(a: int, b: int) -> int:
        agent.sent.append("add")
        return a + b

    return agent


MAIL = calls("send_mail", '{"to": "ada"}')


async def test_an_approval_ends_the_turn(house: House):
    """A tool that requires approval does not run: the call asks for it, and the turn ends with tool-calls."""
    agent = mailing([MAIL])
    chat = await open_chat(house, agent)

    turn = await chat.send("mail ada")

    part = (await last_parts(chat))[0]
    assert (part["state"], part["input"], agent.sent) == ("approval-requested", {"to": "ada"}, [])
    assert (turn.status, turn.complete["finishReason"]) == ("completed", "tool-calls")


async def test_an_approved_call_runs(house: House):
    """The person's yes lets the tool run, once, and the answer goes on in the same message."""
    agent = mailing([MAIL], ["done"])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    turn = await decide(chat, first.start["messageId"], approved=True)

    assert (agent.sent, turn.text, turn.start["messageId"]) == (["ada"], "done", first.start["messageId"])
    assert [part.get("output") for part in await last_parts(chat)] == ["sent to ada", None]
    assert len(await chat.messages()) == 2


async def test_a_denied_call_does_not_run(house: House):
    """The person's no is told to the model, with its reason, and shown as denied."""
    agent = mailing([MAIL], ["as you wish"])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    turn = await decide(chat, first.start["messageId"], approved=False, reason="not her")

    returned = agent.script.prompts[1][-1].parts[0]
    assert (agent.sent, turn.text, (await last_parts(chat))[0]["state"]) == ([], "as you wish", "output-denied")
    assert (returned.content, returned.outcome) == ("not her", "denied")


async def test_what_ran_beside_the_question_does_not_run_again(house: House):
    """Of two calls in one step, the one that needed no approval ran in the first turn and keeps its result."""
    agent = mailing([{**MAIL, **calls("add", '{"a": 1, "b": 2}', "call_2", 2)}], ["done"])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    await decide(chat, first.start["messageId"], approved=True)

    returned = {part.tool_name: part.content for part in agent.script.prompts[1][-1].parts}
    assert (agent.sent, returned) == (["add", "ada"], {"add": 3, "send_mail": "sent to ada"})


async def test_an_approval_survives_a_crash(house: House):
    """The question can be answered by another run: it is in the chat, not in the agent."""
    agent = mailing([MAIL], ["done"])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")
    await house.crash()
    chat = await open_chat(house, agent)

    turn = await decide(chat, first.start["messageId"], approved=True)

    assert (agent.sent, turn.text) == (["ada"], "done")


async def test_a_tool_may_give_a_reason_for_its_question(house: House):
    """`ApprovalRequired(metadata={"reason": ...})` is shown with the question."""
    agent = scripted([calls("drop")], output_type=DEFERRING)

    @agent.tool
    async def drop(ctx: RunContext[Any]) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired(metadata={"reason": "it is the last one"})
        return "dropped"

    chat = await open_chat(house, agent)

    await chat.send("drop it")

    assert (await last_parts(chat))[0]["approval"]["requestReason"] == "it is the last one"


async def test_an_external_tool_is_answered_by_the_client(house: House):
    """An external call stays open for the client; its output goes to the model in the next turn."""
    schema = {"type": "object", "properties": {"question": {"type": "string"}}}
    external = ExternalToolset([ToolDefinition(name="ask", parameters_json_schema=schema)])
    agent = scripted([calls("ask", '{"question": "Why?"}')], ["I see"], output_type=DEFERRING, toolsets=[external])
    chat = await open_chat(house, agent)
    first = await chat.send("hi")
    open_call = (await last_parts(chat))[0]

    answer = {"type": "tool-ask", "toolCallId": "call_1", "state": "output-available", "output": {"why": "because"}}
    turn = await chat.answer(answer, message_id=first.start["messageId"])

    assert (open_call["state"], first.complete["finishReason"], turn.text) == ("input-available", "tool-calls", "I see")
    assert agent.script.prompts[1][-1].parts[0].content == {"why": "because"}


async def test_typing_instead_of_deciding(house: House):
    """A person may go on talking: the open call is no part of the prompt, and the run is an ordinary one."""
    agent = mailing([MAIL], ["never mind"])
    chat = await open_chat(house, agent)
    await chat.send("mail ada")

    turn = await chat.send("something else")

    shown = [part for message in agent.script.prompts[1] for part in message.parts]
    assert (turn.text, agent.sent) == ("never mind", [])
    assert not any(isinstance(part, ToolCallPart | ToolReturnPart) for part in shown)
    assert sum(isinstance(part, UserPromptPart) for part in shown) == 2


# --- endings --------------------------------------------------------------------------------------------------------


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
