"""An agent of the OpenAI Agents SDK in a session: people approve its calls, clients answer them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import (
    Agent,
    RunConfig,
    function_tool,
)

from chatrt.adapters import stream_openai_agents
from tests.adapters.chats import decide, last_parts, open_with
from tests.adapters.sdk_model import agent_of, call, message
from tests.runtime.driver import Chat, House


async def open_chat(house: House, agent: Agent[Any], **options: Any) -> Chat:
    return await open_with(house, stream_openai_agents, agent, **options)


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
