"""`chatrt serve`: serve agents over HTTP until SIGTERM or Ctrl-C, then end in good order."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from chatrt.cli.listen import check_exposure, check_port, read_options, to_app
from chatrt.cli.target import load
from chatrt.errors import UsageError
from chatrt.runtime import Retention
from chatrt.server.metrics import metrics_route

CONNECTIONS_GRACE = 3
"""Seconds that responses get to end once running turns have had their time."""


def run(options: argparse.Namespace) -> int:
    """Serve until a signal.

    Raises:
        UsageError: If the target cannot be served there.
        StoreError: If the store cannot be opened.
    """
    listening = read_options(options)
    target = load(options.target)
    app = to_app(target, playground=options.playground, retention=_read_retention(options))
    check_exposure(app, listening.host)
    metrics_port = None if options.metrics_port is None else check_port(str(options.metrics_port))
    config = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        log_level=listening.log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CONNECTIONS_GRACE,
    )
    # uvicorn raises a signal again after its own end, to whatever handled it before. Ending was what it asked for.
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, _ignore)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        try:
            return runner.run(_serve(app, config, options.grace, metrics_port))
        except SystemExit:
            return 1  # uvicorn leaves this way when the port is taken, and has said so


def _read_retention(options: argparse.Namespace) -> Retention | None:
    closed, idle = options.delete_closed_after, options.delete_idle_after
    if closed is None and idle is None:
        return None
    return Retention(
        closed_after=None if closed is None else timedelta(days=closed),
        idle_after=None if idle is None else timedelta(days=idle),
    )


async def _serve(app: Any, config: uvicorn.Config, grace: float, metrics_port: int | None) -> int:
    server = GracefulServer(config, app, grace)
    sessions = getattr(getattr(app, "state", None), "sessions", None)
    if sessions is not None:
        # Opened here first: a locked or broken store is then one sentence instead of a failed lifespan.
        await sessions.start()
    # What is here by now stays until the end: the garbage collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    async with _metrics_beside(app, config.host, metrics_port):
        await server.serve()
    return 0 if server.started else 1


@asynccontextmanager
async def _metrics_beside(app: Any, host: str, port: int | None) -> AsyncGenerator[None]:
    metrics = getattr(getattr(app, "state", None), "metrics", None)
    if port is None:
        yield
        return
    if metrics is None:
        raise UsageError("--metrics-port needs an application that create_app has made")
    config = uvicorn.Config(
        Starlette(routes=[metrics_route(metrics)]), host=host, port=port, log_level="warning", access_log=False
    )
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UsageError(f"--metrics-port {port}: {error.strerror}") from error
    server = _SilentServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


class _SilentServer(uvicorn.Server):
    """A server beside another one, which hears the signals for both."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """The signal did its work."""


class GracefulServer(uvicorn.Server):
    """A server that lets running turns end before it goes.

    Open streams end at a record boundary, no new work is taken, turns get `grace` seconds, and what is still running
    then is taken up by the next start.
    """

    def __init__(self, config: uvicorn.Config, app: Any, grace: float) -> None:
        super().__init__(config)
        self._state = getattr(app, "state", None)
        self._grace = grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then shut down as always."""
        drain = getattr(self._state, "drain", None)
        if drain is not None:
            drain()
        sessions = getattr(self._state, "sessions", None)
        if sessions is not None:
            await sessions.aclose(grace=self._grace)
        await super().shutdown(sockets)
