"""The published `useChat` hooks, unmodified, against the playbook: ai 7.0.173, ai 6.0.326 and the newest ai 5."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
VERSIONS = ("5", "6", "7")
COUNTED = "".join(f"w{number} " for number in range(200))

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Run = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def url(start_server) -> str:
    """One playbook for all scenarios: each has a chat of its own."""
    return start_server("chatrt.testing.playbook:app").url


@pytest.fixture(params=VERSIONS, ids=[f"ai{version}" for version in VERSIONS])
def run(request, node, url) -> Run:
    """Run a scenario with one version of the hook and return what its page saw."""
    return runner(request.param, node, url)


@pytest.fixture(params=VERSIONS[1:], ids=[f"ai{version}" for version in VERSIONS[1:]])
def run_with_approvals(request, node, url) -> Run:
    """The same for the versions that know approvals."""
    return runner(request.param, node, url)


def runner(version: str, node: str, url: str, *wire: str, script: str = "usechat.mjs") -> Run:
    """Return what runs a scenario of a script with one version of the hook, on the stock wire or the one that is named."""

    def run(scenario: str) -> dict[str, Any]:
        command = [node, script, version, scenario, url, *wire]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=100, check=False)
        lines = done.stdout.strip().splitlines()
        assert lines, done.stderr
        said = json.loads(lines[-1])
        assert "failed" not in said, said
        return said["result"]

    return run


def test_a_message_is_answered(run):
    """A message is answered by one assistant message, and the hook goes submitted, streaming, ready."""
    seen = run("send")
    assert seen["texts"] == ["echo Hello, world", "Hello, world"]
    assert seen["role"] == "assistant"
    assert seen["statuses"] == ["submitted", "streaming", "ready"]
    assert seen["finishes"] == 1
    assert seen["id"]


def test_a_second_message_finds_the_first(run):
    """The server keeps the history: the second turn sees three messages."""
    assert run("second-turn")["texts"] == ["echo one", "one", "history", "3"]


def test_an_edited_message_takes_the_place_of_what_followed(run):
    """Sending with the id of an earlier user message forgets everything from there on (D22)."""
    assert run("edit")["texts"] == ["history", "1"]


def test_regenerate_gives_another_answer(run):
    """Regenerate replaces an answer by a new message: the last one, or an earlier one by its id."""
    seen = run("regenerate")
    assert seen["texts"] == ["echo one", "one", "history", "3"]
    assert seen["renewed"]
    assert seen["afterEarlier"] == ["echo one", "one"]


def test_a_reload_in_mid_answer_loses_and_repeats_nothing(run):
    """A page that comes back with the stored messages reads the whole answer, once."""
    seen = run("resume")
    assert "w9 " in seen["seen"]
    assert "w199 " not in seen["seen"]
    assert seen["texts"] == [COUNTED]
    assert seen["errors"] == []


def test_a_page_that_kept_the_partial_answer_resumes_it(run):
    """A page that still has the partial answer ends with the same message, whole and once."""
    seen = run("resume-with-history")
    assert seen["texts"] == ["count 200", COUNTED]
    assert seen["ids"] == seen["before"]
    assert seen["errors"] == []


def test_resuming_an_idle_chat_changes_nothing(run):
    """Where nothing runs the answer is 204, for unknown chats too, and the hook stays ready."""
    seen = run("resume-idle")
    assert set(seen["resumes"]) == {204}
    assert seen["texts"] == ["echo one", "one"]
    assert seen["unknown"][-1] == "ready"
    assert seen["statuses"][-1] == "ready"
    assert seen["errors"] == []


def test_after_stop_a_new_message_is_answered_at_once(run):
    """The stock stop drops the connection; the next message ends that turn and is answered, and the partial answer stays."""
    seen = run("stop")
    assert seen["texts"][-1] == "after"
    assert seen["took"] < 5_000
    assert seen["stored"] == [["user", True], ["assistant", True], ["user", True], ["assistant", True]]
    assert seen["errors"] == []


def test_a_client_tool_continues_the_same_message(run):
    """The output of a client tool is sent by itself, once, and the answer goes on in the same message."""
    seen = run("client-tool")
    assert seen["before"] == {
        "type": "tool-ask_user",
        "state": "input-available",
        "input": {"question": "Which colour?"},
        "calls": ["ask_user"],
    }
    assert seen["after"] == {"state": "output-available", "output": "blue"}
    assert seen["sameMessage"]
    assert seen["texts"] == ["ask Which colour?", "answer: blue", "history", "3"]
    assert seen["posts"] == 3
    assert seen["errors"] == []


def test_a_client_tool_may_give_an_object(run):
    """Structured output reaches the agent as it was given."""
    seen = run("client-tool-object")
    assert seen["texts"][1] == 'answer: {"colour":"blue","shades":[1,2]}'
    assert seen["posts"] == 2


def test_a_continued_message_is_resumed_whole(run):
    """A reload while a tool's answer is continued shows the earlier parts too, once, and calls no tool again."""
    seen = run("resume-continuation")
    assert seen["texts"] == ["asklong 200", COUNTED]
    assert seen["sameMessage"]
    assert seen["tools"] == 1
    assert seen["tool"] == {"state": "output-available", "output": "go on"}
    assert seen["calls"] == []
    assert seen["errors"] == []


def test_an_approved_tool_runs(run_with_approvals):
    """Approved, the tool runs on the server and the same message goes on."""
    seen = run_with_approvals("approve-yes")
    assert seen["before"] == {"state": "approval-requested", "input": {"to": "ada@example.com"}}
    assert seen["after"] == {"state": "output-available", "output": {"sent": True}}
    assert seen["texts"] == ["approve ada@example.com", "sent", "history", "3"]
    assert seen["posts"] == 3
    assert seen["errors"] == []


def test_a_denied_tool_does_not_run(run_with_approvals):
    """Denied, the tool does not run and the answer knows."""
    seen = run_with_approvals("approve-no")
    assert seen["after"] == {"state": "output-denied"}
    assert seen["texts"] == ["approve ada@example.com", "not sent", "history", "3"]
    assert seen["posts"] == 3
    assert seen["errors"] == []


def test_confirm_says_what_was_done(run_with_approvals):
    """The input of an approved tool is what the person saw."""
    seen = run_with_approvals("confirm-yes")
    assert seen["before"]["input"] == {"what": "the move"}
    assert seen["after"] == {"state": "output-available", "output": {"ok": True}}
    assert seen["texts"][1] == "done: the move"


def test_confirm_denied(run_with_approvals):
    """A denial is told by the agent."""
    assert run_with_approvals("confirm-no")["texts"][1] == "denied"


def test_a_server_tool_is_shown_with_its_result(run):
    """A tool that the server runs arrives with input and output, and the answer follows."""
    seen = run("server-tool")
    assert seen["tool"] == {
        "type": "tool-add",
        "state": "output-available",
        "input": {"a": 2, "b": 3},
        "output": 5,
    }
    assert seen["texts"] == ["tool 2+3", "5"]


def test_an_exception_is_masked(run):
    """What an exception says reaches no client, not in a single byte, and the chat goes on (D11)."""
    seen = run("fail")
    assert seen["status"] == "error"
    assert seen["message"]
    assert "boom" not in seen["message"]
    assert not seen["leaked"]
    assert seen["bytes"] > 100
    assert seen["last"] == "after"


def test_data_parts_are_updated_in_place(run):
    """A data part with an id is replaced where it stands; a transient one is heard and not kept (D18)."""
    seen = run("data")
    assert seen["parts"] == [{"type": "data-status", "id": "s", "data": {"step": 2}}]
    assert seen["heard"] == [
        {"type": "data-status", "data": {"step": 1}},
        {"type": "data-note", "data": seen["heard"][1]["data"]},
        {"type": "data-status", "data": {"step": 2}},
    ]


def test_metadata_reach_the_message(run):
    """Message metadata are on the message."""
    assert run("meta")["metadata"] == {"model": "scripted"}


def test_reasoning_comes_before_the_text(run):
    """Reasoning is a part of its own, closed before the text."""
    assert run("think")["parts"] == [
        {"type": "reasoning", "state": "done", "some": True},
        {"type": "text", "state": "done", "some": True},
    ]


def test_sources_are_parts(run):
    """Sources of both kinds are parts of the message, before the text."""
    kinds = [part["type"] for part in run("source")["parts"]]
    assert kinds == ["source-url", "source-document", "text"]


def test_files_are_parts(run):
    """A file is a part of the message, with its media type and a URL."""
    file, text = run("file")["parts"]
    assert file["type"] == "file"
    assert file["mediaType"].startswith("image/")
    assert file["url"].startswith("data:")
    assert text["type"] == "text"


def test_a_file_is_attached(run):
    """A file that was uploaded is named by the stock `sendMessage`, stored by its path, and shown from there."""
    seen = run("attach")
    assert seen["texts"][:4] == ["echo hello", "hello", "echo seen", "seen"]
    assert seen["part"] == {"type": "file", "mediaType": "image/gif", "filename": "ž.gif", "url": seen["path"]}
    assert seen["same"] is True
    assert "url-not-allowed" in seen["errors"][0]
