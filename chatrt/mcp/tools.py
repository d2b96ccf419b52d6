"""The tools of an MCP server as tools of an agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, overload

from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED, INVALID_REQUEST, REQUEST_TIMEOUT
from mcp.types import Tool as MCPTool

from chatrt.clock import Clock, SystemClock
from chatrt.errors import ToolError, ToolServerUnavailableError, UsageError
from chatrt.events import ToolsEvent
from chatrt.mcp.connection import Connection, Place, is_place, name_of
from chatrt.mcp.results import check_prefix, name_tools, to_model_output, to_output
from chatrt.tools import Effect, NeedsApproval, Tool, ToolContext

logger = logging.getLogger("chatrt.mcp")

SESSION_GONE = "Session terminated"
"""What the package's client calls a 404 for a session: the server forgot it and has not looked at the request."""


def mcp_tools(
    server: Place,
    *,
    prefix: str = "",
    name: str | None = None,
    select: Callable[[MCPTool], bool] | None = None,
    needs_approval: bool | Callable[[MCPTool], NeedsApproval] = False,
    effect: Effect | Callable[[MCPTool], Effect] = "unsafe",
    headers: Mapping[str, str] | None = None,
    connect_timeout: float = 15.0,
    call_timeout: float = 120.0,
    clock: Clock | None = None,
) -> MCPTools:
    """Return the tools of an MCP server, for `async with` or as the tools of an agent.

    Args:
        server: A URL (streamable HTTP), a command with its arguments or `mcp.StdioServerParameters` (stdio), an
            `MCPServer` or `Server` of this process, a function that returns a new transport of the package `mcp`, or a
            connected `mcp.Client`, which then is not closed here and cannot be connected again.
        prefix: Begins the name of each tool, so that several servers do not get into each other's way.
        name: What to call the server in errors that models and people read; its host or program if left out.
        select: Which of the server's tools to take; all if left out.
        needs_approval: Whether calls need approval: one answer for all, or a function of the server's description of a
            tool that gives what `Tool.needs_approval` takes. Annotations in that description are the server's word.
        effect: What carrying out a call twice does: one answer for all, or a function of the server's description.
        headers: Sent with each HTTP request.
        connect_timeout: Seconds for connecting, and for listing the tools.
        call_timeout: Seconds for a call.
        clock: Time, for tests.

    Raises:
        UsageError: If `server` is nothing of that kind, or `prefix` cannot begin a name.
    """
    if not is_place(server):
        raise UsageError(f"{server!r} is no place where an MCP server can be")
    if headers and not isinstance(server, str):
        raise UsageError("headers are for a server that is named by its URL")
    return MCPTools(
        server,
        prefix=check_prefix(prefix),
        name=name or name_of(server),
        select=select or (lambda _: True),
        needs_approval=needs_approval,
        effect=effect if callable(effect) else _always(effect),
        headers=dict(headers or {}),
        connect_timeout=connect_timeout,
        call_timeout=call_timeout,
        clock=clock or SystemClock(),
    )


def _always(effect: Effect) -> Callable[[MCPTool], Effect]:
    return lambda _definition: effect


class MCPTools(Sequence[Tool]):
    """The tools of an MCP server, as it has them at the moment. Made by `mcp_tools`.

        async with mcp_tools(["uvx", "weather-server"]) as tools:
            agent = ChatAgent("support", tools=tools)

    It is a sequence of tools that follows the server: what is listed after a change are the new tools. As the tools of
    an agent it need not be entered: it connects with the first turn, and stays connected until `aclose` or the end of
    the event loop.

    A call whose caller is cancelled is cancelled in the server. When the server is lost, running calls fail with a
    `ToolServerUnavailableError`, which says so to the model, and the next use connects again. A call that may have
    reached the server is never repeated.
    """

    def __init__(
        self,
        server: Place,
        *,
        prefix: str,
        name: str,
        select: Callable[[MCPTool], bool],
        needs_approval: bool | Callable[[MCPTool], NeedsApproval],
        effect: Callable[[MCPTool], Effect],
        headers: dict[str, str],
        connect_timeout: float,
        call_timeout: float,
        clock: Clock,
    ) -> None:
        self._server = server
        self._prefix = prefix
        self._name = name
        self._select = select
        self._needs_approval = needs_approval
        self._effect = effect
        self._headers = headers
        self._connect_timeout = connect_timeout
        self._call_timeout = call_timeout
        self._clock = clock
        self._tools: tuple[Tool, ...] | None = None
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._listing = asyncio.Lock()
        self._stale = False
        self._closing: set[asyncio.Task[None]] = set()
        self._refreshing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"MCPTools({self._name!r}, {'not connected' if self._tools is None else f'{len(self._tools)} tools'})"

    # --- the sequence

    @overload
    def __getitem__(self, index: int) -> Tool: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tool]: ...
    def __getitem__(self, index: int | slice) -> Tool | Sequence[Tool]:
        return self._known()[index]

    def __len__(self) -> int:
        return len(self._known())

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._known())

    def _known(self) -> tuple[Tool, ...]:
        if self._tools is None:
            raise UsageError(
                f"the tools of the MCP server {self._name} are not known yet: use `async with`, or `await .refresh()`, "
                "or let a ChatAgent have them as its tools"
            )
        return self._tools

    # --- life

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ToolServerUnavailableError: If the server cannot be reached or does not list its tools.
        """
        await self._get_connection()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. What uses the tools after that connects again."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
        if self._connection is not None:
            await self._connection.aclose()
            self._connection = None
        if self._closing:
            await asyncio.wait(self._closing)

    async def __call__(self, event: ToolsEvent) -> Sequence[Tool]:
        """Return the tools for a turn. A server that is away just now is no reason to fail if its tools are known.

        Raises:
            ToolServerUnavailableError: If the server was never reached, and cannot be.
        """
        del event
        try:
            await self._get_connection()
        except ToolServerUnavailableError:
            if self._tools is None:
                raise
        return self._known()

    async def refresh(self) -> Sequence[Tool]:
        """List the server's tools again and return them; servers that tell of changes need no asking.

        Raises:
            ToolServerUnavailableError: If the server cannot be reached or does not list its tools.
        """
        connection = await self._get_connection()
        await self._list(connection)
        return self._known()

    # --- the connection

    async def _get_connection(self) -> Connection:
        async with self._connecting:
            connection = self._connection
            if connection is not None and not connection.lost:
                return connection
            if connection is not None:
                self._drop(connection)
                if isinstance(self._server, Client):
                    raise ToolServerUnavailableError(self._name, "its connection broke off")
            connection = Connection(
                self._server, name=self._name, headers=self._headers, on_change=self._on_change, clock=self._clock
            )
            await connection.open(self._connect_timeout)
            try:
                await self._list(connection)
            except BaseException:
                await connection.aclose()
                raise
            self._connection = connection
            if self._stale:
                self._on_change()
            return connection

    def _drop(self, connection: Connection) -> None:
        """Let go of a connection; closing it (a program may have to be killed) is not waited for."""
        connection.end()
        if self._connection is connection and not isinstance(self._server, Client):
            self._connection = None
        task = asyncio.create_task(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _list(self, connection: Connection) -> None:
        try:
            async with self._listing:
                self._stale = False
                found = [tool for tool in await connection.list_tools(self._connect_timeout) if self._select(tool)]
                self._tools = tuple(self._to_tool(name, tool) for name, tool in name_tools(found, self._prefix).items())
        except (MCPError, TimeoutError) as error:
            raise ToolServerUnavailableError(self._name, "it does not list its tools") from error

    def _on_change(self) -> None:
        self._stale = True
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        while self._stale and self._connection is not None:
            try:
                await self._list(self._connection)
            except ToolServerUnavailableError as error:
                logger.warning("the tools stay as they were: %s", error)

    # --- calls

    def _to_tool(self, name: str, definition: MCPTool) -> Tool:
        async def execute(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
            del context
            return await self._call(definition.name, arguments)

        asks = self._needs_approval
        return Tool.from_schema(
            name,
            definition.description or definition.title or "",
            definition.input_schema,
            execute,
            needs_approval=asks(definition) if callable(asks) else asks,
            effect=self._effect(definition),
            to_model_output=to_model_output,
            dynamic=True,
        )

    async def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool of the server.

        Raises:
            ToolServerUnavailableError: If the server cannot be reached, or is lost before it answers.
            ToolError: If the tool fails, or the server refuses the call or answers with something else.
        """
        connection = await self._get_connection()
        try:
            return await self._send(connection, name, arguments)
        except _SessionGoneError:
            self._drop(connection)
        connection = await self._get_connection()
        try:
            return await self._send(connection, name, arguments)
        except _SessionGoneError as error:
            raise ToolServerUnavailableError(self._name, "it forgets its sessions") from error

    async def _send(self, connection: Connection, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            result = await connection.client.call_tool(name, arguments, read_timeout_seconds=self._call_timeout)
        except MCPError as error:
            match error.code:
                case _ if error.code == CONNECTION_CLOSED:
                    self._drop(connection)
                    reason = "the connection broke off; the call may have been carried out"
                    raise ToolServerUnavailableError(self._name, reason) from error
                case _ if error.code == REQUEST_TIMEOUT:
                    raise ToolError(f"{name} did not answer within {self._call_timeout:g} seconds") from error
                case _ if error.code == INVALID_REQUEST and error.message == SESSION_GONE:
                    raise _SessionGoneError from error
                case _:
                    raise ToolError(error.message) from error
        except Exception as error:
            logger.warning("the MCP server %s answered a call of %s unusably", self._name, name, exc_info=error)
            raise ToolError(f"the MCP server {self._name} answered with something unusable") from error
        return to_output(result)


class _SessionGoneError(Exception):
    """The server has forgotten the session; the call was not looked at."""
