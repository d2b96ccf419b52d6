"""chatrt.ui.replay: from a message back to chunks that build it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.ui import assemble, is_tool_part, parse_partial_json, rebuild_chunks, validate_chunk

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"
MESSAGES = [
    json.loads(line)["final"]
    for name in ("reducer_hand", "reducer_random")
    for line in (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
]
PARTS = [part for message in MESSAGES for part in message["parts"]]

CALL = {"type", "toolCallId", "toolName", "state", "title", "toolMetadata", "providerExecuted", "callProviderMetadata"}
OF_STATE = {
    "input-streaming": {"input", "rawInput", "inputEncoding", "approval"},
    "input-available": {"input", "approval"},
    "approval-requested": {"input", "approval"},
    "approval-responded": {"input", "approval"},
    "output-available": {"input", "output", "preliminary", "approval", "resultProviderMetadata"},
    "output-error": {"input", "errorText", "approval", "resultProviderMetadata"},
    "output-denied": {"input", "approval"},
}


def rebuilt(message: dict) -> dict:
    return assemble([{"type": "start", "messageId": message["id"]}, *rebuild_chunks(message)])


def expected_tool_part(part: dict) -> dict:
    state = part["state"]
    expected = {key: value for key, value in part.items() if key in CALL | OF_STATE[state]}
    if state in ("input-available", "approval-requested", "approval-responded"):
        expected.setdefault("input", None)
    raw = json.dumps(part["input"], separators=(",", ":")) if "input" in part else part.get("rawInput")
    if state == "input-streaming":
        if "rawInput" in part and part.get("inputEncoding") != "text":
            expected.pop("input", None)
            raw = part["rawInput"]
        elif raw is None or "rawInput" in part:
            return expected
    leaves_raw = (
        state == "input-streaming"
        or state == "output-denied"
        or (state == "output-error" and part["type"] != "dynamic-tool")
    )
    if leaves_raw and raw is not None:
        expected["rawInput"] = raw
        value, parsed = parse_partial_json(raw)
        expected |= {} if parsed == "failed-parse" else {"input": value}
    return expected


def expected_message(message: dict) -> dict:
    """Return the message with the differences that the module documents, and no others."""
    parts, seen = [], set()
    for index, part in enumerate(message["parts"]):
        kind = part["type"]
        part = copy.deepcopy(part)
        if kind in ("text", "reasoning"):
            part.setdefault("state", "done")
            if kind == "reasoning":
                part.setdefault("id", f"replay-{index}")
            if part["state"] == "streaming":
                part.pop("citations", None)
        elif kind == "file":
            part.pop("filename", None)
            part.pop("providerReference", None)
        elif kind.startswith("data-"):
            part = {key: part[key] for key in ("type", "id", "data") if key in part}
            if (kind, part.get("id")) in seen:
                part.pop("id", None)
            seen.add((kind, part.get("id")))
        elif is_tool_part(part):
            part = expected_tool_part(part)
        parts.append(part)
    return {**message, "parts": parts}


def is_ambiguous(message: dict) -> bool:
    """Whether two calls of one step, or two approvals, have the same id."""
    seen, step = set(), 0
    for part in message["parts"]:
        step += part["type"] == "step-start"
        if is_tool_part(part):
            keys = {("call", step, part["toolCallId"])}
            if part.get("approval"):
                keys.add(("approval", part["approval"]["id"]))
            if keys & seen:
                return True
            seen |= keys
    return False


@pytest.mark.parametrize("message", [message for message in MESSAGES if not is_ambiguous(message)])
def test_a_message_the_reducer_made_is_rebuilt(message):
    """Every message of the recorded streams comes back, but for the documented differences."""
    assert rebuilt(message) == expected_message(message)


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.none() | st.dictionaries(st.text(), st.integers()))
def test_any_parts_in_any_order_are_rebuilt(parts, metadata):
    """Parts of different messages, put together at random, come back too, and the message given is not changed."""
    message = {"id": "m", "role": "assistant", "parts": [copy.deepcopy(part) for part in parts]}
    for index, part in enumerate(message["parts"]):
        if is_tool_part(part):
            part["toolCallId"] = f"call-{index}"
            if part.get("approval"):
                part["approval"]["id"] = f"approval-{index}"
    if metadata is not None:
        message["metadata"] = metadata
    before = copy.deepcopy(message)
    assert rebuilt(message) == expected_message(message)
    assert message == before


@given(st.sampled_from(MESSAGES))
def test_only_pending_calls_are_announced_as_calls(message):
    """A settled call never comes as `tool-input-available`, which would make a client answer it again."""
    pending = {
        part["toolCallId"]
        for part in message["parts"]
        if is_tool_part(part) and part["state"] in ("input-available", "approval-requested", "approval-responded")
    }
    announced = {c["toolCallId"] for c in rebuild_chunks(message) if c["type"] == "tool-input-available"}
    assert announced == pending


NEWER = [
    {"tool-approval-response"},
    {"tool-approval-response", "custom", "reasoning-file", "steering-message"},
    {
        "tool-approval-request",
        "tool-approval-response",
        "tool-output-denied",
        "custom",
        "reasoning-file",
        "steering-message",
    },
]


@pytest.mark.parametrize("unknown", NEWER)
@given(message=st.sampled_from(MESSAGES))
def test_types_an_older_client_does_not_know_can_be_left_out(unknown, message):
    """What is left contradicts nothing, and gives as many calls as before."""
    chunks = [chunk for chunk in rebuild_chunks(message) if chunk["type"] not in unknown]
    rebuilt_parts = assemble(chunks)["parts"]
    assert sum(map(is_tool_part, rebuilt_parts)) == sum(map(is_tool_part, message["parts"]))


@given(st.sampled_from(MESSAGES))
def test_every_chunk_is_valid(message):
    """A client that checks each chunk refuses none of them."""
    chunks = rebuild_chunks(message)

    assert [validate_chunk(chunk) for chunk in chunks] == chunks


def test_steps_are_closed_before_the_next_begins():
    """Each step-start is a start-step, and a finish-step stands at its end."""
    step, data = {"type": "step-start"}, {"type": "data-x", "data": 1}
    chunks = rebuild_chunks({"id": "m", "role": "assistant", "parts": [data, step, data, step]})
    assert [chunk["type"] for chunk in chunks] == [
        "data-x",
        "start-step",
        "data-x",
        "finish-step",
        "start-step",
        "finish-step",
    ]
