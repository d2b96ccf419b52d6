"""Fixtures of the end-to-end tests: real servers in processes of their own, and Node.js to run real clients."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_SECONDS = 30


def free_port() -> int:
    """Return a port that nobody listens on, below the ones the system hands out by itself."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """`chatrt serve` in a process of its own, which can be killed and started again on the same port and store."""

    def __init__(self, target: str, folder: Path, **env: str) -> None:
        self._command = [sys.executable, "-m", "chatrt.cli", "serve", target]
        self._env = {
            **os.environ,
            **env,
            "CHATRT_STORE": f"sqlite:///{folder / 'chat.db'}",
            "CHATRT_HOST": "127.0.0.1",
            "CHATRT_PORT": str(free_port()),
        }
        self._env.pop("CHATRT_SECRET_KEY", None)
        self._env.pop("CHATRT_MODEL", None)
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._env['CHATRT_PORT']}"

    def start(self) -> None:
        """Start and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                httpx.get(f"{self.url}/readyz").raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.02)
            else:
                return
        pytest.fail(f"the server did not start:\n{self.log()}")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it in good order; returns its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def log(self) -> str:
        """Return what it printed."""
        return self._log.read_text()


Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start servers; they are stopped at the end of the module."""
    servers: list[Server] = []

    def start(target: str, **env: str) -> Server:
        server = Server(target, tmp_path_factory.mktemp("server"), **env)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node.js, with the published packages installed; without them these tests fail, they do not hide."""
    found = shutil.which("node")
    assert found, "Node.js is needed: apt-get install nodejs npm"
    assert (HERE / "node_modules" / "ai-v7").is_dir(), "the npm packages are needed: npm ci --prefix tests/e2e"
    return found


def last_json(output: str) -> dict[str, Any]:
    """Return the last line of a script's output as JSON."""
    lines = output.strip().splitlines()
    assert lines, "the script printed nothing"
    return json.loads(lines[-1])
