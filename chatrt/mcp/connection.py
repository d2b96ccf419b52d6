"""A connection to an MCP server, held open by a task of its own.

The package's clients live in the task that entered them: what goes wrong in a transport cancels that task. Here this is
a task that does nothing else, so a broken server ends a connection and not the turn that happened to use it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import Context
from types import TracebackType
from typing import Any, Self, cast

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.server import MCPServer, Server
from mcp.types import METHOD_NOT_FOUND, Implementation, Tool, ToolListChangedNotification

from chatrt import __version__
from chatrt.clock import Clock
from chatrt.errors import ToolServerUnavailableError, UsageError

logger = logging.getLogger("chatrt.mcp")

Place = str | Sequence[str] | StdioServerParameters | MCPServer | Server[Any] | Client | Callable[[], Transport]
"""Where an MCP server is: a URL, a command, a server in this process, a connected client, or what makes a transport."""

MAX_PAGES = 100
LISTEN_AGAIN_SECONDS = 5.0
HTTP_TIMEOUT = httpx2.Timeout(30, read=300)


class Connection:
    """One connection, from `open` to `aclose` or to the moment it is lost.

    Attributes:
        name: What to call the server in texts that people read.
    """

    def __init__(
        self, place: Place, *, name: str, headers: dict[str, str], on_change: Callable[[], None], clock: Clock
    ) -> None:
        self.name = name
        self._place = place
        self._headers = headers
        self._on_change = on_change
        self._clock = clock
        self._client: Client | None = None
        self._failure: Exception | None = None
        self._settled = asyncio.Event()
        self._end = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._end.is_set()

    @property
    def client(self) -> Client:
        """The client, once `open` has returned."""
        assert self._client is not None
        return self._client

    async def open(self, timeout: float) -> None:
        """Connect.

        Raises:
            ToolServerUnavailableError: If that fails or takes more than `timeout` seconds.
        """
        # A context of its own: the connection belongs to no turn.
        self._holder = asyncio.create_task(self._hold(), context=Context())
        try:
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        except TimeoutError:
            await self.aclose()
            raise ToolServerUnavailableError(self.name, f"it did not answer within {timeout:g} seconds") from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if self._client is None:
            logger.warning("the MCP server %s cannot be reached", self.name, exc_info=self._failure)
            raise ToolServerUnavailableError(self.name, "it cannot be reached") from self._failure

    def end(self) -> None:
        """Begin to close it."""
        self._end.set()

    async def aclose(self) -> None:
        """Close it and wait until nothing of it is left."""
        self._end.set()
        if self._holder is not None:
            if self._client is None:
                self._holder.cancel()
            await asyncio.wait({self._holder})

    async def list_tools(self, timeout: float) -> list[Tool]:
        """Ask the server for all its tools.

        Raises:
            MCPError: If it refuses, or the connection is lost.
            TimeoutError: If it takes more than `timeout` seconds.
        """
        tools: list[Tool] = []
        cursor: str | None = None
        async with asyncio.timeout(timeout):
            for _ in range(MAX_PAGES):
                page = await self.client.list_tools(cursor=cursor, cache_mode="refresh")
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
        return tools

    # --- inside

    async def _hold(self) -> None:
        try:
            async with self._connect() as client:
                self._client = client
                self._settled.set()
                listening = asyncio.create_task(self._listen(client))
                try:
                    await self._end.wait()
                finally:
                    self._end.set()
                    listening.cancel()
                    await asyncio.wait({listening})
        except Exception as error:
            self._failure = error
            if self._client is not None:
                logger.info("the connection to the MCP server %s broke off", self.name, exc_info=error)
        finally:
            self._end.set()
            self._settled.set()

    def _connect(self) -> AbstractAsyncContextManager[Client]:
        if isinstance(self._place, Client):
            return nullcontext(self._place)
        return Client(
            _to_server(self._place, self._headers, self._end.set),
            message_handler=self._take_message,
            client_info=Implementation(name="chatrt", version=__version__),
        )

    async def _take_message(self, message: Any) -> None:
        """Hear of changes from servers that tell them unasked: protocol versions before 2026-07-28."""
        if isinstance(message, ToolListChangedNotification):
            self._on_change()

    async def _listen(self, client: Client) -> None:
        """Hear of changes from servers that must be asked to tell them."""
        capability = client.server_capabilities.tools
        while capability is not None and capability.list_changed:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    self._on_change()  # nobody listened until now
                    async for _ in changes:
                        self._on_change()
            except ListenNotSupportedError:
                return
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND:
                    return
            except (SubscriptionLost, TimeoutError):
                logger.debug("the MCP server %s stopped telling of changes", self.name)
            await self._clock.sleep(LISTEN_AGAIN_SECONDS)


def is_place(value: object) -> bool:
    """Whether a server can be there at all."""
    if isinstance(value, str):
        return value.startswith(("http://", "https://"))
    if isinstance(value, Sequence):
        parts = cast("Sequence[object]", value)
        return bool(parts) and all(isinstance(part, str) for part in parts)
    return callable(value) or isinstance(value, StdioServerParameters | MCPServer | Server | Client)


def name_of(place: Place) -> str:
    """Return a name for a server that gives no secret away: a host, a program, what a server calls itself."""
    match place:
        case str():
            return httpx2.URL(place).host
        case StdioServerParameters():
            return place.command.rpartition("/")[2]
        case MCPServer() | Server():
            return place.name
        case [str(command), *_]:
            return command.rpartition("/")[2]
        case _:
            return "mcp"


def _to_server(place: Place, headers: dict[str, str], on_end: Callable[[], None]) -> Any:
    """Return what a `Client` takes."""
    match place:
        case MCPServer() | Server():
            return place
        case str():
            return _noticing_end(_open_http(place, headers), on_end)
        case StdioServerParameters():
            return _noticing_end(stdio_client(place), on_end)
        case [str(command), *arguments]:
            return _noticing_end(stdio_client(StdioServerParameters(command=command, args=arguments)), on_end)
        case _ if callable(place):
            return _noticing_end(place(), on_end)
        case _:
            raise UsageError(f"{place!r} is no place where an MCP server can be")


@asynccontextmanager
async def _open_http(url: str, headers: dict[str, str]) -> AsyncGenerator[Any]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=HTTP_TIMEOUT) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


@asynccontextmanager
async def _noticing_end(transport: AbstractAsyncContextManager[Any], on_end: Callable[[], None]) -> AsyncGenerator[Any]:
    async with transport as (read, write):
        yield _EndNoticed(read, on_end), write


class _EndNoticed:
    """A read stream that tells when it has ended: a server that died between two calls is then known to be dead."""

    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    @property
    def last_context(self) -> Context | None:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        try:
            return await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._on_end()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
