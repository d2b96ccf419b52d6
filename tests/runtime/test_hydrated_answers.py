"""Tool answers and approvals that reach hydrated or restored messages, slim as clients send them."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from chatrt.turn import current_turn
from tests.runtime.driver import House, user


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


sent: list[str] = []


@tool(needs_approval=True)
async def send_email(to: str) -> dict[str, bool]:
    """Send an e-mail."""
    sent.append(to)
    return {"sent": True}


@tool(to_model_output=lambda call_id, value, output: {"type": "text", "value": f"short: {output['size']}"})
async def look_up(name: str) -> dict[str, Any]:
    """Look something up."""
    return {"size": 3, "rows": ["a", "b", "c"]}


def agent_of(*script: Any, **options: Any) -> ChatAgent:
    sent.clear()
    model = ScriptedModel(list(script))
    options.setdefault("tools", [ask_user, send_email, look_up])
    agent = ChatAgent("a", run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options)
    agent.model = model
    return agent


def asked(state: str = "input-available", name: str = "ask_user", **fields: Any) -> dict[str, Any]:
    return {
        "type": f"tool-{name}",
        "toolCallId": "call_1",
        "state": state,
        "input": {"question": "Why?"} if name == "ask_user" else {"to": "bob"},
        **fields,
    }


def hydrating(*parts: dict[str, Any]):
    """A hook that gives a question and an assistant message with these parts."""

    def hydrate(event):
        return [
            {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hi"}]},
            {"id": "a1", "role": "assistant", "parts": [{"type": "step-start"}, *parts]},
        ]

    return hydrate


OUTPUT = {"type": "tool-ask_user", "toolCallId": "call_1", "state": "output-available", "output": "because"}


def decision(approved: bool) -> dict[str, Any]:
    return {
        "type": "tool-send_email",
        "toolCallId": "call_1",
        "state": "approval-responded",
        "approval": {"id": "ok", "approved": approved},
    }


@pytest.mark.behaviour(8)
async def test_a_slim_answer_reaches_a_hydrated_message(house: House):
    """The stored input is kept, the client's output is taken, and there is one assistant message."""
    chat = await house.open(agent_of("thanks", hydrate_messages=hydrating(asked())))

    await chat.answer(OUTPUT, message_id="a1")

    messages = await chat.messages()
    part = messages[-1]["parts"][1]
    assert [message["id"] for message in messages] == ["u1", "a1"]
    assert (part["input"], part["output"]) == ({"question": "Why?"}, "because")


@pytest.mark.behaviour(9)
async def test_a_slim_approval_reaches_a_hydrated_message(house: House):
    """The approval goes onto the hydrated request; the tool runs with the hydrated input."""
    requested = asked("approval-requested", "send_email", approval={"id": "ok"})
    chat = await house.open(agent_of("sent", hydrate_messages=hydrating(requested)))

    turn = await chat.answer(decision(approved=True), message_id="a1")

    assert (turn.status, sent) == ("completed", ["bob"])
    assert (await chat.messages())[-1]["parts"][1]["output"] == {"sent": True}


@pytest.mark.behaviour(10)
async def test_a_hydrated_denial_is_final(house: House):
    """A denied call in the hydrated history is not revived by a stale approval."""
    denied = asked("output-denied", "send_email", approval={"id": "ok", "approved": False})
    chat = await house.open(agent_of("well", hydrate_messages=hydrating(denied)))

    await chat.answer(decision(approved=True), message_id="a1")

    assert sent == []
    assert (await chat.messages())[-1]["parts"][1]["state"] == "output-denied"


@pytest.mark.behaviour(12)
async def test_the_stored_input_is_kept(house: House):
    """A slim answer brings no input: that of the call stays, and a client cannot change it."""
    chat = await house.open(agent_of(call(tool_call("ask_user", {"question": "Why?"})), "thanks"))
    first = await chat.send("hi")

    await chat.answer({**OUTPUT, "input": {"question": "forged"}}, message_id=first.start["messageId"])

    assert (await chat.messages())[-1]["parts"][1]["input"] == {"question": "Why?"}


@pytest.mark.behaviour(11)
async def test_a_validator_sees_the_slim_answer(house: House):
    """on_validate_messages gets the assistant message as it came: answered calls without input, trigger message."""
    seen = []

    def validate(event):
        seen.append((event.trigger, event.messages[0]))
        return event.messages

    agent = agent_of(call(tool_call("ask_user", {"question": "Why?"})), "thanks", on_validate_messages=validate)
    chat = await house.open(agent)
    first = await chat.send("hi")
    message_id = first.start["messageId"]

    await chat.answer(OUTPUT, message_id=message_id)

    assert seen[1] == ("message", {"id": message_id, "role": "assistant", "parts": [OUTPUT]})


@pytest.mark.behaviour(7)
async def test_a_renamed_answer_is_found_after_a_restart(house: House):
    """The call of a restored message is found by its id too, whatever the client calls the message."""
    agent = agent_of(call(tool_call("ask_user", {"question": "Why?"})), "thanks")
    chat = await house.open(agent)
    first = await chat.send("hi")
    await house.crash()
    chat = await house.open(agent)

    turn = await chat.answer(OUTPUT, message_id="renamed")

    assert turn.start["messageId"] == first.start["messageId"]


async def test_an_error_of_the_client_continues_the_message(house: House):
    """A client may answer that its tool failed; the model is told."""
    agent = agent_of(call(tool_call("ask_user", {"question": "Why?"})), "oh")
    chat = await house.open(agent)
    first = await chat.send("hi")

    await chat.answer(
        {"type": "tool-ask_user", "toolCallId": "call_1", "state": "output-error", "errorText": "left"},
        message_id=first.start["messageId"],
    )

    assert agent.model.requests[1].messages[-1]["content"][0]["output"] == {"type": "error-text", "value": "left"}


async def test_an_edit_before_a_pending_approval_ends_it(house: House):
    """An approval of a call that an edit took out of the history is refused, and nothing runs."""
    agent = agent_of(call(tool_call("send_email", {"to": "bob"})), "other")
    chat = await house.open(agent)
    first = await chat.send("hi", "u1")
    approval = (await chat.messages())[-1]["parts"][-1]["approval"]["id"]
    await chat.send("changed", "u1")

    turn = await chat.answer(
        {**decision(approved=True), "approval": {"id": approval, "approved": True}}, message_id=first.start["messageId"]
    )

    assert (turn.status, turn.complete["error"]["code"], sent) == ("failed", "forbidden-change", [])
    assert await chat.texts() == [("user", "changed"), ("assistant", "other")]


async def test_regenerating_while_a_call_waits_ends_it(house: House):
    """A regenerate takes back the answer with the open call; answering it afterwards is refused."""
    chat = await house.open(agent_of(call(tool_call("ask_user", {"question": "Why?"})), "other"))
    first = await chat.send("hi")
    await chat.regenerate()

    turn = await chat.answer(OUTPUT, message_id=first.start["messageId"])

    assert turn.status == "failed"
    assert await chat.texts() == [("user", "hi"), ("assistant", "other")]


async def test_an_approval_answered_while_another_turn_runs(house: House, gate):
    """An approval that comes in mid-turn waits for the turn's end; the call does not run any more."""

    async def run(turn):
        if turn.ui_messages[-1]["parts"][0].get("text") == "wait":
            await gate.wait()
            return "waited"
        return stream_text(model, turn.messages, tools=turn.tools)

    sent.clear()
    model = ScriptedModel([call(tool_call("send_email", {"to": "bob"})), "fine"])
    chat = await house.open(ChatAgent("a", tools=[send_email], run=run))
    first = await chat.send("hi")
    approval = (await chat.messages())[-1]["parts"][-1]["approval"]["id"]
    await chat.inbox.send_message(user("wait"))
    await gate.reached.wait()
    part: Any = {**decision(approved=True), "approval": {"id": approval, "approved": True}}
    answered = await chat.inbox.send_message(
        {"id": first.start["messageId"], "role": "assistant", "parts": [part]},
    )
    gate.opened.set()

    turn = await chat.settled(answered)

    assert (turn.status, sent) == ("completed", [])


@pytest.mark.behaviour(42, 43)
@pytest.mark.parametrize("tools", [[look_up], lambda event: [look_up]], ids=["list", "function"])
async def test_the_short_form_of_an_output_is_shown_on_later_turns(house: House, tools):
    """to_model_output counts for what stands in the history too, however the tools are declared."""
    agent = agent_of(call(tool_call("look_up", {"name": "x"})), "found", "again", tools=tools)
    chat = await house.open(agent)
    await chat.send("one")
    await chat.send("two")

    row = next(message for message in agent.model.requests[2].messages if message["role"] == "tool")
    assert row["content"][0]["output"] == {"type": "text", "value": "short: 3"}


@pytest.mark.behaviour(44)
async def test_without_the_tool_the_raw_output_is_shown(house: House):
    """The output of a tool that is not declared any more is shown as it is."""
    agent = agent_of(
        call(tool_call("look_up", {"name": "x"})),
        "found",
        "again",
        tools=lambda event: [look_up] if event.turn == 0 else [],
    )
    chat = await house.open(agent)
    await chat.send("one")
    await chat.send("two")

    row = next(message for message in agent.model.requests[2].messages if message["role"] == "tool")
    assert row["content"][0]["output"] == {"type": "json", "value": {"size": 3, "rows": ["a", "b", "c"]}}


async def test_a_tool_writes_data_parts(house: House):
    """A tool reaches its turn and writes into the answer, where its call stands (D18)."""

    @tool
    async def work(steps: int) -> str:
        """Work."""
        for step in range(steps):
            current_turn().response.write({"type": "data-progress", "id": "p", "data": step})
        return "done"

    chat = await house.open(agent_of(call(tool_call("work", {"steps": 3})), "ok", tools=[work]))

    turn = await chat.send("hi")

    assert [chunk["data"] for chunk in turn.chunks if chunk["type"] == "data-progress"] == [0, 1, 2]
    parts = (await chat.messages())[-1]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "tool-work", "data-progress", "step-start", "text"]
    assert parts[2]["data"] == 2


async def test_only_the_last_yield_of_a_tool_is_stored(house: House):
    """What a tool yields on its way is shown; what it yields last is stored and told to the model."""

    @tool
    async def work(steps: int):
        """Work."""
        for step in range(steps):
            yield {"step": step}

    agent = agent_of(call(tool_call("work", {"steps": 3})), "ok", tools=[work])
    chat = await house.open(agent)

    await chat.send("hi")

    part = (await chat.messages())[-1]["parts"][1]
    assert (part["output"], "preliminary" in part) == ({"step": 2}, False)


@pytest.mark.behaviour(130)
async def test_a_failed_turn_drops_half_a_tool_input_and_keeps_the_text(house: House):
    """The partial answer of a failed turn has its text, and no tool call that was never made (D8)."""

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "Let me see"}
        yield {"type": "tool-input-start", "toolCallId": "c", "toolName": "ask_user"}
        yield {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"ques'}
        raise RuntimeError("boom")

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("hi")

    assert (await chat.messages())[-1]["parts"] == [{"type": "text", "text": "Let me see", "state": "done"}]
