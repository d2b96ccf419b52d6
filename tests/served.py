"""A served application in a process of its own, which tests may kill and start again on the same port and store."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
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
    """`chatrt serve` in a process of its own, which can be killed and started again on the same port and store.

    Args:
        target: What is served.
        folder: Where its log is, and its store if the environment names none.
        prefix: A command that runs the server: that of a network namespace, a tracer, ...
        env: More of its environment.
    """

    def __init__(self, target: str, folder: Path, *, prefix: Sequence[str] = (), **env: str) -> None:
        self._command = [*prefix, sys.executable, "-m", "chatrt.cli", "serve", target]
        self._env = {
            **os.environ,
            "CHATRT_STORE": f"sqlite:///{folder / 'chat.db'}",
            "CHATRT_HOST": "127.0.0.1",
            "CHATRT_PORT": str(free_port()),
            **env,
        }
        for name in {"CHATRT_SECRET_KEY", "CHATRT_MODEL"} - env.keys():
            self._env.pop(name, None)
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.store = self._env["CHATRT_STORE"]
        self.port = int(self._env["CHATRT_PORT"])
        self.url = f"http://{self._env['CHATRT_HOST']}:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        self.spawn()
        self.wait_until_ready()

    def spawn(self) -> None:
        """Start and do not wait."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._env, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        assert self._process is not None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                httpx.get(f"{self.url}/readyz").raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.02)
            else:
                return
        pytest.fail(f"the server did not start:\n{self.log()}")

    @property
    def process_id(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait_until_dead(self) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        self._process.wait(START_SECONDS)

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

    def send_signal(self, what: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(what)

    def log(self) -> str:
        """Return what it printed."""
        return self._log.read_text()
