"""Tools of MCP servers as tools of agents."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.errors import InvalidToolInputError, ToolError, ToolServerUnavailableError, UsageError
from chatrt.generate import stream_text
from chatrt.mcp import MCPTools, mcp_tools
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.runtime import SessionManager
from chatrt.tools import ToolContext, tool_map
from tests.mcp.toolbox import ECHO, Hanging, Plug, Toolbox, echo

STDIO_SERVER = [sys.executable, str(Path(__file__).parent / "stdio_server.py")]


def context(name: str = "t") -> ToolContext:
    return ToolContext(tool_call_id="c1", tool_name=name)


async def use(tools: MCPTools, tool: str, /, **arguments: Any) -> Any:
    """Call a tool as the loop does."""
    return await tool_map(tools)[tool].execute(arguments, context(tool))


def names(tools: MCPTools) -> list[str]:
    return [tool.name for tool in tools]


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until something holds."""
    while not condition():
        await asyncio.sleep(0)


async def others() -> None:
    """Let others notice what has happened."""
    for _ in range(50):
        await asyncio.sleep(0)


# --- by every way


async def test_tools_are_those_of_the_server(reached):
    """Each tool of the server is a tool with its name, description and schema, all pages of them; clients see it as dynamic."""
    reached.toolbox.add("second", reached.toolbox.tell)
    async with reached.tools() as tools:
        first = tools[0]
        assert names(tools) == ["echo", "second"]
        assert first.description == "Say it again."
        assert first.input_schema["required"] == ["text"]
        assert first.dynamic


async def test_a_call_gives_the_result(reached):
    """The output of a call is the result as the protocol has it, and the model reads its text."""
    async with reached.tools() as tools:
        output = await use(tools, "echo", text="hello")
        assert output == {"content": [{"type": "text", "text": "hello"}]}
        assert tools[0].to_model_output("c1", {}, output) == {"type": "text", "value": "hello"}


async def test_structured_content_is_kept(reached):
    """A structured result is part of the output, what is null in it too."""

    async def weigh(arguments: dict[str, Any]) -> CallToolResult:
        return CallToolResult(content=[TextContent(text="2 kg")], structured_content={"kg": 2, "note": None})

    reached.toolbox.add("weigh", weigh)
    async with reached.tools() as tools:
        assert (await use(tools, "weigh"))["structuredContent"] == {"kg": 2, "note": None}


async def test_a_failing_tool_raises(reached):
    """What a server marks as an error raises a `ToolError` with the server's text."""

    async def fail(arguments: dict[str, Any]) -> CallToolResult:
        return CallToolResult(content=[TextContent(text="No such order.")], is_error=True)

    reached.toolbox.add("fail", fail)
    async with reached.tools() as tools:
        with pytest.raises(ToolError, match=r"^No such order\.$"):
            await use(tools, "fail")


async def test_a_refused_call_raises(reached):
    """An error of the protocol raises a `ToolError` with the server's text; the connection stays."""
    reached.toolbox.add("gone", reached.toolbox.tell)
    async with reached.tools() as tools:
        gone = tool_map(tools)["gone"]
        await reached.toolbox.remove("gone")
        with pytest.raises(ToolError, match="unknown tool gone"):
            await gone.execute({}, context())
        assert await use(tools, "echo", text="still here")


async def test_a_cancelled_call_is_cancelled_in_the_server(reached):
    """Cancelling who waits for a call reaches the server; the connection stays."""
    hanging = Hanging()
    reached.toolbox.add("hang", hanging)
    async with reached.tools() as tools:
        calling = asyncio.create_task(use(tools, "hang"))
        await hanging.started.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await hanging.cancelled.wait()
        assert await use(tools, "echo", text="still here")


async def test_tools_follow_the_server(reached):
    """When the server tells of a change, the sequence has the new tools."""
    reached.toolbox.add("old", reached.toolbox.tell)
    async with reached.tools() as tools:
        reached.toolbox.add("new", reached.toolbox.tell)
        await reached.toolbox.remove("old")
        await until(lambda: "old" not in names(tools))
        assert names(tools) == ["echo", "new"]


async def test_a_call_has_its_time(reached):
    """A call that takes longer than `call_timeout` raises a `ToolError` and is cancelled in the server."""
    hanging = Hanging()
    reached.toolbox.add("hang", hanging)
    async with reached.tools(call_timeout=0.2) as tools:
        with pytest.raises(ToolError, match=r"hang did not answer within 0\.2 seconds"):
            await use(tools, "hang")
        await hanging.cancelled.wait()


async def test_calls_run_side_by_side(reached):
    """A call does not wait for another one."""
    hanging = Hanging()
    reached.toolbox.add("hang", hanging)
    async with reached.tools() as tools:
        calling = asyncio.create_task(use(tools, "hang"))
        await hanging.started.wait()
        await use(tools, "echo", text="meanwhile")
        hanging.opened.set()
        assert (await calling)["content"][0]["text"] == "late"


async def test_one_task_enters_and_another_leaves(reached):
    """The connection belongs to no task: a start-up hook may open it and a shutdown hook close it."""
    tools = reached.tools()
    await asyncio.create_task(tools.__aenter__())
    await asyncio.create_task(use(tools, "echo", text="x"))
    await asyncio.create_task(tools.aclose())
    assert reached.toolbox.calls == ["echo"]


# --- options


async def test_a_prefix_begins_each_name(toolbox):
    """Tools of several servers are told apart by a prefix; the server is called by its own names."""
    async with mcp_tools(toolbox.server, prefix="shop_") as tools:
        assert names(tools) == ["shop_echo"]
        await use(tools, "shop_echo", text="x")
        assert toolbox.calls == ["echo"]


@pytest.mark.parametrize("prefix", ["a b", "ä", "x" * 33])
def test_a_prefix_that_cannot_begin_a_name_is_a_mistake(toolbox, prefix: str):
    """A prefix is made of what names are made of and leaves room for one."""
    with pytest.raises(UsageError, match="no prefix"):
        mcp_tools(toolbox.server, prefix=prefix)


async def test_tools_are_selected(toolbox):
    """`select` sees the server's description of each tool and leaves out those it does not want."""
    toolbox.add("other", toolbox.tell)
    async with mcp_tools(toolbox.server, select=lambda tool: tool.name == "other") as tools:
        assert names(tools) == ["other"]


async def test_approval_for_all(toolbox):
    """`needs_approval=True` asks for each call."""
    async with mcp_tools(toolbox.server, needs_approval=True) as tools:
        assert (await tools[0].approval({}, context())).kind == "ask"


async def test_approval_by_tool(toolbox):
    """A function of the server's description of a tool says whether its calls need approval."""
    toolbox.add("read", toolbox.tell, annotations=ToolAnnotations(read_only_hint=True))

    def policy(tool: Any) -> Any:
        if tool.annotations and tool.annotations.read_only_hint:
            return False
        return lambda arguments, context: arguments["text"] == "dangerous"

    async with mcp_tools(toolbox.server, needs_approval=policy) as tools:
        decided = [
            (await tools[0].approval({"text": "dangerous"}, context())).kind,
            (await tools[0].approval({"text": "harmless"}, context())).kind,
            (await tools[1].approval({}, context())).kind,
        ]
    assert decided == ["ask", "none", "none"]


async def test_arguments_are_checked_before_they_are_sent(toolbox):
    """A call without a required argument does not reach the server."""
    async with mcp_tools(toolbox.server) as tools:
        with pytest.raises(InvalidToolInputError, match="missing: text"):
            await use(tools, "echo")
    assert toolbox.calls == []


async def test_headers_are_sent(toolbox, serve):
    """Headers go along with each HTTP request."""
    seen: list[str | None] = []
    app = toolbox.server.streamable_http_app()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]).get(b"authorization"))
        await app(scope, receive, send)

    client = await serve(watched)
    async with mcp_tools(f"{client.server.base_url}/mcp", headers={"Authorization": "Bearer k"}) as tools:
        await use(tools, "echo", text="x")
    assert set(seen) == {b"Bearer k"}


@pytest.mark.parametrize("place", [None, 3, "ftp://example.com", "server.py", [], [1]])
def test_what_is_no_server_is_refused_at_once(place: Any):
    """A place where no server can be is a mistake of the program."""
    with pytest.raises(UsageError, match="no place"):
        mcp_tools(place)


def test_headers_belong_to_urls(toolbox):
    """Headers for a server that is not spoken to over HTTP are a mistake."""
    with pytest.raises(UsageError, match="headers"):
        mcp_tools(toolbox.server, headers={"a": "b"})


def test_unknown_tools_are_not_no_tools(toolbox):
    """Looking at the tools before anybody connected is a mistake, not an empty list."""
    with pytest.raises(UsageError, match="not known yet"):
        list(mcp_tools(toolbox.server))


# --- a connected client


async def test_a_connected_client_is_used_and_not_closed(toolbox):
    """A client that the application connected serves calls, and stays connected."""
    async with Client(toolbox.server) as client:
        async with mcp_tools(client) as tools:
            await use(tools, "echo", text="x")
        assert (await client.call_tool("echo", {"text": "y"})).content


async def test_a_connected_client_is_not_connected_again(toolbox):
    """When the connection of the application's client is lost, calls say so."""
    plug = Plug(toolbox)
    async with Client(plug()) as client, mcp_tools(client) as tools:
        await plug.pull()
        for _ in range(2):
            with pytest.raises(ToolServerUnavailableError):
                await use(tools, "echo", text="x")
    assert plug.made == 1


# --- with agents


async def test_a_model_calls_a_tool(toolbox):
    """`stream_text` offers the tools, runs the call and shows the model what came of it; chunks are dynamic."""
    model = ScriptedModel([call(tool_call("echo", {"text": "hello"})), call(text("Done."))])
    async with mcp_tools(toolbox.server) as tools:
        stream = stream_text(model, [{"role": "user", "content": "Go."}], tools=tools)
        chunks = [chunk async for chunk in stream]

    output = next(chunk for chunk in chunks if chunk["type"] == "tool-output-available")
    assert output["dynamic"] is True
    assert model.requests[1].messages[-1]["content"][0]["output"] == {"type": "text", "value": "hello"}


async def test_a_model_sees_images(toolbox):
    """An image in a result is shown to the model as one."""

    async def picture(arguments: dict[str, Any]) -> CallToolResult:
        return CallToolResult(content=[TextContent(text="See:"), ImageContent(data="AAAA", mime_type="image/png")])

    toolbox.add("picture", picture)
    model = ScriptedModel([call(tool_call("picture", {})), call(text("Nice."))])
    async with mcp_tools(toolbox.server) as tools:
        await stream_text(model, [{"role": "user", "content": "Go."}], tools=tools).text()

    assert model.requests[1].messages[-1]["content"][0]["output"] == {
        "type": "content",
        "value": [
            {"type": "text", "text": "See:"},
            {"type": "media", "data": "AAAA", "mediaType": "image/png"},
        ],
    }


async def test_an_agent_connects_with_its_first_turn(toolbox):
    """Given to an agent, the tools need not be entered; a later turn reads an earlier result as the model did."""
    script = [call(tool_call("echo", {"text": "hello"})), call(text("One.")), call(text("Two."))]
    model = ScriptedModel(script)
    tools = mcp_tools(toolbox.server)
    agent = ChatAgent("a", tools=tools, run=lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    async with SessionManager(agent, "memory://") as sessions, AgentChat(agent, sessions=sessions) as chat:
        await chat.send_message("Go.").text()
        await chat.send_message("And?").text()
        parts = (await chat.messages())[1]["parts"]
    await tools.aclose()

    assert [part["type"] for part in parts] == ["step-start", "dynamic-tool", "step-start", "text"]
    results = [row for row in model.requests[2].messages if row["role"] == "tool"]
    assert results[0]["content"][0]["output"] == {"type": "text", "value": "hello"}


async def test_an_agent_whose_server_was_never_there_fails(tmp_path):
    """A turn whose tools cannot be known fails."""
    agent = ChatAgent("a", tools=mcp_tools([str(tmp_path / "nothing")]), run=lambda turn: "hello")
    async with SessionManager(agent, "memory://") as sessions, AgentChat(agent, sessions=sessions) as chat:
        assert (await chat.send_message("Go.").result()).status == "failed"


# --- over stdio


async def test_a_program_is_started_and_ended():
    """A command is started, spoken to over its standard streams, and ended with the connection."""
    async with mcp_tools(STDIO_SERVER) as tools:
        pid = int((await use(tools, "pid"))["content"][0]["text"])
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


async def test_a_program_with_an_environment():
    """`StdioServerParameters` say more about a program: its environment, for instance."""
    place = StdioServerParameters(command=STDIO_SERVER[0], args=STDIO_SERVER[1:], env={"COLOUR": "blue"})
    async with mcp_tools(place) as tools:
        assert (await use(tools, "getenv", name="COLOUR"))["content"][0]["text"] == "blue"


async def test_a_program_that_dies_in_a_call():
    """The call fails and says that it may have been carried out; the next one starts the program again."""
    async with mcp_tools(STDIO_SERVER, name="wobbly") as tools:
        before = await use(tools, "pid")
        with pytest.raises(ToolServerUnavailableError, match=r"wobbly is not available.*may have been carried out"):
            await use(tools, "die")
        assert await use(tools, "pid") != before


async def test_a_program_that_dies_between_calls():
    """A program that is found dead is started again before the call, which does not fail."""
    async with mcp_tools(STDIO_SERVER) as tools:
        pid = int((await use(tools, "pid"))["content"][0]["text"])
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)
        await others()
        assert int((await use(tools, "pid"))["content"][0]["text"]) != pid


async def test_a_program_that_is_not_there(tmp_path):
    """A command that cannot be started is a server that cannot be reached; the error names it."""
    with pytest.raises(ToolServerUnavailableError, match="the MCP server nothing is not available"):
        await mcp_tools([str(tmp_path / "nothing")]).__aenter__()


async def test_a_program_that_is_no_server():
    """A command that ends without a word is a server that cannot be reached."""
    with pytest.raises(ToolServerUnavailableError, match="cannot be reached"):
        await mcp_tools(["true"]).__aenter__()


# --- lost servers


async def test_a_connection_lost_in_a_call(toolbox):
    """The running call fails; the tools stay known, and the next call connects again."""
    hanging = Hanging()
    toolbox.add("hang", hanging)
    plug = Plug(toolbox)
    async with mcp_tools(plug) as tools:
        calling = asyncio.create_task(use(tools, "hang"))
        await hanging.started.wait()
        await plug.pull()
        with pytest.raises(ToolServerUnavailableError):
            await calling
        assert names(tools) == ["echo", "hang"]
        assert await use(tools, "echo", text="again")
        assert plug.made == 2


async def test_a_lost_connection_is_not_used(toolbox):
    """A connection that ended while nobody used it is replaced before the next call; the call is sent once."""
    plug = Plug(toolbox)
    async with mcp_tools(plug) as tools:
        await plug.pull()
        await others()
        assert await use(tools, "echo", text="x")
    assert toolbox.calls == ["echo"]
    assert plug.made == 2


async def test_two_calls_connect_once(toolbox):
    """Calls that find the connection lost at the same time share the new one."""
    plug = Plug(toolbox)
    async with mcp_tools(plug) as tools:
        await plug.pull()
        await others()
        await asyncio.gather(use(tools, "echo", text="x"), use(tools, "echo", text="y"))
    assert plug.made == 2


async def test_new_tools_after_a_loss(toolbox):
    """Whoever connects again lists again."""
    plug = Plug(toolbox)
    async with mcp_tools(plug) as tools:
        await plug.pull()
        toolbox.add("new", toolbox.tell)
        assert names(tools) == ["echo"]
        await others()
        assert [tool.name for tool in await tools.refresh()] == ["echo", "new"]


async def test_a_server_that_says_nothing():
    """Connecting has its time."""

    @asynccontextmanager
    async def silence() -> Any:
        async with create_client_server_memory_streams() as (ours, _theirs):
            yield ours

    with pytest.raises(ToolServerUnavailableError, match=r"did not answer within 0\.1 seconds"):
        await mcp_tools(silence, connect_timeout=0.1).__aenter__()


async def test_a_forgotten_session_is_begun_anew(serve):
    """A server that forgot the session has not looked at the call: it is sent again in a new session."""
    toolbox = Toolbox(legacy=True)
    toolbox.add("echo", echo, **ECHO)
    app = toolbox.server.streamable_http_app()
    sessions: set[bytes] = set()
    forgotten: set[bytes] = set()

    async def forgetful(scope: Any, receive: Any, send: Any) -> None:
        session = dict(scope.get("headers", [])).get(b"mcp-session-id")
        if session in forgotten:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if session:
            sessions.add(session)
        await app(scope, receive, send)

    client = await serve(forgetful)
    async with mcp_tools(f"{client.server.base_url}/mcp") as tools:
        await use(tools, "echo", text="x")
        forgotten |= sessions
        await use(tools, "echo", text="y")
    assert toolbox.calls == ["echo", "echo"]
    assert len(sessions) == 2


class Restarted:
    """A server that is stopped and started on one port."""

    def __init__(self, make_app: Callable[[], Any]) -> None:
        self._make_app = make_app
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        config = uvicorn.Config(self._make_app(), log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        await until(lambda: self._server.started)

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._serving
        self._listener.close()


async def test_a_server_that_was_restarted(toolbox):
    """While a server is away its tools stay known and calls fail; when it is back they work."""
    server = Restarted(toolbox.server.streamable_http_app)
    await server.start()
    event: Any = None
    async with mcp_tools(f"http://127.0.0.1:{server.port}/mcp", name="shop") as tools:
        await use(tools, "echo", text="x")
        await server.stop()
        for _ in range(2):
            with pytest.raises(ToolServerUnavailableError, match="shop is not available"):
                await use(tools, "echo", text="y")
        assert [tool.name for tool in await tools(event)] == ["echo"]
        await server.start()
        assert await use(tools, "echo", text="z")
        await server.stop()
    assert toolbox.calls == ["echo", "echo"]


async def test_an_error_gives_no_address_away(toolbox):
    """What models and people read of a server that is away names its host, or the name it was given, and nothing else."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(ToolServerUnavailableError) as caught:
        await mcp_tools(f"http://user:secret@127.0.0.1:{port}/mcp?key=secret").__aenter__()
    assert str(caught.value) == "the MCP server 127.0.0.1 is not available: it cannot be reached"
