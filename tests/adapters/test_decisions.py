"""What people decided since the last step, read from a prompt."""

from __future__ import annotations

from typing import Any

from chatrt.adapters.decisions import Decision, read_prompt

CALL = {"type": "tool-call", "toolCallId": "c", "toolName": "drop", "input": {}}
REQUEST = {"type": "tool-approval-request", "approvalId": "q", "toolCallId": "c"}
ASKED: dict[str, Any] = {"role": "assistant", "content": [CALL, REQUEST]}


def response(approved: bool, **keys: Any) -> dict[str, Any]:
    return {"type": "tool-approval-response", "approvalId": "q", "approved": approved, **keys}


def result(output: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool-result", "toolCallId": "c", "toolName": "drop", "output": output}


def tool(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "content": list(content)}


def read(*rows: Any) -> Any:
    return read_prompt(list(rows))


def test_a_decision_in_the_last_row():
    """An answer to a request is a decision about its call, and no part of the rows."""
    prompt = read(ASKED, tool(response(True, reason="fine")))

    assert prompt.decisions == {"c": Decision(approved=True, reason="fine")}
    assert prompt.rows == [{"role": "assistant", "content": [CALL]}]


def test_a_denial_with_the_result_the_model_reads():
    """A denial may stand there with its result; it is still to be told to the library."""
    prompt = read(ASKED, tool(response(False), result({"type": "execution-denied"})))

    assert (prompt.decisions["c"].approved, len(prompt.rows)) == (False, 1)


def test_a_decision_that_was_carried_out():
    """An answer whose call has its result is history."""
    prompt = read(ASKED, tool(response(True), result({"type": "text", "value": "dropped"})))

    assert (prompt.decisions, prompt.rows[1]["content"][0]["type"]) == ({}, "tool-result")


def test_an_earlier_decision():
    """Only the last row counts; what nobody carried out has a truthful result."""
    prompt = read(ASKED, tool(response(True)), {"role": "user", "content": "well?"})

    assert prompt.decisions == {}
    assert prompt.rows[1]["content"][0]["output"]["type"] == "error-text"


def test_the_first_decision_counts():
    """A second answer to the same request changes nothing."""
    prompt = read(ASKED, tool(response(False), response(True)))

    assert prompt.decisions["c"].approved is False


def test_the_same_call_id_in_an_older_step():
    """Ids that a provider uses again belong to the newest call: the older one keeps its result."""
    old = [{"role": "assistant", "content": [CALL]}, tool(result({"type": "text", "value": "old"}))]

    prompt = read(*old, {"role": "user", "content": "again"}, ASKED, tool(response(True)))

    assert prompt.rows[1]["content"] == [result({"type": "text", "value": "old"})]
    assert prompt.decisions["c"].approved is True
