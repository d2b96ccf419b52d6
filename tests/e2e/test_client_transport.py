"""`ChatrtTransport` of @chatrt/client under the published `useChat` hooks of ai 5, 6 and 7, over the native wire."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_use_chat import (
    COUNTED,
    VERSIONS,
    Run,
    runner,
    test_a_client_tool_continues_the_same_message,
    test_a_client_tool_may_give_an_object,
    test_a_continued_message_is_resumed_whole,
    test_a_denied_tool_does_not_run,
    test_a_message_is_answered,
    test_a_page_that_kept_the_partial_answer_resumes_it,
    test_a_reload_in_mid_answer_loses_and_repeats_nothing,
    test_a_second_message_finds_the_first,
    test_a_server_tool_is_shown_with_its_result,
    test_after_stop_a_new_message_is_answered_at_once,
    test_an_approved_tool_runs,
    test_an_edited_message_takes_the_place_of_what_followed,
    test_an_exception_is_masked,
    test_confirm_denied,
    test_confirm_says_what_was_done,
    test_data_parts_are_updated_in_place,
    test_files_are_parts,
    test_metadata_reach_the_message,
    test_reasoning_comes_before_the_text,
    test_regenerate_gives_another_answer,
    test_sources_are_parts,
)

__all__ = [
    "test_a_client_tool_continues_the_same_message",
    "test_a_client_tool_may_give_an_object",
    "test_a_continued_message_is_resumed_whole",
    "test_a_denied_tool_does_not_run",
    "test_a_message_is_answered",
    "test_a_page_that_kept_the_partial_answer_resumes_it",
    "test_a_reload_in_mid_answer_loses_and_repeats_nothing",
    "test_a_second_message_finds_the_first",
    "test_a_server_tool_is_shown_with_its_result",
    "test_after_stop_a_new_message_is_answered_at_once",
    "test_an_approved_tool_runs",
    "test_an_edited_message_takes_the_place_of_what_followed",
    "test_an_exception_is_masked",
    "test_confirm_denied",
    "test_confirm_says_what_was_done",
    "test_data_parts_are_updated_in_place",
    "test_files_are_parts",
    "test_metadata_reach_the_message",
    "test_reasoning_comes_before_the_text",
    "test_regenerate_gives_another_answer",
    "test_sources_are_parts",
]

HERE = Path(__file__).parent
KEY = "the-secret-key-of-these-tests-0123456789"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def url(start_server) -> str:
    """One playbook for all scenarios: each has a chat of its own."""
    return start_server("chatrt.testing.playbook:app").url


@pytest.fixture(params=VERSIONS, ids=[f"ai{version}" for version in VERSIONS])
def run(request, node, url) -> Run:
    """Run a scenario that the stock transport passes, too."""
    return runner(request.param, node, url, "chatrt")


@pytest.fixture(params=VERSIONS[1:], ids=[f"ai{version}" for version in VERSIONS[1:]])
def run_with_approvals(request, node, url) -> Run:
    """The same for the versions that know approvals."""
    return runner(request.param, node, url, "chatrt")


# --- what only this transport does


class Script:
    """A scenario that asks for things to happen to its server while it runs."""

    def __init__(self, node: str, version: str, scenario: str, url: str, **env: str) -> None:
        command = [node, "client_transport.mjs", version, scenario, url, "chatrt"]
        pipe = subprocess.PIPE
        whole = {**os.environ, **env}
        self._process = subprocess.Popen(
            command, cwd=HERE, env=whole, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1
        )

    def run(self, do: dict[str, Callable[[], None]] | None = None) -> dict[str, Any]:
        """Do what it asks for until it is over; returns what its page saw."""
        process = self._process
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            for line in process.stdout:
                said = json.loads(line)
                if "ask" not in said:
                    assert "failed" not in said, said
                    return said["result"]
                assert do is not None
                do[said["ask"]]()
                process.stdin.write("done\n")
                process.stdin.flush()
            pytest.fail(process.stderr.read() if process.stderr is not None else "")
        finally:
            process.kill()
            process.communicate()


@pytest.fixture(params=VERSIONS, ids=[f"ai{version}" for version in VERSIONS])
def play(request, node, url) -> Run:
    """Run a scenario of this transport."""
    return lambda scenario: Script(node, request.param, scenario, url).run()


def test_a_page_that_kept_the_partial_answer_goes_on_where_it_was(play):
    """A reload with the partial message on screen ends with the same message, whole and once; nothing is said again."""
    seen = play("resume")
    assert seen["texts"] == ["count 200", COUNTED]
    assert seen["ids"] == seen["before"]
    assert seen["said"] == 1
    assert seen["errors"] == []


def test_resuming_where_nothing_runs_changes_nothing(play):
    """An idle chat and one that nobody knows stay ready, without an error."""
    seen = play("resume-idle")
    assert seen == {"unknown": "ready", "status": "ready", "texts": ["echo one", "one"], "errors": []}


def test_a_page_is_painted_with_what_load_gives(play):
    """`load` gives what the running turn stands on; resuming adds its answer, from the beginning and once."""
    seen = play("first-paint")
    counted = "".join(f"w{number} " for number in range(100))
    assert seen["loaded"] == ["echo one", "one", "count 100"]
    assert seen["status"] == "running"
    assert seen["texts"] == ["echo one", "one", "count 100", counted, "history", "5"]
    assert seen["errors"] == []


def test_the_stop_of_the_hook_stops_the_turn(play):
    """`useChat.stop()` ends the turn on the server, and its partial answer is kept."""
    assert play("stop-is-stop") == {"roles": ["user", "assistant"], "errors": [], "status": "ready"}


def test_a_stop_of_the_transport_ends_the_stream_too(play):
    """`transport.stop()` ends the turn, and the hook is ready again by the turn's own end."""
    assert play("transport-stop") == {"status": "ready", "errors": [], "server": "idle"}


def test_an_unmounted_page_stops_nothing(play):
    """A component that goes away in the middle stops nothing, though ai 7 aborts its stream then."""
    seen = play("unmount-is-no-stop")
    assert seen["texts"][1].endswith("w119 ")
    assert seen["stops"] == 0


def test_a_stopped_message_that_waits_is_taken_back(play):
    """Stopping a message whose turn has not begun takes it back, and leaves the turn that runs alone."""
    seen = play("stop-waiting")
    assert seen["failed"] == "AbortError"
    assert len(seen["texts"]) == 2
    assert seen["texts"][1].endswith("w99 ")
    assert seen["stored"] == seen["texts"]


def test_messages_that_wait_are_listed_edited_and_withdrawn(play):
    """What waits is listed; edited it is answered as edited, withdrawn not at all; its turn is shown by itself."""
    seen = play("pending")
    assert seen["texts"] == ["echo wrong", "echo gone"]
    assert seen["shown"][0] == "count 150"
    assert seen["shown"][2:] == ["echo right", "right"]
    assert seen["left"] == 0
    assert seen["errors"] == []


def test_a_steering_message_is_never_lost(play):
    """A steering message that finds no further step is answered by a turn of its own, which the page shows."""
    seen = play("steer")
    assert seen["texts"][2:] == ["echo steered", "steered"]
    assert seen["texts"] == seen["stored"]


def test_actions_change_what_is_shown(play):
    """What an action did is on screen when it is settled; a refused one rejects with its code."""
    seen = play("action")
    assert seen["status"] == "completed"
    assert seen["undone"] == ["echo one", "one"]
    assert seen["refused"] == "message-not-found"
    assert seen["invalid"] == "invalid-action"
    assert seen["texts"] == ["echo one", "one"]
    assert seen["errors"] == []


def test_branches_are_named_and_switched(play):
    """An edit leaves a branch, which is named and can be made active again."""
    seen = play("branches")
    assert seen["names"] == 2
    assert seen["back"] == ["echo one", "one"]
    assert seen["refused"] == "message-not-found"
    assert seen["errors"] == []


def test_another_tab_sees_everything(play):
    """A turn that one tab begins grows in the other one, too, and the other way round."""
    seen = play("tabs")
    assert seen["one"] == seen["other"]
    assert seen["one"][-2:] == ["echo back", "back"]
    assert seen["grew"]
    assert seen["posts"] == 3
    assert seen["errors"] == []


def test_one_tab_sends_at_a_time(play):
    """With `tabs` a second tab is read-only while the first one's turn runs, and may send after it."""
    seen = play("lease")
    assert seen["refused"] == ["Another tab is sending in this chat."]
    assert seen["texts"][-2:] == ["echo now", "now"]


def test_broken_connections_are_not_seen(play):
    """Connections that break within a byte sequence are taken up where they broke: nothing is lost or doubled."""
    seen = play("broken-connection")
    assert seen["texts"] == ["count 120", "".join(f"w{number} " for number in range(120))]
    assert seen["cuts"] == 3
    assert seen["errors"] == []


def test_a_closed_chat_refuses(play):
    """In a closed chat a send fails with `session-closed`, and the closing is told once."""
    assert play("closed") == {"code": "session-closed", "events": 1}


def test_a_preloaded_chat_answers(play):
    """A preload creates the session and says nothing."""
    assert play("preload") == {"texts": ["echo one", "one"], "errors": []}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_dies_in_the_middle(version, node, start_server):
    """After a kill in mid-answer the stream goes on by itself to the turn's end; the answer so far is kept, closed."""
    server = start_server("chatrt.testing.playbook:app")

    def kill() -> None:
        server.kill()
        server.start()

    seen = Script(node, version, "kill-server", server.url).run({"kill": kill})
    assert seen["broke"]
    assert seen["texts"][1].startswith("w0 w1 w2 ")
    assert seen["shown"] == seen["stored"]
    assert seen["shown"][-2:] == ["echo after", "after"]


def test_a_message_that_finds_no_server_is_sent_once_it_is_there(node, start_server):
    """A message that is sent while the server is away arrives when it is back, once."""
    server = start_server("chatrt.testing.playbook:app")
    done = Script(node, "7", "kill-server-while-sending", server.url)
    seen = done.run({"kill": server.kill, "start": server.start})
    assert seen["texts"] == ["echo one", "one", "echo two", "two"]
    assert seen["stored"] == seen["texts"]
    assert seen["errors"] == []


def test_a_token_is_renewed_in_the_middle_of_an_answer(node, start_server):
    """A token that expires while an answer streams is asked for anew, once, and nothing of the answer is lost."""
    server = start_server("chatrt.testing.playbook:app", CHATRT_SECRET_KEY=KEY)
    seen = Script(node, "7", "refresh", server.url, SECRET_KEY=KEY).run()
    assert seen["texts"] == ["count 700", "".join(f"w{number} " for number in range(700)), "echo after", "after"]
    assert seen["asked"] == ["refreshed-v7-native"] * 2
    assert seen["refused"] == 1
    assert seen["errors"] == []


def test_a_token_that_stays_refused_fails_after_one_renewal(node, start_server):
    """A token that is refused is asked for once more, and then the send fails with the server's code."""
    server = start_server("chatrt.testing.playbook:app", CHATRT_SECRET_KEY=KEY)
    seen = Script(node, "7", "refuse-token", server.url).run()
    assert seen == {"status": "error", "code": "invalid-token", "tries": [401, 401]}
