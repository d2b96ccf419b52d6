"""`AgentChat` of @chatrt/client/server, in Node.js, against the playbook."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
KEY = "the-secret-key-of-these-tests-0123456789"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Play = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server(start_server):
    """A playbook that asks for its key, as servers have it."""
    return start_server("chatrt.testing.playbook:app", CHATRT_SECRET_KEY=KEY)


@pytest.fixture
def play(node, server) -> Play:
    """Run a scenario and return what came of it; `ask` is what happens when it asks for something."""

    def run(scenario: str, ask: Callable[[], None] | None = None) -> dict[str, Any]:
        command, env = [node, "agent_chat.mjs", scenario, server.url], {**os.environ, "SECRET_KEY": KEY}
        with subprocess.Popen(command, cwd=HERE, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said = json.loads(line)
                if "ask" in said:
                    assert ask is not None
                    ask()
                else:
                    assert "failed" not in said, said
                    return said["result"]
        pytest.fail("it said nothing")

    return run


def test_an_answer_is_read_in_four_ways(play):
    """As a text, as chunks, as a result and as a growing message; the chat holds it all."""
    seen = play("read")
    assert seen["text"] == "one"
    assert seen["chunks"] == ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]
    assert seen["result"]["text"] == "5"
    [made] = seen["result"]["toolCalls"]
    assert (made["toolName"], made["input"]) == ("add", {"a": 2, "b": 3})
    assert [result["output"] for result in seen["result"]["toolResults"]] == [5]
    assert seen["result"]["status"] == "completed"
    assert seen["snapshots"][-1] == "w0 w1 w2 w3 w4 "
    assert len(seen["snapshots"]) > 5
    assert seen["messages"][-2:] == ["count 5", "w0 w1 w2 w3 w4 "]
    assert seen["cursor"]


def test_an_answer_is_read_once(play):
    """A stream is sent once, and read in one way."""
    assert play("once-only") == {"seq": 1, "text": "one", "again": "usage"}


def test_a_failed_turn(play):
    """A result has the failure; a text throws it, with the turn's code and id; the chat goes on."""
    seen = play("fail")
    assert seen["status"] == "failed"
    assert seen["code"] == "internal-error"
    assert seen["thrown"] == {"name": "ChatrtError", "code": "internal-error", "hasId": True}
    assert seen["after"] == "on"


def test_tool_calls_are_answered(play):
    """Outputs and approvals continue the same message; an unknown call is refused before anything is sent."""
    seen = play("tools")
    assert (seen["call"], seen["finish"]) == ("ask_user", "tool-calls")
    assert seen["answered"] == "answer: blue"
    assert seen["results"] == []  # the client settled that call, not the turn
    assert (seen["sent"], seen["denied"]) == ("sent", "not sent")
    assert seen["unknown"] == "usage"
    assert seen["left"] == []


def test_actions_and_branches(play):
    """Actions change the history or are refused with a code; branches are named and switched."""
    seen = play("actions")
    assert seen["undone"] == ["echo one", "one"]
    assert seen["refused"] == "message-not-found"
    assert seen["again"] == "one"
    assert seen["versions"] == 2
    assert seen["back"]
    assert seen["missing"] == "message-not-found"


def test_a_running_turn(play):
    """Stop, steer, edit, withdraw and reconnect while a turn runs; where none runs they say so."""
    seen = play("running")
    assert seen["idle"] == [False, False, None, []]
    assert seen["steered"] is True
    assert seen["pending"] == ["echo steered", "echo edited"]
    assert seen["stopped"] is True
    assert seen["statuses"] == ["stopped", "stopped", "completed", "withdrawn"]
    assert seen["said"] == [True, True, True, False]
    assert seen["edited"] == "edited"


def test_the_session(play):
    """A chat is preloaded, written to and closed; then it refuses, and an agent that nobody serves is told."""
    seen = play("session")
    assert seen == {"before": False, "closed": True, "refused": "session-closed", "other": "agent-not-found"}


def test_a_server_that_dies_in_the_middle(play, server):
    """The answer of a turn whose server died says so, and the next message is answered."""

    def kill() -> None:
        server.kill()
        server.start()

    seen = play("killed", kill)
    assert seen["status"] == "interrupted"
    assert seen["after"] == "on"
