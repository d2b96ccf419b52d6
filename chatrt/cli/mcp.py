"""`chatrt mcp`: agents as an MCP server over standard input and output, for programs that start such servers."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, redirect_stdout, suppress
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.cli.target import load
from chatrt.errors import UsageError
from chatrt.runtime import SessionManager


def run(options: argparse.Namespace) -> int:
    """Serve until standard input ends or a signal comes.

    Raises:
        UsageError: If it is not clear what to serve, or the package `mcp` is not installed.
        StoreError: If the store cannot be opened.
    """
    if (options.target is None) == (options.url is None):
        raise UsageError("say what to serve: a target, or --url and --agent")
    if options.url is not None and not options.agent:
        raise UsageError("--url needs --agent, the id of an agent; more than once for several")
    # A target may make an application, which then warns of how it would be served. Nothing is served over HTTP here.
    logging.getLogger("chatrt.server").setLevel(logging.ERROR)
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    opened = _remote(options) if options.url is not None else _local(options)
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # where the loop has no signals, they end the program
            asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with opened as server:
        serving = asyncio.create_task(_serve(server))
        waiting = asyncio.create_task(told.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if serving.done():
            serving.result()
    if not serving.done():
        # A thread waits for the next line of standard input. Nobody can wake it, and Python would wait for it.
        sys.stderr.flush()
        os._exit(0)
    return 0


async def _serve(server: Any) -> None:
    from mcp.server.stdio import stdio_server  # an optional package

    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


@asynccontextmanager
async def _remote(options: argparse.Namespace) -> AsyncGenerator[Any]:
    token = os.environ.get("CHATRT_SECRET_KEY") or None
    yield _to_server(options.agent, base_url=options.url, token=token)


@asynccontextmanager
async def _local(options: argparse.Namespace) -> AsyncGenerator[Any]:
    # Standard output belongs to the protocol; what a target prints when it is imported does not go there.
    with redirect_stdout(sys.stderr):
        agents = load(options.target).agents
    chosen = _choose(agents, options.target, options.agent)
    async with SessionManager(agents, options.store or "memory://") as sessions:
        yield _to_server(chosen, sessions=sessions)


def _choose(agents: list[ChatAgent], target: str, wanted: list[str] | None) -> list[str]:
    known = [agent.id for agent in agents]
    if not known:
        raise UsageError(f"{target} does not say which agents it serves: name an agent, or serve it and use --url")
    for name in wanted or ():
        if name not in known:
            raise UsageError(f"{target} has no agent {name!r}; it has {', '.join(known)}")
    return wanted or known


def _to_server(agents: list[str], **options: Any) -> Any:
    try:
        from chatrt.mcp import mcp_server  # an optional package
    except ImportError as error:
        raise UsageError(str(error)) from error
    return mcp_server(agents, **options)
