"""Every client against the same agent: what a person sees does not depend on which one is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "matrix"
COUNTED = "".join(f"w{number} " for number in range(150))

EXPECTED: dict[str, Any] = {
    "send": ["echo Hello, world", "Hello, world"],
    "second-turn": ["echo one", "one", "history", "3"],
    "server-tool": {"text": "5", "name": "add", "input": {"a": 2, "b": 3}, "output": 5},
    "client-tool": {
        "input": {"question": "Which colour?"},
        "texts": ["ask Which colour?", "answer: blue", "history", "3"],
    },
    "approved": {"input": {"to": "Ada"}, "texts": ["approve Ada", "sent", "history", "3"]},
    "denied": {"input": {"to": "Ada"}, "texts": ["approve Ada", "not sent", "history", "3"]},
    "failure": {"failed": True, "leaked": False, "last": "after"},
    "stop": {"last": "after", "kept": True},
    "resume": COUNTED,
}
CLIENTS = {
    "stock 5": ["node", "run.mjs", "stock", "5"],
    "stock 6": ["node", "run.mjs", "stock", "6"],
    "stock 7": ["node", "run.mjs", "stock", "7"],
    "chatrt, ai 5": ["node", "run.mjs", "ours", "5"],
    "chatrt, ai 6": ["node", "run.mjs", "ours", "6"],
    "chatrt, ai 7": ["node", "run.mjs", "ours", "7"],
    "chatrt, AgentChat": ["node", "run.mjs", "agent_chat_ts", ""],
    "Trigger.dev, AgentChat": ["node", "run.mjs", "trigger_agent", ""],
    "AG-UI, HttpAgent": ["node", "run.mjs", "ag_ui", ""],
    "Trigger.dev, ai 5": ["node", "run.mjs", "trigger", "5"],
    "Trigger.dev, ai 6": ["node", "run.mjs", "trigger", "6"],
    "Trigger.dev, ai 7": ["node", "run.mjs", "trigger", "7"],
    "AgentChat (Python)": [sys.executable, "-m", "tests.e2e.matrix.agent_chat"],
}
WITHOUT_APPROVALS = {"stock 5", "chatrt, ai 5", "Trigger.dev, ai 5"}

CELLS = [
    pytest.param(client, scenario, id=f"{client}-{scenario}")
    for client in CLIENTS
    for scenario in EXPECTED
    if not (client in WITHOUT_APPROVALS and scenario in ("approved", "denied"))
]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.xdist_group("matrix")]


@pytest.fixture(scope="module")
def url(start_server) -> str:
    """One playbook for all clients: each has chats of its own."""
    return start_server("chatrt.testing.playbook:app").url


@pytest.fixture(scope="module")
def saw(node, url):
    """What a client saw in every scenario; each client is run once."""
    runs: dict[str, dict[str, Any]] = {}

    def run(client: str) -> dict[str, Any]:
        if client not in runs:
            command = [node if word == "node" else word for word in CLIENTS[client]]
            cwd = HERE if command[0] == node else HERE.parents[2]
            done = subprocess.run([*command, url], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
            assert done.returncode == 0, done.stderr
            runs[client] = json.loads(done.stdout.splitlines()[-1])
        return runs[client]

    return run


@pytest.mark.parametrize(("client", "scenario"), CELLS)
def test_a_person_sees_the_same_with_every_client(saw, client, scenario):
    """A message, a tool, a question, an approval, a failure, a stop and a reload look alike in all clients."""
    seen = saw(client)[scenario]
    assert "failed" not in seen, seen["failed"]
    assert seen["saw"] == EXPECTED[scenario]
