"""Fixtures of the end-to-end tests: real servers in processes of their own, and Node.js to run real clients."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.served import Server

HERE = Path(__file__).parent

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
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
