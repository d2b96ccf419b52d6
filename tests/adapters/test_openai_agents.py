"""An agent of the OpenAI Agents SDK as the run function, in real sessions."""

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
    RunConfig,
    RunHooks,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from pydantic import BaseModel

from chatrt.adapters import stream_openai_agents
from chatrt.agent import ChatAgent
from tests.adapters.sdk_model import ScriptedSdkModel, call, message, reasoning
from tests.runtime.driver import Chat, Gate, House, user


@pytest.fixture(autouse=True)
def _no_tracing():
    """The SDK sends traces to OpenAI otherwise."""
    set_tracing_disabled(True)


def agent_of(*answers: list[Any], **options: Any) -> Agent[Any]:
    """An agent whose model follows a script; `agent.model` is it."""
    return Agent(name="Desk", model=ScriptedSdkModel(*answers), **options)


async def open_chat(house: House, agent: Agent[Any], **options: Any) -> Chat:
    run_options = options.pop("run_options", {})
    return await house.open(
        ChatAgent("a", run=lambda turn: stream_openai_agents(agent, turn, **run_options), **options)
    )


async def last_parts(chat: Chat) -> list[dict[str, Any]]:
    return [part for part in (await chat.messages())[-1]["parts"] if part["type"] != "step-start"]


async def decide(chat: Chat, message_id: str, *, approved: bool, reason: str | None = None) -> Any:
    """Answer the approval that the last message asks for."""
    part = next(part for part in await last_parts(chat) if part.get("state") == "approval-requested")
    approval = {"id": part["approval"]["id"], "approved": approved, **({"reason": reason} if reason else {})}
    answer = {"type": part["type"], "toolCallId": part["toolCallId"], "state": "approval-responded"}
    return await chat.answer({**answer, "approval": approval}, message_id=message_id)


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


# --- people answer --------------------------------------------------------------------------------------------------


def mailing(*answers: list[Any], **options: Any) -> Agent[Any]:
    """An agent with a tool that needs approval; `agent.sent` are the mails that went out."""
    sent: list[str] = []

    @function_tool(needs_approval=True)
    async def send_mail(to: str) -> str:
        """Send a mail."""
        sent.append(to)
        return f"sent to {to}"

    @function_tool
    async def count(a: int) -> int:
        """Count."""
        sent.append("count")
        return a

    agent = agent_of(*answers, tools=[send_mail, count], **options)
    agent.sent = sent
    return agent


MAIL = call("send_mail", to="ada")


async def test_an_approval_ends_the_turn(house: House):
    """A tool that needs approval does not run: the call asks for it, and the turn ends with tool-calls."""
    agent = mailing([MAIL])
    chat = await open_chat(house, agent)

    turn = await chat.send("mail ada")

    part = (await last_parts(chat))[0]
    assert (part["state"], part["input"], agent.sent) == ("approval-requested", {"to": "ada"}, [])
    assert (turn.status, turn.complete["finishReason"]) == ("completed", "tool-calls")


async def test_an_approved_call_runs(house: House):
    """The person's yes lets the tool run, once, and the answer goes on in the same message."""
    agent = mailing([MAIL], [message("done")])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    turn = await decide(chat, first.start["messageId"], approved=True)

    assert (agent.sent, turn.text, turn.start["messageId"]) == (["ada"], "done", first.start["messageId"])
    assert [part.get("output") for part in await last_parts(chat)] == ["sent to ada", None]
    assert len(await chat.messages()) == 2


async def test_the_model_sees_the_approved_call_once(house: House):
    """The prompt behind an approval has the call and its result, one time each."""
    agent = mailing([MAIL], [message("done")])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    await decide(chat, first.start["messageId"], approved=True)

    kinds = [(item.get("type"), item.get("call_id")) for item in agent.model.prompts[1][1:]]
    assert kinds == [("function_call", "call_1"), ("function_call_output", "call_1")]


async def test_a_denied_call_does_not_run(house: House):
    """The person's no is told to the model, with its reason, and shown as denied."""
    agent = mailing([MAIL], [message("as you wish")])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    turn = await decide(chat, first.start["messageId"], approved=False, reason="not her")

    assert (agent.sent, turn.text, (await last_parts(chat))[0]["state"]) == ([], "as you wish", "output-denied")
    assert agent.model.prompts[1][-1]["output"] == "not her"


async def test_what_ran_beside_the_question_does_not_run_again(house: House):
    """Of two calls in one step, the one that needed no approval ran in the first turn and keeps its result."""
    agent = mailing([MAIL, call("count", "call_2", a=7)], [message("done")])
    chat = await open_chat(house, agent)
    first = await chat.send("mail ada")

    await decide(chat, first.start["messageId"], approved=True)

    outputs = {item["call_id"]: item["output"] for item in agent.model.prompts[1] if "output" in item}
    assert (agent.sent, outputs) == (["count", "ada"], {"call_2": "7", "call_1": "sent to ada"})


@pytest.mark.parametrize("configured", [False, True])
async def test_an_approval_survives_a_crash(house: House, configured: bool):
    """The question can be answered by another run, whoever names the model: it is in the chat, not in the SDK."""
    agent = mailing([MAIL], [message("done")])
    model = agent.model
    run_options = {"run_config": RunConfig(model=model)} if configured else {}
    chat = await open_chat(house, agent, run_options=run_options)
    first = await chat.send("mail ada")
    await house.crash()
    chat = await open_chat(house, agent, run_options=run_options)

    turn = await decide(chat, first.start["messageId"], approved=True)

    assert (agent.sent, turn.text) == (["ada"], "done")


async def test_an_approved_call_may_be_followed_by_another_question(house: House):
    """Behind an approval the run is an ordinary one: the next call asks again."""
    agent = mailing([MAIL], [call("send_mail", "call_2", to="bob")], [message("done")])
    chat = await open_chat(house, agent)
    first = await chat.send("mail both")
    await decide(chat, first.start["messageId"], approved=True)

    turn = await decide(chat, first.start["messageId"], approved=True)

    assert (agent.sent, turn.text) == (["ada", "bob"], "done")


async def test_an_approval_does_not_cost_a_model_call(house: House):
    """`max_turns` counts what the model was asked, not what it had said before."""
    agent = mailing([MAIL], [message("done")])
    chat = await open_chat(house, agent, run_options={"max_turns": 1})
    first = await chat.send("mail ada")

    turn = await decide(chat, first.start["messageId"], approved=True)

    assert (turn.status, turn.text) == ("completed", "done")


async def test_a_question_of_a_nested_agent_is_refused(house: House):
    """A chat cannot answer for an agent that is a tool itself: the turn fails and says why to its developer."""
    completed: asyncio.Queue[Any] = asyncio.Queue()
    nested = mailing([MAIL]).as_tool(tool_name="mailer", tool_description="Mails.")
    agent = agent_of([call("mailer", "outer", input="mail ada")], tools=[nested])
    chat = await open_chat(house, agent, on_turn_complete=completed.put_nowait)

    turn = await chat.send("hi")

    event = await completed.get()
    assert (turn.status, event.error.code, "send_mail" in str(event.error)) == ("failed", "usage", True)


# --- endings --------------------------------------------------------------------------------------------------------


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
