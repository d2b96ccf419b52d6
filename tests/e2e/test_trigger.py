"""The published chat clients of Trigger.dev 4.8.3, unmodified, by base URL and key alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.served import Server

HERE = Path(__file__).parent
APP = "tests.e2e.trigger_app:app"
KEY = "the secret key of the e2e tests"
SERVER_KEY = "tr_dev_sk_0123456789abcdefABCDEFGH"
"""A key that the SDK has tokens signed for by the server."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.xdist_group("trigger")]

ONE = [
    "turns",
    "everything",
    "action",
    "regenerate",
    "edit",
    "reconnect",
    "reconnect-settled",
    "reconnect-peeking",
    "stop",
    "stop-idle",
    "preload",
    "per-call-metadata",
    "failure",
    "pending",
    "steering",
    "two-tabs",
    "odd-ids",
    "refresh",
    "tokens",
]
OTHER = [
    "recreate",
    "idempotent",
    "closed",
    "closed-in-mid-turn",
    "server",
    "server-tools",
    "server-stop",
    "server-reconnect",
    "server-close",
    "sessions",
    "handle",
    "transcript",
    "page",
    "page-reload",
    "page-stop",
    "page-tool",
    "page-tool-plain",
    "approve-yes",
    "approve-no",
]

Results = dict[str, dict[str, Any]]


def counted(number: int) -> str:
    return "".join(f"w{index} " for index in range(number))


@pytest.fixture(scope="module")
def server(start_server) -> Server:
    return start_server(APP, TRIGGER_APP_KEY=KEY)


@pytest.fixture(scope="module")
def results(node, server) -> Results:
    """What every scenario saw; each has a chat of its own, so that they run beside one another."""
    return {**run(node, server.url, KEY, *ONE), **run(node, server.url, KEY, *OTHER)}


def run(node: str, url: str, key: str, *scenarios: str) -> Results:
    command = [node, "trigger.mjs", url, key, *scenarios]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=100, check=False)
    return {name: line for name, line in told(done.stdout.splitlines()) if name} or pytest.fail(done.stderr)


def told(lines: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in lines:
        if line.startswith("{"):
            said = json.loads(line)
            yield said.get("scenario", ""), said


@pytest.fixture
def seen(request, results) -> Any:
    """What the scenario of the test saw."""
    scenario = request.node.get_closest_marker("scenario").args[0]
    assert scenario in results, f"{scenario} did not end"
    assert "failed" not in results[scenario], results[scenario]
    return results[scenario]["result"]


# --- TriggerChatTransport


@pytest.mark.scenario("turns")
def test_a_message_is_answered(seen):
    """A send streams its own turn, settled by the cursor of its own input, and a second one finds the first."""
    assert seen["texts"] == ["Hello", "3"]
    assert (seen["first"][0], seen["first"][-1]) == ("start", "finish")
    assert seen["settledBy"] == [2, 3]  # a preload came first
    assert seen["events"] == ["message-sent", "stream-connected", "first-chunk", "turn-completed"] * 2
    assert seen["streaming"] is False


@pytest.mark.scenario("everything")
def test_every_kind_of_part_arrives(seen):
    """Data, metadata, reasoning, sources, files and tools become the parts that the AI SDK has for them."""
    assert seen == {
        "data": ["data-status", "text"],
        "meta": ["text"],
        "think": ["reasoning", "text"],
        "source": ["source-url", "source-document", "text"],
        "file": ["file", "text"],
        "tool 2+3": ["tool-add", "text"],
    }


@pytest.mark.scenario("action")
def test_actions_are_settled(seen):
    """A silent action ends its stream, one that answers streams, one that is refused says so; each once."""
    assert seen["undo"] == []
    assert seen["settled"] == "number"
    assert seen["again"] == "one"
    assert seen["bad"] == ["error"]
    assert seen["after"] == "3"
    assert seen["stored"] == ["echo one", "one", "history", "3"]


@pytest.mark.scenario("regenerate")
def test_regenerate_gives_another_answer(seen):
    """The last answer, or an earlier one by its id, gives way to a new one (D22)."""
    assert seen["texts"] == ["echo one", "one", "history", "3"]
    assert seen["renewed"]
    assert seen["afterEarlier"] == ["echo one", "one"]
    assert seen["errors"] == []


@pytest.mark.scenario("edit")
def test_an_edited_message_takes_the_place_of_what_followed(seen):
    """A user message with a known id and other text is an edit (D22)."""
    assert seen == {"texts": ["history", "1"], "errors": []}


@pytest.mark.scenario("reconnect")
def test_a_reload_in_mid_answer_reads_the_turn_from_its_start(seen):
    """A new transport with the stored session reads the whole running turn, once, and no earlier one."""
    assert seen == {"streaming": True, "starts": 1, "text": counted(100), "after": False}


@pytest.mark.scenario("reconnect-settled")
def test_reconnecting_to_what_is_settled_ends_at_once(seen):
    """Where nothing runs or waits, both clients are told that it is settled and end."""
    assert (seen["chunks"], seen["server"], seen["settled"]) == ([], [], ["true"])
    assert seen["took"] < 5000
    assert seen["idle"] is None


@pytest.mark.scenario("reconnect-peeking")
def test_a_running_turn_is_never_called_settled(seen):
    """A transport that asks whether the chat is settled while a turn runs reads the turn to its end."""
    assert seen == {"text": counted(200), "settled": [None]}


@pytest.mark.scenario("stop")
def test_a_stop_by_any_way_leaves_the_next_answer_whole(seen):
    """Aborted, stopped by the server, or both: the next message gets its own answer, and partial answers stay."""
    for way in ("abort", "stopGeneration", "both"):
        assert seen["seen"][way] == {"text": f"after {way}", "soon": True}
    assert [role for role, _ in seen["stored"]] == ["user", "assistant"] * 6
    assert all(some for _, some in seen["stored"])


@pytest.mark.scenario("stop-idle")
def test_a_stop_of_nothing_shifts_no_answer(seen):
    """Stops that find nothing running write nothing that another client could take for its answer's end."""
    assert seen["server"] == "second"
    assert seen["next"].endswith("5")


@pytest.mark.scenario("preload")
def test_a_preload_does_not_look_like_an_answer(seen):
    """What `on_preload` writes reaches the first reader as transient data, and nothing else of it does."""
    assert (seen["first"], seen["starts"]) == ("Hello Ada", 1)
    assert seen["data"] == [{"type": "data-ready", "data": {"for": "Ada"}, "transient": True}]
    assert seen["server"] == "Hello Bo"


@pytest.mark.scenario("per-call-metadata")
def test_metadata_are_the_client_data(seen):
    """Client data of the transport, overlaid by those of a call, reach the agent; wrong ones fail the turn only."""
    assert (seen["first"], seen["second"], seen["after"]) == ("Hello Grace", "Hello Ada", "Hello Ada")
    assert seen["bad"] == ["error"]


@pytest.mark.scenario("failure")
def test_a_failed_turn_is_an_error_and_the_chat_goes_on(seen):
    """An exception is an error chunk with a masked text (D11), and the next turn is read from its own beginning."""
    assert seen["chunks"] == ["error"]
    assert "boom" not in seen["errorText"] + seen["message"]
    assert (seen["after"], seen["status"], seen["page"]) == ("after", "error", "after")
    assert (seen["server"], seen["serverAfter"]) == ("", "after")


@pytest.mark.scenario("pending")
def test_a_pending_message_waits_for_its_turn(seen):
    """A message that comes during a turn neither ends nor disturbs it, and is answered behind it."""
    assert seen["accepted"]
    assert seen["first"] == counted(40)
    assert seen["next"]


@pytest.mark.scenario("steering")
def test_a_steered_message_is_put_into_the_running_turn(seen):
    """`AgentChat.steer` reaches the next step of the turn, and shifts no later answer."""
    assert seen["injected"] == ["be brief"]
    assert seen["text"] == "heard: look it up, be brief"
    assert seen["next"].endswith("thanks")


@pytest.mark.scenario("two-tabs")
def test_a_watching_tab_sees_every_turn(seen):
    """A transport in watch mode reads turn after turn, whoever began it, and posts nothing."""
    assert (seen["first"], seen["second"]) == (counted(20), "from a server")
    assert seen["watched"] == counted(20) + "from a server"
    assert (seen["turns"], seen["posts"]) == (2, 0)


@pytest.mark.scenario("odd-ids")
def test_any_chat_id_works(seen):
    """Slashes, colons, percent signs, spaces and any letters, in paths, in tokens and as a session's own id."""
    assert seen == [{"first": "one", "second": "3", "same": True}] * 3


# --- tokens


@pytest.mark.scenario("refresh")
def test_an_expired_token_is_refreshed_once(seen):
    """An expired token is a 401 on both endpoints; the client fetches another and repeats the same append."""
    assert seen["text"] == "fresh"
    assert (seen["statuses"], seen["samePart"], seen["stored"]) == ([401, 200], True, 2)
    assert (seen["reading"], seen["outs"]) == ([], [401, 200])
    assert seen["asked"] == 2


TOKENS = {
    "own": 200,
    "byId": 200,
    "other": 403,
    "unknown": 403,
    "unknownByServer": 404,
    "readOnly": 403,
    "wrong": 401,
    "native": 401,
    "server": 403,
    "runId": True,
}


@pytest.mark.scenario("tokens")
def test_a_token_signed_by_the_sdk_opens_its_chat_only(seen):
    """By either name of the chat, within its scopes, on this wire, and not what only servers may do."""
    assert seen == TOKENS


def test_tokens_are_signed_by_the_server_for_keys_of_that_shape(node, start_server):
    """With a key that the SDK does not sign with, the server makes tokens of the same rights, and refresh works."""
    server = start_server(APP, TRIGGER_APP_KEY=SERVER_KEY)
    results = run(node, server.url, SERVER_KEY, "tokens", "turns", "odd-ids")
    assert results["tokens"].get("result") == TOKENS
    assert results["turns"]["result"]["texts"] == ["Hello", "3"]
    assert results["odd-ids"]["result"] == [{"first": "one", "second": "3", "same": True}] * 3


@pytest.mark.scenario("recreate")
def test_a_session_that_is_not_there_is_made(seen):
    """A stored session of a chat that is gone is a 404; the client starts it anew and forgets its cursor."""
    assert seen["text"] == "made again"
    assert seen["statuses"] == [404, 200, 200]


# --- idempotence, closing


@pytest.mark.scenario("idempotent")
def test_an_append_counts_once(seen):
    """The same part id, three times at once and once more, is one message with one seq."""
    assert seen == {"statuses": [200] * 4, "one": 1, "texts": ["echo once", "once"]}


@pytest.mark.scenario("closed")
def test_a_closed_session_is_closed_for_everybody(seen):
    """Sends are refused with the code and the reason, watchers are told, and nobody tries again for long."""
    assert (seen["reason"], seen["dated"]) == ("solved", True)
    assert seen["refused"] == {"status": 409, "code": "session_closed", "reason": "solved"}
    assert (seen["status"], seen["watcher"], seen["watcherReason"]) == ("closed", "closed", "solved")
    assert (seen["restart"], seen["soon"], seen["server"]) == (409, True, 409)
    assert seen["stored"] == ["echo before", "before"]


@pytest.mark.scenario("closed-in-mid-turn")
def test_closing_stops_what_runs(seen):
    """A turn that runs when its session is closed from outside is stopped, and its partial answer stays."""
    assert seen == {"last": "abort", "roles": ["user", "assistant"]}


# --- AgentChat


@pytest.mark.scenario("server")
def test_a_server_holds_a_conversation(seen):
    """Results, a restored instance, actions and regenerates, each with its own answer."""
    (called,) = seen["first"]["toolCalls"]
    assert seen["first"]["text"] == "5"
    assert (called["toolName"], called["input"]) == ("add", {"a": 2, "b": 3})
    assert seen["first"]["toolResults"] == [{"toolCallId": called["toolCallId"], "output": 5}]
    assert (seen["second"], seen["third"], seen["undone"], seen["fourth"], seen["again"]) == ("3", "5", "", "5", "5")
    assert (seen["triggered"], seen["turns"]) == (1, 2)
    assert seen["item"]["agent"] == "playbook"


@pytest.mark.scenario("server-tools")
def test_a_server_answers_a_tool(seen):
    """The output continues the same message, with a step of its own."""
    assert seen == {"text": "answer: blue", "sameMessage": True, "types": ["start", "start-step"], "messages": 2}


@pytest.mark.scenario("server-stop")
def test_a_server_stops_a_turn(seen):
    """By `stop()` and by an abort signal; the next answers are their own."""
    assert seen == {"next": "after stop", "last": "after abort"}


@pytest.mark.scenario("server-reconnect")
def test_a_server_reconnects_in_mid_turn(seen):
    """A new instance with the stored cursor reads the running turn to its end."""
    assert seen == {"text": counted(200)}


@pytest.mark.scenario("server-close")
def test_close_ends_the_run_and_not_the_session(seen):
    """After `close()` the session is open, and a later message finds the history."""
    assert seen == {"closed": True, "open": True, "next": "3"}


# --- the rest of the SDK


@pytest.mark.scenario("sessions")
def test_sessions_are_found_again(seen):
    """By tag, by status, page by page; their metadata can be changed."""
    assert (seen["listed"], seen["pages"], seen["more"], seen["open"]) == (3, [2, 1], False, 2)
    assert (seen["metadata"], seen["tags"]) == ({"plan": "free"}, 1)


@pytest.mark.scenario("handle")
def test_a_session_handle_sends_and_reads(seen):
    """`sessions.open(id)` appends and reads the same two logs."""
    assert seen == {"text": "firstsecond", "controls": 1}


@pytest.mark.scenario("transcript")
def test_the_transcript_is_loaded(seen):
    """Page by page or whole, with the cursor that a transport goes on from."""
    assert (seen["newest"], seen["older"]) == (["echo two", "two", "echo three", "three"], ["echo one", "one"])
    assert (seen["more"], seen["whole"], seen["next"]) == (None, 6, "7")


# --- useChat


@pytest.mark.scenario("page")
def test_the_hook_answers(seen):
    """The hook goes submitted, streaming, ready."""
    assert seen["texts"] == ["echo Hello", "Hello"]
    assert seen["statuses"] == ["submitted", "streaming", "ready"]
    assert seen["errors"] == []


@pytest.mark.scenario("page-reload")
def test_a_page_that_reloads_shows_the_whole_answer_once(seen):
    """With the stored messages and the stored session, nothing is lost, repeated or sent again."""
    assert seen["texts"] == ["echo first", "first", "count 100", counted(100)]
    assert (seen["errors"], seen["appends"]) == ([], 0)


@pytest.mark.scenario("page-stop")
def test_the_page_stops_and_goes_on(seen):
    """The hook's own stop ends the turn on the server; the next message is answered."""
    assert seen == {"last": "after", "count": 4, "errors": []}


@pytest.mark.scenario("page-tool")
def test_a_client_tool_continues_the_same_message(seen):
    """The output is sent once, by itself, and the answer goes on in the same message."""
    assert seen["texts"] == ["ask Which colour?", "answer: blue", "history", "3"]
    assert (seen["sameMessage"], seen["appends"], seen["errors"]) == (True, 3, [])


@pytest.mark.scenario("page-tool-plain")
def test_an_answer_without_steps_is_not_asked_for_again(seen):
    """An agent that answers an output with a bare text gets it once: what it says stands in a step of its own."""
    assert seen == {"texts": ["ask", "picked blue"], "appends": 2, "errors": []}


@pytest.mark.scenario("approve-yes")
def test_an_approved_tool_runs(seen):
    """Approved, the tool runs and the same message goes on."""
    assert (seen["before"], seen["after"]) == (
        "approval-requested",
        {"state": "output-available", "output": {"ok": True}},
    )
    assert (seen["sameMessage"], seen["texts"]) == (True, ["confirm the move", "done: the move"])
    assert (seen["appends"], seen["errors"]) == (2, [])


@pytest.mark.scenario("approve-no")
def test_a_denied_tool_does_not_run(seen):
    """Denied, the tool does not run and the answer knows."""
    assert (seen["after"], seen["sameMessage"]) == ({"state": "output-denied"}, True)
    assert (seen["texts"], seen["appends"], seen["errors"]) == (["confirm the move", "denied"], 2, [])


# --- a server that dies


def test_a_killed_server_loses_nothing_that_was_seen(node, start_server):
    """Both clients find their way back by themselves, keep what they saw, and the chats go on."""
    server = start_server(APP, TRIGGER_APP_KEY=KEY)
    command = [node, "trigger.mjs", server.url, KEY, "killed"]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert json.loads(client.stdout.readline()) == {"at": "the middle"}
        server.kill()
        server.start()
        said = json.loads(client.stdout.readline())
    assert "failed" not in said, said
    seen = said["result"]
    assert (seen["seen"], seen["kept"], seen["last"]) == (True, True, "abort")
    assert (seen["after"], seen["server"], seen["errors"]) == ("alive", "alive", [])
