"""The command line as a process: started, spoken to, ended."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

REPOSITORY = Path(__file__).parents[2]

AGENT = """
from chatrt.agent import ChatAgent

hello = ChatAgent("hello", run=lambda turn: "hello from the file")
"""


def free_port() -> int:
    """A port below the range from which the system gives ports to clients."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@dataclass
class Finished:
    """How a process ended."""

    code: int
    out: str
    err: str


@dataclass
class Chatrt:
    """Runs `chatrt` in a folder of its own."""

    folder: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CHATRT_")}
        return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error", **extra}

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chatrt.cli",
            *arguments,
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> Finished:
        process = await self.start(*arguments, **environment)
        out, err = await process.communicate(stdin.encode())
        return Finished(process.returncode or 0, out.decode(), err.decode())

    async def serve(
        self, *arguments: str, port: int | None = None, command: str = "serve", **environment: str
    ) -> tuple[Any, str]:
        """Start a server and return its process and URL when it answers."""
        port = port or free_port()
        process = await self.start(command, *arguments, "--port", str(port), **environment)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as http:
            while process.returncode is None:
                try:
                    if (await http.get(f"{url}/healthz")).is_success:
                        return process, url
                except httpx.TransportError:
                    await asyncio.wait({asyncio.create_task(process.wait())}, timeout=0.05)
        raise AssertionError((await process.stderr.read()).decode())


@pytest.fixture
async def chatrt(tmp_path: Path) -> AsyncIterator[Chatrt]:
    """The command line in an empty folder, but for `agent_file.py`."""
    (tmp_path / "agent_file.py").write_text(AGENT)
    runner = Chatrt(tmp_path)
    yield runner
    for process in runner.processes:
        with suppress(ProcessLookupError):
            # The whole group: a child that outlived its parent would hold the pipes, and reading them would never end.
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
