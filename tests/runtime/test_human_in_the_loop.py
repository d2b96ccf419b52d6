"""People answer tools and approve calls; the answer continues the same message."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from tests.runtime.driver import House

sent_mails: list[str] = []


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


@tool(needs_approval=True)
async def send_email(to: str) -> dict[str, bool]:
    """Send an e-mail."""
    sent_mails.append(to)
    return {"sent": True}


@tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def asking(*script: Any, **options: Any) -> ChatAgent:
    """An agent with a client-side tool, a tool that needs approval, and a plain one."""
    sent_mails.clear()
    model = ScriptedModel(list(script))
    agent = ChatAgent(
        "a",
        tools=[ask_user, send_email, add],
        run=lambda turn: stream_text(model, turn.messages, tools=turn.tools),
        **options,
    )
    agent.model = model
    return agent


def output(call_id: str, value: Any, name: str = "ask_user") -> dict[str, Any]:
    return {"type": f"tool-{name}", "toolCallId": call_id, "state": "output-available", "output": value}


def decision(call_id: str, approval_id: str, approved: bool, name: str = "send_email") -> dict[str, Any]:
    return {
        "type": f"tool-{name}",
        "toolCallId": call_id,
        "state": "approval-responded",
        "approval": {"id": approval_id, "approved": approved},
    }


async def test_a_client_tool_ends_the_turn(house: House):
    """A call of a tool without a body ends the turn with finish reason tool-calls; the call stays open."""
    chat = await house.open(asking(call(tool_call("ask_user", {"question": "Why?"}))))

    turn = await chat.send("hi")

    part = (await chat.messages())[-1]["parts"][-1]
    assert (turn.complete["finishReason"], part["state"]) == ("tool-calls", "input-available")


async def test_the_answer_continues_the_same_message(house: House):
    """The client's output goes into the open call, and the model goes on in the same message."""
    chat = await house.open(asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks"))
    first = await chat.send("hi")
    message_id = first.start["messageId"]

    turn = await chat.answer(output("call_1", "because"), message_id=message_id)

    messages = await chat.messages()
    assert turn.start["messageId"] == message_id
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert [part["type"] for part in messages[-1]["parts"]] == ["step-start", "tool-ask_user", "step-start", "text"]


async def test_what_continues_a_message_stands_in_a_step_of_its_own(house: House):
    """Clients look for open calls in the last step: a bare text behind an output begins another one, once."""

    async def asked():
        yield {"type": "tool-input-available", "toolCallId": "c", "toolName": "ask_user", "input": {"question": "?"}}

    def run(turn):
        return asked() if turn.ui_messages[-1]["role"] == "user" else "thanks"

    chat = await house.open(ChatAgent("a", run=run, tools=[ask_user]))
    first = await chat.send("hi")
    turn = await chat.answer(output("c", "because"), message_id=first.start["messageId"])

    assert turn.types == ["start", "start-step", "text-start", "text-delta", "text-end", "finish"]
    parts = (await chat.messages())[-1]["parts"]
    assert [part["type"] for part in parts] == ["tool-ask_user", "step-start", "text"]


async def test_data_behind_an_output_begin_no_step(house: House):
    """What hooks write into a continued message stays where it is; the words of the model begin the step."""

    async def run(turn):
        if turn.ui_messages[-1]["role"] == "user":
            call = {"toolCallId": "c", "toolName": "ask_user", "input": {"question": "?"}}
            yield {"type": "tool-input-available", **call}
            return
        yield {"type": "data-note", "id": "n", "data": 1}
        yield {"type": "start-step"}
        yield {"type": "reasoning-start", "id": "r"}
        yield {"type": "reasoning-end", "id": "r"}
        yield {"type": "finish-step"}

    chat = await house.open(ChatAgent("a", run=run, tools=[ask_user]))
    first = await chat.send("hi")
    turn = await chat.answer(output("c", "because"), message_id=first.start["messageId"])

    assert turn.types == [
        "start",
        "data-note",
        "start-step",
        "reasoning-start",
        "reasoning-end",
        "finish-step",
        "finish",
    ]


async def test_the_model_sees_the_answer(house: House):
    """The next prompt has the call and the client's result."""
    agent = asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks")
    chat = await house.open(agent)
    first = await chat.send("hi")

    await chat.answer(output("call_1", "because"), message_id=first.start["messageId"])

    assert agent.model.requests[1].messages[-1]["content"][0]["output"] == {"type": "text", "value": "because"}


async def test_turn_start_carries_the_message_that_is_continued(house: House):
    """A continuation's turn-start has the message as it stood, so that a reader can rebuild it."""
    chat = await house.open(asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks"))
    first = await chat.send("hi")

    turn = await chat.answer(output("call_1", "because"), message_id=first.start["messageId"])

    assert turn.start["message"]["parts"][-1]["state"] == "output-available"


@pytest.mark.behaviour(7)
async def test_an_answer_under_another_message_id_is_found_by_its_call(house: House):
    """Client libraries rename messages: the tool call tells which one is meant, and it keeps its id."""
    chat = await house.open(asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks"))
    first = await chat.send("hi")

    turn = await chat.answer(output("call_1", "because"), message_id="renamed")

    assert turn.start["messageId"] == first.start["messageId"]
    assert len(await chat.messages()) == 2


async def test_an_answer_survives_a_restart(house: House):
    """A question can be answered days later, by another run."""
    agent = asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks")
    chat = await house.open(agent)
    first = await chat.send("hi")
    await house.crash()
    chat = await house.open(agent)

    turn = await chat.answer(output("call_1", "because"), message_id=first.start["messageId"])

    assert turn.text == "thanks"


async def test_an_output_for_a_server_tool_is_refused(house: House):
    """A client cannot make up the result of a tool that the server runs (D15)."""

    async def run(turn):
        yield {"type": "start-step"}
        yield {"type": "tool-input-available", "toolCallId": "c", "toolName": "add", "input": {}}

    agent = ChatAgent("a", tools=[add], run=run)
    chat = await house.open(agent)
    first = await chat.send("hi")

    turn = await chat.answer(output("c", 42, "add"), message_id=first.start["messageId"])

    assert turn.complete["error"]["code"] == "forbidden-change"
    assert (await chat.messages())[-1]["parts"][-1]["state"] == "input-available"


async def test_an_output_for_no_call_is_refused(house: House):
    """An answer to a call that was never made changes nothing."""
    chat = await house.open(asking("hello"))
    first = await chat.send("hi")

    turn = await chat.answer(output("nope", 42), message_id=first.start["messageId"])

    assert turn.complete["error"]["code"] == "forbidden-change"


async def test_an_answer_counts_once(house: House):
    """A second answer to a settled call is ignored: no second continuation."""
    agent = asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks")
    chat = await house.open(agent)
    first = await chat.send("hi")
    await chat.answer(output("call_1", "because"), message_id=first.start["messageId"])

    again = await chat.answer(output("call_1", "no, since"), message_id=first.start["messageId"])

    assert (again.status, again.chunks) == ("completed", [])
    assert len(agent.model.requests) == 2
    assert (await chat.messages())[-1]["parts"][1]["output"] == "because"


async def test_the_turn_waits_for_all_answers(house: House):
    """With two questions open, the model goes on once, when both are answered."""
    two = call(tool_call("ask_user", {"question": "a"}, id="c1"), tool_call("ask_user", {"question": "b"}, id="c2"))
    agent = asking(two, "thanks")
    chat = await house.open(agent)
    first = await chat.send("hi")
    message_id = first.start["messageId"]

    one = await chat.answer(output("c1", "A"), message_id=message_id)
    both = await chat.answer(output("c2", "B"), message_id=message_id)

    assert (one.chunks, both.text, len(agent.model.requests)) == ([], "thanks", 2)


async def test_typing_instead_of_answering(house: House):
    """A person may ignore the question: the open call is not shown to the model, and can still be answered."""
    agent = asking(call(tool_call("ask_user", {"question": "Why?"})), "never mind")
    chat = await house.open(agent)
    await chat.send("hi")

    await chat.send("something else")

    prompt = agent.model.requests[1].messages
    assert all(part["type"] != "tool-call" for row in prompt if row["role"] == "assistant" for part in row["content"])
    assert (await chat.messages())[1]["parts"][-1]["state"] == "input-available"


@pytest.mark.behaviour(28)
async def test_new_results_are_extracted_exactly_once(house: House):
    """extract_new_tool_results reports an answer in on_validate_messages, and never again."""
    seen = []

    def validate(event):
        seen.append([result.output for result in event.history.extract_new_tool_results(event.messages[0])])
        return event.messages

    chat = await house.open(
        asking(call(tool_call("ask_user", {"question": "Why?"})), "thanks", on_validate_messages=validate)
    )
    first = await chat.send("hi")
    await chat.answer(output("call_1", "because"), message_id=first.start["messageId"])

    await chat.answer(output("call_1", "because"), message_id=first.start["messageId"])

    assert seen == [[], ["because"], []]


async def approval_id(chat: Any) -> str:
    return (await chat.messages())[-1]["parts"][-1]["approval"]["id"]


async def test_an_approval_is_asked_for(house: House):
    """A tool that needs approval is not run before a person approved."""
    chat = await house.open(asking(call(tool_call("send_email", {"to": "ada"}))))

    turn = await chat.send("mail ada")

    assert turn.complete["finishReason"] == "tool-calls"
    assert sent_mails == []


async def test_an_approved_call_runs_once_and_the_model_goes_on(house: House):
    """After the approval the tool runs with the server's own arguments, in the same message."""
    chat = await house.open(asking(call(tool_call("send_email", {"to": "ada"})), "sent"))
    first = await chat.send("mail ada")
    forged = {**decision("call_1", await approval_id(chat), True), "input": {"to": "mallory"}}

    turn = await chat.answer(forged, message_id=first.start["messageId"])

    assert (sent_mails, turn.text) == (["ada"], "sent")
    assert len(await chat.messages()) == 2


async def test_a_denied_call_never_runs(house: House):
    """After a denial the call is output-denied and the model goes on."""
    chat = await house.open(asking(call(tool_call("send_email", {"to": "ada"})), "not sent"))
    first = await chat.send("mail ada")

    turn = await chat.answer(decision("call_1", await approval_id(chat), False), message_id=first.start["messageId"])

    assert (sent_mails, turn.text) == ([], "not sent")
    assert (await chat.messages())[-1]["parts"][1]["state"] == "output-denied"


async def test_a_made_up_approval_is_refused(house: House):
    """An approval with another id than the server asked for is refused."""
    chat = await house.open(asking(call(tool_call("send_email", {"to": "ada"}))))
    first = await chat.send("mail ada")

    turn = await chat.answer(decision("call_1", "made-up", True), message_id=first.start["messageId"])

    assert (turn.complete["error"]["code"], sent_mails) == ("forbidden-change", [])


async def test_an_approval_is_used_once(house: House):
    """A denial cannot be turned into an approval afterwards."""
    chat = await house.open(asking(call(tool_call("send_email", {"to": "ada"})), "not sent"))
    first = await chat.send("mail ada")
    asked = await approval_id(chat)
    await chat.answer(decision("call_1", asked, False), message_id=first.start["messageId"])

    again = await chat.answer(decision("call_1", asked, True), message_id=first.start["messageId"])

    assert (again.chunks, sent_mails) == ([], [])


async def test_an_approval_after_other_words_is_not_carried_out(house: House):
    """An approval that comes after a newer message neither runs the call nor breaks the chat."""
    agent = asking(call(tool_call("send_email", {"to": "ada"})), "ok", "well", "fine")
    chat = await house.open(agent)
    first = await chat.send("mail ada")
    asked = await approval_id(chat)
    await chat.send("wait")

    late = await chat.answer(decision("call_1", asked, True), message_id=first.start["messageId"])
    last = await chat.send("hello?")

    assert (late.chunks, last.status, sent_mails) == ([], "completed", [])
