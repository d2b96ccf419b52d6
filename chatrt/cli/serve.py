"""`chatrt serve`: serve agents over HTTP until SIGTERM or Ctrl-C, then end in good order."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import threading
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

CONNECTIONS_GRACE = 2
"""Seconds that responses get to end once running turns have had their time."""

LAST_SECONDS = 1.0
"""How long application code that does not heed its end may keep a process whose store is closed."""

HURRY_SECONDS = 1.0
"""How long the end may take after a second signal."""


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
    # uvicorn raises a signal again after its own end, to whatever handled it before: ending was what it asked for. One
    # that comes before uvicorn listens to signals is remembered.
    early = _EarlySignal()
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, early)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        try:
            code = runner.run(_serve(GracefulServer(config, app, options.grace, early), app, config, metrics_port))
        except SystemExit:
            code = 1  # uvicorn leaves this way when the port is taken, and has said so
        # Everything is stored and closed. What does not end when it is cancelled does not keep the process.
        last = threading.Timer(LAST_SECONDS, os._exit, (code,))
        last.daemon = True
        last.start()
    last.cancel()
    return code


def _read_retention(options: argparse.Namespace) -> Retention | None:
    times = (options.delete_closed_after, options.delete_idle_after, options.delete_records_after)
    if times == (None, None, None):
        return None
    closed, idle, records = (None if days is None else timedelta(days=days) for days in times)
    return Retention(closed_after=closed, idle_after=idle, records_after=records)


async def _serve(server: GracefulServer, app: Any, config: uvicorn.Config, metrics_port: int | None) -> int:
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


class _EarlySignal:
    """Remembers a signal that came before anybody could act on it."""

    came = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.came = True


class GracefulServer(uvicorn.Server):
    """A server that lets running turns end before it goes.

    Open streams end at a record boundary, no new work is taken, chats that wait are left to other processes at once.
    Turns get `grace` seconds; what is still running then is cancelled and taken up by others, or by the next start. A
    second signal cuts that short. While turns end, requests that come in are answered, new work with 503.
    """

    def __init__(self, config: uvicorn.Config, app: Any, grace: float, early: _EarlySignal) -> None:
        super().__init__(config)
        self._state = getattr(app, "state", None)
        self._grace = grace
        self._early = early
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, unless a signal has come already."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.should_exit = self.should_exit or self._early.came

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in good order; asked a second time, now."""
        if self.should_exit and self._loop is not None:
            self.force_exit = True
            self._loop.call_soon_threadsafe(self._hurry)
        super().handle_exit(sig, frame)

    def _hurry(self) -> None:
        sessions = getattr(self._state, "sessions", None)
        if sessions is not None:
            sessions.hurry()
        # Application code may not end when it is told to. All that was acknowledged is stored.
        asyncio.get_running_loop().call_later(HURRY_SECONDS, os._exit, 0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then shut down as always, also when something broke on the way."""
        aclose = getattr(self._state, "aclose", None)
        try:
            if aclose is not None and hasattr(self._state, "sessions"):
                await aclose(grace=self._grace)
        finally:
            await super().shutdown(sockets)
