"""A pydantic-ai agent in a session: people approve its calls, clients answer them."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent, ApprovalRequired, DeferredToolRequests, RunContext
from pydantic_ai.messages import ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ExternalToolset

from chatrt.adapters import stream_pydantic_ai
from tests.adapters.chats import decide, last_parts, open_with
from tests.adapters.pydantic_ai_script import calls, scripted
from tests.runtime.driver import Chat, House


async def open_chat(house: House, agent: Agent[Any, Any], **options: Any) -> Chat:
    return await open_with(house, stream_pydantic_ai, agent, **options)


DEFERRING = [str, DeferredToolRequests]


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
