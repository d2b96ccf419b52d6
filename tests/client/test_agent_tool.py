"""Agents as tools: shown live in the part of the call, and short in every prompt after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from chatrt import AgentChat, ChatAgent, SessionManager, agent_tool, create_app, tool
from chatrt.client import last_text_output
from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.stores import MemoryStore
from tests.client.family import Child, Family, calling, echo


def parts_of(message: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [part for part in message["parts"] if part["type"] == kind]


def said(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


async def test_growing_message_is_shown_live(family):
    """Each look at the sub-agent's message is a preliminary output of the call; the last one is its output."""
    child = Child()
    family.serve(calling("boss", [agent_tool("child", description="Helps.", every=0)]), child.agent)
    stream = family.chat("boss").send_message('child {"message": "help"}')
    child.say("one ", "two")
    seen: list[str] = []
    async for chunk in stream:
        if chunk["type"] == "tool-output-available":
            seen.append(("+" if chunk.get("preliminary") else "") + said(chunk["output"]))
            if seen[-1] == "+one two":
                child.end()
    assert seen[-1] == "one two"
    assert {"+one ", "+one two"} <= set(seen)
    assert child.heard == ["help"]


async def test_final_message_is_kept(family):
    """The parent's history has the sub-agent's whole message as the output of the call, once."""
    family.serve(calling("boss", [agent_tool("echo", description="Repeats.")]), echo())
    chat = family.chat("boss")
    await chat.send_message('echo {"message": "hello"}').text()
    (part,) = parts_of((await chat.messages())[-1], "tool-echo")
    (kid,) = await family.children()
    assert part["state"] == "output-available"
    assert "preliminary" not in part
    assert part["output"] == (await family.chat("echo", kid).messages())[-1]


async def test_model_is_given_the_last_text_in_every_turn(family):
    """The model gets the last text of the sub-agent, in the turn of the call and in those after it."""
    requests: list[Any] = []
    family.serve(calling("boss", [agent_tool("echo", description="Repeats.")], requests), echo())
    chat = family.chat("boss")
    assert await chat.send_message('echo {"message": "hello"}').text() == "got hello (1)"
    await chat.send_message('echo {"message": "again"}').text()
    outputs = [
        part["output"]
        for request in (requests[1], requests[2])
        for message in request.messages
        if message["role"] == "tool"
        for part in message["content"]
    ]
    assert outputs == [{"type": "text", "value": "hello (1)"}] * 2


async def test_conversations_have_names(family):
    """A named conversation goes on with the next call of that name; a call without a name begins a new one."""
    family.serve(calling("boss", [agent_tool("echo", description="Repeats.")]), echo())
    chat = family.chat("boss")
    answers = [
        await chat.send_message(said).text()
        for said in (
            'echo {"message": "a", "conversation": "x"}',
            'echo {"message": "b", "conversation": "y"}',
            'echo {"message": "c", "conversation": "x"}',
            'echo {"message": "d"}',
            'echo {"message": "e"}',
        )
    ]
    assert answers == ["got a (1)", "got b (1)", "got c (3)", "got d (1)", "got e (1)"]


async def test_one_conversation_for_all_calls(family):
    """With a key of its own the tool has one conversation, and the model is not asked for names."""
    helper = agent_tool("echo", description="Repeats.", key="main")
    family.serve(calling("boss", [helper]), echo())
    chat = family.chat("boss")
    assert await chat.send_message('echo {"message": "a"}').text() == "got a (1)"
    assert await chat.send_message('echo {"message": "b"}').text() == "got b (3)"
    assert list(helper.input_schema["properties"]) == ["message"]


@pytest.mark.parametrize("given", ["{}", '{"message": ""}', '{"message": 3}', '{"message": "x", "conversation": 1}'])
async def test_input_that_is_none(family, given):
    """An input without a text is refused; nothing is asked."""
    family.serve(calling("boss", [agent_tool("echo", description="Repeats.")]), echo())
    chat = family.chat("boss")
    await chat.send_message(f"echo {given}").result()
    assert await family.children() == []


async def test_failing_sub_agent_fails_the_call(family):
    """A sub-agent whose turn fails makes the call an error; the parent goes on, and what was said was seen."""
    child = Child()
    child.say("half", "boom")
    family.serve(calling("boss", [agent_tool("child", description="Helps.", every=0)]), child.agent)
    chat = family.chat("boss")
    stream = chat.send_message('child {"message": "help"}')
    shown = [said(chunk["output"]) async for chunk in stream if chunk.get("preliminary")]
    message = (await chat.messages())[-1]
    assert shown[-1] == "half"
    assert parts_of(message, "tool-child")[0]["state"] == "output-error"
    assert stream.status == "completed"


async def test_agent_that_is_not_served(family):
    """An agent that nobody serves makes the call an error that the model reads."""
    family.serve(calling("boss", [agent_tool("nobody", description="Not there.")]))
    text = await family.chat("boss").send_message('nobody {"message": "x"}').text()
    assert "nobody" in text


async def test_name_of_the_tool():
    """The tool is called like the agent, or as it is told."""
    assert agent_tool(ChatAgent("a.b"), description="").name == "a-b"
    assert agent_tool("a", name="ask_a", description="Asks.").name == "ask_a"


# --- what the model is given


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "x"}]}, "x"),
        ({"id": "m", "role": "assistant", "parts": []}, "The agent ended without saying anything."),
        (None, "The agent ended without saying anything."),
    ],
)
def test_last_text_output(output, text):
    """`last_text_output` gives the last text of a message, and says so when there is none."""
    assert last_text_output("call", {}, output) == {"type": "text", "value": text}


# --- how often


class Pages:
    """Reads snapshots one at a time."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages
        self.waiting: asyncio.Task[Any] | None = None

    def ask(self) -> asyncio.Task[Any]:
        self.waiting = asyncio.ensure_future(anext(self._messages))
        return self.waiting


async def test_pace_of_snapshots(family):
    """With `every`, what comes within the pause is shown together after it, and the last message comes at the end."""
    clock, child = ManualClock(), Child()
    family.serve(child.agent, clock=clock, lease_ttl=1e9)
    pages = Pages(family.chat("child", "kid").send_message("x").messages(every=5.0))
    first = await pages.ask()
    assert said(first) == ""
    child.say("one ", "two ", "three")
    session = await family.sessions.get_session("kid")
    async for batch in session.outbox.read(0):
        if any(b"three" in record.body for record in batch):
            break
    second = pages.ask()
    await asyncio.wait({second}, timeout=0)
    assert not second.done()
    clock.advance(5.0)
    assert said(await second) == "one two three"
    child.end()
    assert said(await pages.ask()) == "one two three"
    with pytest.raises(StopAsyncIteration):
        await pages.ask()


async def test_pace_does_not_hold_back_the_end(family):
    """The end of the turn is not waited out: a short answer costs no pause."""
    child = Child()
    child.say("word")
    child.end()
    family.serve(child.agent, clock=ManualClock(), lease_ttl=1e9)
    messages = [m async for m in family.chat("child", "kid").send_message("x").messages(every=1e6)]
    assert said(messages[-1]) == "word"
    assert len(messages) <= 2


# --- over HTTP


@pytest.fixture
async def elsewhere(serve: Callable[..., Any]) -> Any:
    """A server of its own with the agents `child` and `echo`: its family, its URL, and the child."""
    child = Child()
    app = create_app([child.agent, echo()], store=MemoryStore())
    client = await serve(app)
    family = Family(app.state.sessions.store)
    family.sessions = app.state.sessions
    async with AsyncExitStack() as stack:
        stack.push_async_callback(app.state.sessions.aclose, grace=0.0)
        yield family, str(client.base_url), child


async def test_sub_agent_on_another_server(family, elsewhere):
    """An agent of another server is a tool like any other, and its named conversations last as well."""
    _, url, _ = elsewhere
    family.serve(calling("boss", [agent_tool("echo", description="Repeats.", key="k", base_url=url)]))
    chat = family.chat("boss")
    assert await chat.send_message('echo {"message": "a"}').text() == "got a (1)"
    assert await chat.send_message('echo {"message": "b"}').text() == "got b (3)"


async def test_stop_reaches_another_server(family, elsewhere):
    """A stop of the parent stops the turn it asked for on another server."""
    there, url, child = elsewhere
    family.serve(calling("boss", [agent_tool("child", description="Helps.", key="k", base_url=url)]))
    chat = family.chat("boss")
    stream = await chat.send_message('child {"message": "help"}')
    await child.began.wait()
    await chat.stop()
    assert (await stream.result()).status == "stopped"
    (kid,) = [row.key.chat_id async for row in there.sessions.iter_sessions()]
    assert await there.stops(kid) == [1]
    assert await there.settled(kid) == "stopped"


async def test_chain_over_http(serve):
    """Agents that ask one another over HTTP are refused as well where the chain gets too long."""
    urls: list[str] = []

    @tool
    async def deeper() -> str:
        async with AgentChat("boss", base_url=urls[0]) as chat:
            return await chat.send_message("deeper {}").text()

    app = create_app(calling("boss", [deeper]), store=MemoryStore())
    sessions: SessionManager = app.state.sessions
    sessions.max_depth = 3
    client = await serve(app)
    urls.append(str(client.base_url))
    async with AgentChat("boss", base_url=urls[0]) as chat:
        assert "chain of 3" in await chat.send_message("deeper {}").text()
    assert len([row async for row in sessions.iter_sessions()]) == 4
    await sessions.aclose(grace=0.0)


async def test_close_with_the_turn_outside_of_a_turn():
    """Outside of runs there are no sub-agents."""
    with pytest.raises(UsageError):
        _ = [m async for m in agent_tool("a", description="").body({"message": "x"}, _Context())]  # type: ignore[misc]


class _Context:
    tool_call_id = "call"
