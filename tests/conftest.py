"""What tests of several folders share: a real HTTP server on loopback, in the loop of the test."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import uvicorn

from chatrt.ids import RandomIds
from chatrt.testing import pytest_plugin
from tests.postgres import PostgresServer


def pytest_configure(config: pytest.Config) -> None:
    """Have the plugin of this checkout, also where another one is installed or none."""
    if not config.pluginmanager.is_registered(pytest_plugin):
        config.pluginmanager.register(pytest_plugin, "chatrt")


@pytest.fixture(autouse=True)
def as_loud_as_before() -> Iterator[None]:
    """Commands quiet the server's log for their own process, which here is that of all tests."""
    log = logging.getLogger("chatrt.server")
    level = log.level
    yield
    log.setLevel(level)


class LoopbackServer(uvicorn.Server):
    """Tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.base_url = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


async def run_server(app: Any, stack: AsyncExitStack) -> LoopbackServer:
    listener = socket.create_server(("127.0.0.1", 0))
    server = LoopbackServer(
        uvicorn.Config(app, log_level="critical", lifespan="auto", timeout_graceful_shutdown=3, access_log=False)
    )
    server.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(server.up.wait())
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    starting.cancel()

    async def shut_down() -> None:
        server.should_exit = True
        await serving

    if serving.done():
        await serving
    stack.push_async_callback(shut_down)
    return server


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[httpx.AsyncClient]]]:
    """Serve an ASGI application with uvicorn and return a client for it; `.server` is the uvicorn server."""
    async with AsyncExitStack() as stack:

        async def start(app: Any, **client_options: Any) -> httpx.AsyncClient:
            server = await run_server(app, stack)
            client = httpx.AsyncClient(base_url=server.base_url, timeout=20, **client_options)
            client.server = server  # type: ignore[attr-defined]
            return await stack.enter_async_context(client)

        yield start


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that tests share; those that hurt it start one of their own."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresServer, request: pytest.FixtureRequest) -> str:
    """An empty database of the module's own."""
    url = postgres.create_database(f"{request.module.__name__}_{RandomIds().new('db')}"[-60:])
    return f"{url}?timeout=30"  # what is tested there is not time, and a busy machine takes its own
