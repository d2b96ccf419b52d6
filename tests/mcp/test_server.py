"""Agents as an MCP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from mcp import Client
from mcp.client._memory import InMemoryTransport
from mcp.types import CallToolResult
from starlette.applications import Starlette
from starlette.routing import Mount

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.mcp import mcp_server, mcp_tools
from chatrt.runtime import SessionManager
from chatrt.server import create_app
from chatrt.stores import MemoryStore
from chatrt.testing.playbook import playbook
from tests.runtime.driver import Gate


@dataclass
class Desk:
    """A client of an MCP server with two agents: the playbook, and one that waits at a gate in its answer."""

    client: Client
    sessions: SessionManager
    gate: Gate

    async def call(self, tool: str, /, **arguments: Any) -> CallToolResult:
        return await self.client.call_tool(tool, arguments)

    async def get(self, tool: str, /, **arguments: Any) -> Any:
        """Call a tool and return its structured content."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, text(result)
        return result.structured_content

    async def fail(self, tool: str, /, **arguments: Any) -> str:
        """Call a tool that fails and return what it says."""
        result = await self.call(tool, **arguments)
        assert result.is_error
        return text(result)

    async def start(self, agent: str = "playbook") -> str:
        return (await self.get("start_chat", agent=agent))["chatId"]

    async def say(self, chat_id: str, said: str, agent: str = "playbook") -> Any:
        return await self.get("send_message", chatId=chat_id, text=said, agent=agent)


def text(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


def gated(gate: Gate) -> ChatAgent:
    async def run(turn: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "before "}
        await gate.wait()
        yield {"type": "text-delta", "id": "t", "delta": "after"}
        yield {"type": "text-end", "id": "t"}

    return ChatAgent("gated", run=run)


@pytest.fixture(params=["in-process", "over-http"])
async def desk(request: pytest.FixtureRequest, serve: Callable[..., Any]) -> AsyncIterator[Desk]:
    """Agents in this process, or behind a chatrt server; what is tested with it holds for both."""
    gate = Gate()
    app = create_app([playbook, gated(gate)], store=MemoryStore())
    sessions = app.state.sessions
    agents = {"playbook": "Answers by the book.", "gated": ""}
    if request.param == "over-http":
        server = mcp_server(agents, base_url=str((await serve(app)).base_url))
    else:
        server = mcp_server(agents, sessions=sessions)
    connected: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:
        # In a task of its own: a client must be left by the task that entered it, and fixtures end in another one.
        async with Client(InMemoryTransport(server)) as client:
            connected.set_result(client)
            await done.wait()

    holding = asyncio.create_task(hold())
    yield Desk(await connected, sessions, gate)
    done.set()
    await holding
    await sessions.aclose(grace=0.0)


# --- what there is


async def test_six_tools(desk):
    """The server has six tools, each with schemas of what it takes and gives, camelCase as all JSON of chatrt."""
    tools = {tool.name: tool for tool in (await desk.client.list_tools()).tools}
    assert list(tools) == ["list_agents", "start_chat", "send_message", "stop", "get_messages", "close_chat"]
    assert set(tools["send_message"].input_schema["properties"]) == {"chatId", "text", "agent"}
    assert tools["send_message"].input_schema["required"] == ["chatId", "text"]
    assert "pendingToolCalls" in tools["send_message"].output_schema["properties"]


async def test_tools_say_what_they_change(desk):
    """Reading is told from writing, and closing from everything else."""
    tools = (await desk.client.list_tools()).tools
    assert [tool.name for tool in tools if tool.annotations.read_only_hint] == ["list_agents", "get_messages"]
    assert [tool.name for tool in tools if tool.annotations.destructive_hint] == ["close_chat"]


async def test_agents_are_listed(desk):
    """`list_agents` names the agents and what each is for."""
    assert await desk.get("list_agents") == {
        "agents": [{"id": "playbook", "description": "Answers by the book."}, {"id": "gated", "description": ""}]
    }


# --- chats


async def test_an_answer_is_text(desk):
    """`send_message` gives the agent's answer as text, and structured with its chat and status."""
    chat = await desk.start()
    result = await desk.call("send_message", chatId=chat, text="echo hello", agent="playbook")
    assert text(result) == "hello"
    assert result.structured_content == {"chatId": chat, "text": "hello", "status": "completed", "pendingToolCalls": []}


async def test_a_chat_remembers(desk):
    """A second message finds the first exchange in the history."""
    chat = await desk.start()
    await desk.say(chat, "echo one")
    assert (await desk.say(chat, "history"))["text"] == "3"


async def test_a_chat_has_the_id_that_was_asked_for(desk):
    """`start_chat` takes an id, and starting the same chat again is no mistake."""
    for _ in range(2):
        started = await desk.get("start_chat", agent="playbook", chatId="order 7")
        assert started == {"chatId": "order 7", "agent": "playbook"}


async def test_the_chat_is_an_ordinary_one(desk):
    """What is said over MCP is a chat as any other: an `AgentChat` goes on with it."""
    chat_id = await desk.start()
    await desk.say(chat_id, "echo one")
    async with AgentChat("playbook", id=chat_id, sessions=desk.sessions) as chat:
        assert await chat.send_message("history").text() == "3"


async def test_progress_is_the_text_as_it_grows(desk):
    """Who asks for progress hears the answer while it is given: the messages, joined, are its text.

    The agent goes on only when its first word was heard.
    """
    chat = await desk.start("gated")
    heard: list[str] = []
    steps: list[float] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)
        heard.append(message or "")
        if "".join(heard) == "before ":
            desk.gate.opened.set()

    result = await desk.client.call_tool(
        "send_message", {"chatId": chat, "text": "Go.", "agent": "gated"}, progress_callback=listen
    )

    assert text(result) == "before after"
    assert "".join(heard) == "before after"
    assert steps == sorted(set(steps))


async def test_a_stopped_answer_is_what_was_said(desk):
    """`stop` ends the answer; `send_message` gives what there is and says that it was stopped."""
    chat = await desk.start("gated")
    sending = asyncio.create_task(desk.call("send_message", chatId=chat, text="Go.", agent="gated"))
    await desk.gate.reached.wait()

    assert await desk.get("stop", chatId=chat) == {"stopped": True}

    result = await sending
    assert result.structured_content["status"] == "stopped"
    assert result.content[0].text == "before "
    assert '"stopped"' in result.content[1].text


async def test_nothing_to_stop(desk):
    """`stop` says so when no answer is being given."""
    assert await desk.get("stop", chatId=await desk.start()) == {"stopped": False}


async def test_who_gives_up_does_not_stop_the_answer(desk):
    """A cancelled `send_message` leaves the agent at its answer, which is found in the messages later."""
    chat = await desk.start("gated")
    sending = asyncio.create_task(desk.call("send_message", chatId=chat, text="Go.", agent="gated"))
    await desk.gate.reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    desk.gate.opened.set()

    async with AgentChat("gated", id=chat, sessions=desk.sessions) as watching:
        stream = await watching.reconnect()
        if stream is not None:
            await stream.text()
    messages = (await desk.get("get_messages", chatId=chat))["messages"]
    assert messages[-1]["text"] == "before after"


async def test_messages_are_read(desk):
    """`get_messages` gives the newest messages, their texts and tool calls, and how many there are."""
    chat = await desk.start()
    await desk.say(chat, "echo one")
    await desk.say(chat, "tool 2+3")

    found = await desk.get("get_messages", chatId=chat, limit=2)

    assert found["total"] == 4
    assert [(message["role"], message["text"]) for message in found["messages"]] == [
        ("user", "tool 2+3"),
        ("assistant", "5"),
    ]
    assert found["messages"][1]["toolCalls"] == [{"toolName": "add", "state": "output-available"}]


async def test_a_chat_that_is_not_there_has_no_messages(desk):
    """Reading a chat that nobody began gives nothing."""
    assert await desk.get("get_messages", chatId="nothing") == {"messages": [], "total": 0}


async def test_a_closed_chat_takes_no_messages(desk):
    """`close_chat` ends a chat for good."""
    chat = await desk.start()
    assert await desk.get("close_chat", chatId=chat) == {"closed": True}
    assert "[session-closed]" in await desk.fail("send_message", chatId=chat, text="echo x", agent="playbook")
    assert await desk.get("close_chat", chatId="nothing") == {"closed": False}


async def test_a_call_that_waits_for_a_person_is_told(desk):
    """A tool call that needs approval is told and stays open: no tool of this server approves it."""
    chat = await desk.start()
    result = await desk.call("send_message", chatId=chat, text="approve bob", agent="playbook")
    (pending,) = result.structured_content["pendingToolCalls"]
    assert (pending["toolName"], pending["input"], pending["needsApproval"]) == ("send_email", {"to": "bob"}, True)
    assert "send_email" in result.content[1].text


# --- failures


async def test_a_failed_turn_is_an_error_that_gives_nothing_away(desk):
    """An exception in the agent is an error with a code; its text stays in the log."""
    failure = await desk.fail("send_message", chatId=await desk.start(), text="fail", agent="playbook")
    assert "[internal-error" in failure
    assert "boom-secret" not in failure


async def test_which_agent_must_be_said(desk):
    """With several agents one is named; the error lists them."""
    assert "playbook, gated" in await desk.fail("start_chat")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"agent": "nobody"}, "[agent-not-found]"),
        ({"agent": "playbook", "chatId": "x" * 300}, "[invalid-input]"),
        ({"agent": 3}, "agent: Input should be a valid string"),
        ({"agents": "playbook"}, "agents: Extra inputs are not permitted"),
    ],
)
async def test_wrong_arguments_are_explained(desk, arguments: dict[str, Any], told: str):
    """Arguments that do not fit are answered with what is wrong with them, for the model to mend."""
    assert told in await desk.fail("start_chat", **arguments)


async def test_another_agents_chat(desk):
    """A chat belongs to the agent it was begun with."""
    chat = await desk.start()
    failure = await desk.fail("send_message", chatId=chat, text="x", agent="gated")
    assert "[agent-mismatch]" in failure


async def test_an_unknown_tool(desk):
    """A tool that is not there is answered with those that are."""
    assert "close_chat" in await desk.fail("open_chat")


async def test_a_server_that_is_away():
    """When the chatrt server behind it cannot be reached, the MCP server says so."""
    server = mcp_server(["a"], base_url="http://127.0.0.1:9", timeout=0.0)
    async with Client(server) as client:
        result = await client.call_tool("start_chat", {})
    assert result.is_error
    assert "[server-unavailable]" in text(result)


@pytest.mark.parametrize("agents", [None, [], {}])
def test_a_server_needs_agents(agents: Any):
    """Behind a URL the agents are named: nothing there lists them."""
    with pytest.raises(UsageError, match="needs agents"):
        mcp_server(agents, base_url="http://127.0.0.1:9")


def test_agents_must_be_served():
    """Agents that the session manager does not serve are a mistake, found before anybody talks to them."""
    with pytest.raises(UsageError, match="nobody"):
        mcp_server(["playbook", "nobody"], sessions=SessionManager(playbook))


@pytest.mark.parametrize("options", [{}, {"sessions": SessionManager(playbook), "base_url": "http://127.0.0.1:9"}])
def test_there_is_one_way_to_the_agents(options: dict[str, Any]):
    """Either a session manager or a URL is given."""
    with pytest.raises(UsageError, match="either"):
        mcp_server(["playbook"], **options)


# --- one agent, and over HTTP


async def test_one_agent_need_not_be_named():
    """With one agent, that is the one; the agents of a session manager need not be named either."""
    async with SessionManager(playbook) as sessions, Client(mcp_server(sessions=sessions)) as client:
        chat = (await client.call_tool("start_chat", {})).structured_content["chatId"]
        assert text(await client.call_tool("send_message", {"chatId": chat, "text": "echo hello"})) == "hello"


async def test_progress_is_told_at_most_ten_times_a_second():
    """What is said between two notifications comes with the next one, or with the last one before the result."""
    heard: list[str | None] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    clock = ManualClock()  # its hands do not move: no tenth of a second goes by
    async with SessionManager(playbook) as sessions, Client(mcp_server(sessions=sessions, clock=clock)) as client:
        chat = (await client.call_tool("start_chat", {})).structured_content["chatId"]
        arguments = {"chatId": chat, "text": "count 5"}
        await client.call_tool("send_message", arguments, progress_callback=listen)
    assert len(heard) == 2
    assert "".join(message or "" for message in heard) == "w0 w1 w2 w3 w4 "


async def test_over_streamable_http(serve):
    """The server is served over HTTP as the package `mcp` does it."""
    async with SessionManager(playbook) as sessions:
        http = await serve(mcp_server(sessions=sessions).streamable_http_app())
        async with Client(f"{http.server.base_url}/mcp") as client:
            chat = (await client.call_tool("start_chat", {})).structured_content["chatId"]
            assert text(await client.call_tool("send_message", {"chatId": chat, "text": "echo hello"})) == "hello"


async def test_mounted_under_another_application(serve):
    """An application that keeps the session manager of the package open mounts the server beside its own routes."""
    async with SessionManager(playbook) as sessions:
        server = mcp_server(sessions=sessions)
        mounted = Mount("/tools", server.streamable_http_app(streamable_http_path="/"))
        http = await serve(Starlette(routes=[mounted], lifespan=lambda app: server.session_manager.run()))
        async with Client(f"{http.server.base_url}/tools/") as client:
            assert (await client.call_tool("list_agents")).structured_content["agents"]


async def test_an_agent_uses_another_over_mcp():
    """The two sides fit together: an agent's tools may be another agent."""
    async with SessionManager(playbook) as sessions, mcp_tools(mcp_server(sessions=sessions), prefix="desk_") as tools:
        assert [tool.name for tool in tools][:2] == ["desk_list_agents", "desk_start_chat"]
