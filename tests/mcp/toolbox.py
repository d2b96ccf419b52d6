"""An MCP server whose tools a test chooses, and the wires to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import MCPError
from mcp.server import Server
from mcp.server.runner import serve_loop
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import METHOD_NOT_FOUND, CallToolResult, ListToolsResult, RequestParams, TextContent, Tool

Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class Toolbox:
    """A real MCP server.

    Attributes:
        server: The server of the package `mcp`.
        calls: The tools that were called, in order.
        lists: How often the tools were listed.
    """

    def __init__(self, *, legacy: bool = False) -> None:
        self.calls: list[str] = []
        self.lists = 0
        self._tools: dict[str, tuple[Tool, Handler]] = {}
        self._bus = InMemorySubscriptionBus()
        self._sessions: list[ServerSession] = []
        self.legacy = legacy
        self.server: Server[Any] = Server(
            "toolbox",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=None if legacy else ListenHandler(self._bus),
        )
        if legacy:
            # Without it a client falls back to the handshake of protocol versions before 2026-07-28.
            self.server.add_request_handler("server/discover", RequestParams, self._refuse)

    def add(self, name: str, handler: Handler, **fields: Any) -> None:
        schema = {"type": "object", "properties": {}}
        self._tools[name] = (Tool(name=name, **{"input_schema": schema, **fields}), handler)

    async def remove(self, name: str) -> None:
        """Remove a tool and tell who listens."""
        del self._tools[name]
        await self.tell()

    async def tell(self) -> None:
        if not self.legacy:
            await self._bus.publish(ToolsListChanged())
        for session in self._sessions:
            await session.send_tool_list_changed()

    async def _list(self, context: Any, params: Any) -> ListToolsResult:
        self.lists += 1
        if self.legacy and context.session not in self._sessions:
            self._sessions.append(context.session)
        # One tool a page, so that pages are always read on.
        names = list(self._tools)
        start = int(params.cursor) if params is not None and params.cursor else 0
        following = str(start + 1) if start + 1 < len(names) else None
        return ListToolsResult(tools=[self._tools[name][0] for name in names[start : start + 1]], next_cursor=following)

    async def _call(self, context: Any, params: Any) -> CallToolResult:
        self.calls.append(params.name)
        found = self._tools.get(params.name)
        if found is None:
            raise MCPError(-32602, f"unknown tool {params.name}")
        result = await found[1](params.arguments or {})
        return result if isinstance(result, CallToolResult) else CallToolResult(content=[TextContent(text=str(result))])

    async def _refuse(self, context: Any, params: Any) -> Any:
        raise MCPError(METHOD_NOT_FOUND, "no such method")


@dataclass
class Hanging:
    """A tool that answers when it is told to, and knows whether its call was cancelled."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, arguments: dict[str, Any]) -> str:
        self.started.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "late"


async def echo(arguments: dict[str, Any]) -> str:
    return arguments["text"]


ECHO: dict[str, Any] = {
    "description": "Say it again.",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


class Plug:
    """Makes transports to a server in this process, and can pull them.

    Attributes:
        made: How many transports were made.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._writers: list[Any] = []
        self.made = 0

    @asynccontextmanager
    async def __call__(self) -> Any:
        self.made += 1
        async with create_client_server_memory_streams() as (ours, theirs), anyio.create_task_group() as group:
            self._writers.append(theirs[1])
            group.start_soon(self._serve, *theirs)
            yield ours
            group.cancel_scope.cancel()

    async def _serve(self, read: Any, write: Any) -> None:
        server = self._toolbox.server
        options = server.create_initialization_options()
        if self._toolbox.legacy:
            async with server.lifespan(server) as state:
                await serve_loop(server, read, write, lifespan_state=state, init_options=options)
        else:
            await server.run(read, write, options)

    async def pull(self) -> None:
        for writer in self._writers:
            await writer.aclose()
