"""The published `HttpAgent` of `@ag-ui/client` 1.0, which checks every event and their order, against the playbook."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
COUNTED = "".join(f"w{number} " for number in range(60))

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Run = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def url(start_server) -> str:
    """One playbook for all scenarios: each has a thread of its own."""
    return start_server("chatrt.testing.playbook:app").url


@pytest.fixture
def run(node, url) -> Run:
    """Run a scenario and return what its agent saw."""

    def run(scenario: str) -> dict[str, Any]:
        script = [node, "ag_ui.mjs", scenario, url]
        done = subprocess.run(script, cwd=HERE, capture_output=True, text=True, timeout=100, check=False)
        return result_of(done.stdout, done.stderr)

    return run


def result_of(stdout: str, stderr: str) -> dict[str, Any]:
    lines = stdout.strip().splitlines()
    assert lines, stderr
    said = json.loads(lines[-1])
    assert "failed" not in said, said
    return said["result"]


def outcomes(seen: dict[str, Any]) -> list[str]:
    return [finished["outcome"] for finished in seen["finished"]]


def test_a_message_is_answered(run):
    """One message of the answer's own id, and a result that names it; nothing had to be stripped from any event."""
    seen = run("send")
    assert (seen["texts"], seen["roles"]) == (["Hello, world"], ["user", "assistant"])
    assert seen["added"] == [seen["result"]["messageId"]]
    assert seen["warnings"] == []


def test_a_second_message_finds_the_first(run):
    """The server keeps the history: the second turn sees three messages."""
    assert run("second-turn")["texts"] == ["one", "3"]


def test_two_threads_at_once_stay_apart(run):
    """Each has its own words, its own history, and ids that may hold anything."""
    seen = run("two-threads")
    assert [len(seen[name]["texts"][0].split()) for name in ("one", "two")] == [30, 20]
    assert [seen[name]["texts"][1] for name in ("one", "two")] == ["3", "3"]


def test_a_server_tool_shows_its_call_and_its_result(run):
    """The result stands behind the message that made the call."""
    seen = run("tool")
    assert seen["roles"] == ["user", "assistant", "tool", "assistant"]
    assert (seen["messages"][2]["content"], seen["texts"]) == ("5", ["5"])


def test_a_client_tool_is_answered(run):
    """The run names the open call, and the next one goes on."""
    seen = run("client_tool")
    assert seen["finished"][0]["pendingToolCallIds"] == [seen["call"]["id"]]
    assert seen["texts"] == ["answer: Because."]


def test_a_frontend_tool_is_called_and_answered(run):
    """What the page brought along is called with arguments that fit, and its result reaches the model."""
    seen = run("frontend_tool")
    assert json.loads(seen["call"]["function"]["arguments"]) == {"color": "red"}
    assert seen["texts"] == ['answer: {"painted":true}']


def test_a_frontend_tool_may_be_answered_along_with_the_next_message(run):
    """As front ends do that want no words about it; the server has the result then."""
    seen = run("frontend_tool_then_message")
    assert seen["texts"] == ["and now"]
    results = [message for message in seen["messages"] if message["role"] == "tool"]
    assert [(message["toolCallId"], message["content"]) for message in results] == [(seen["call"]["id"], "painted")]


@pytest.mark.parametrize(
    ("scenario", "said", "result"), [("approve", "sent", '{"sent":true}'), ("deny", "not sent", "denied")]
)
def test_an_approval_is_an_interrupt_that_is_answered(run, scenario, said, result):
    """The client holds it until it is resumed; the call is carried out or not."""
    seen = run(scenario)
    assert outcomes(seen) == ["interrupt", "success"]
    assert seen["asked"]["responseSchema"]["required"] == ["approved"]
    assert [message["content"] for message in seen["messages"] if message["role"] == "tool"] == [result]
    assert (seen["texts"], seen["interrupts"]) == ([said], [])


def test_an_interrupt_may_be_cancelled_by_going_on(run):
    """The client asks for an answer to each interrupt; a new message comes with a cancellation."""
    seen = run("cancel_and_go_on")
    assert (outcomes(seen), seen["texts"]) == (["interrupt", "success"], ["never mind"])


def test_an_approval_and_a_message_are_one_run(run):
    """The call is carried out and answered first."""
    assert run("approve_and_go_on")["texts"] == ["sent", "and more"]


def test_a_failure_is_told_and_the_thread_goes_on(run):
    """Its text is masked."""
    seen = run("fail")
    (error,) = seen["errors"]
    assert error["code"] == "internal-error"
    assert "boom-secret" not in json.dumps(seen)
    assert seen["texts"] == ["again"]


def test_a_refused_request_is_an_error_with_its_status(run):
    """Before the stream, with the body that says why."""
    seen = run("refused")
    assert (seen["status"], seen["payload"]["error"]["code"]) == (404, "agent-not-found")


def test_a_stop_cancels_the_run(run):
    """What was said is kept, and the thread goes on."""
    seen = run("stop")
    assert outcomes(seen) == ["cancelled", "success"]
    assert seen["texts"][0].startswith("w0 w1")
    assert seen["texts"][1] == "after"


def test_who_aborts_and_writes_again_does_not_wait(run):
    """`abortRun` only drops the connection: the abandoned turn is stopped when the next message comes."""
    seen = run("abort")
    assert seen["texts"][1] == "after"
    assert seen["took"] < 10_000


def test_data_come_by_name(run):
    """As they were written, and those that last once more to who connects."""
    seen = run("data")
    assert [(event["name"], event["value"]["data"]) for event in seen["custom"]] == [
        ("data-status", {"step": 1}),
        ("data-note", {"text": "seen once"}),
        ("data-status", {"step": 2}),
    ]
    assert [event["name"] for event in seen["again"]["custom"]] == ["data-status"]


def test_state_is_shared(run):
    """The agent's state is the client's, also when it connects."""
    seen = run("state")
    assert seen["state"] == seen["again"]["state"] == {"step": 2}


def test_sources_come_by_name(run):
    """Each with what it is."""
    assert [event["name"] for event in run("source")["custom"]] == ["source-url", "source-document"]


def test_metadata_come_by_name_and_stay(run):
    """They stand at the message when a client connects."""
    seen = run("meta")
    assert seen["custom"][0]["value"]["metadata"] == {"model": "scripted"}
    assert seen["again"]["messages"][1]["metadata"] == {"model": "scripted"}


def test_reasoning_is_a_message_before_the_answer(run):
    """With its words."""
    seen = run("think")
    assert seen["roles"] == ["user", "reasoning", "assistant"]
    assert seen["messages"][1]["content"] == "I think about it."


def test_the_last_message_again_is_answered_again(run):
    """As reload buttons do it: the old answer gives way."""
    seen = run("regenerate")
    assert seen["renewed"]
    assert seen["texts"] == ["one", "3"]


def test_a_picture_is_kept(run):
    """Who connects gets it back as it was sent."""
    seen = run("picture")
    (source,) = [part["source"] for part in seen["again"]["messages"][0]["content"] if part["type"] == "image"]
    assert source == {"type": "data", "value": "iVBORw0KGgo=", "mimeType": "image/png"}


def test_who_connects_in_the_middle_sees_all_of_it(run):
    """The history, the answer from its first word, then live to the same end, under the same ids."""
    seen = run("reconnect")
    assert seen["texts"] == seen["other"]["texts"] == [COUNTED]
    assert [message["id"] for message in seen["messages"]] == [message["id"] for message in seen["other"]["messages"]]


def test_a_thread_that_nobody_began_is_empty(run):
    """Connecting to it is no error."""
    assert run("nothing")["types"] == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]


def test_a_server_that_dies_in_the_middle_keeps_what_was_said(node, start_server):
    """The client notices, connects when the server is back, sees the partial answer and goes on."""
    server = start_server("chatrt.testing.playbook:app")
    script = [node, "ag_ui.mjs", "killed", server.url]
    with subprocess.Popen(script, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        server.kill()
        server.start()
        stdout, stderr = client.communicate(timeout=100)
    seen = result_of(stdout, stderr)
    assert "thrown" in seen["broken"]
    assert seen["texts"][0].startswith("w0 w1 w2")
    assert seen["texts"][-1] == "alive"
