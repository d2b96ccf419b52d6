"""Chunks by version: a client is never sent what would end its stream."""

from __future__ import annotations

import pytest

from chatrt.errors import InvalidInputError
from chatrt.wires.chunk_versions import STOCK, all_dialects, parse_version

SINCE_7 = [
    {"type": "tool-approval-response", "approvalId": "a", "approved": True},
    {"type": "custom", "kind": "a.b"},
    {"type": "reasoning-file", "url": "data:,", "mediaType": "text/plain"},
    {"type": "reset-step"},
    {"type": "steering-message", "id": "m", "parts": []},
]
SINCE_6 = [
    {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"},
    {"type": "tool-output-denied", "toolCallId": "c"},
]
CALL = {"toolCallId": "c", "toolName": "search"}


def told(chunk: dict, version: str | None) -> list[dict]:
    return list(parse_version(version).translate(chunk))


@pytest.mark.parametrize("chunk", SINCE_7, ids=lambda chunk: chunk["type"])
def test_chunks_that_only_v7_knows_are_left_out_by_default(chunk: dict):
    """A client that does not say its version is not sent chunk types of v7."""
    assert told(chunk, None) == []
    assert told(chunk, "6") == []
    assert told(chunk, "7")[0] is chunk


def test_chunks_come_to_who_is_new_enough():
    """Within a line a chunk type is left out for the versions before it came."""
    assert told({"type": "reset-step"}, "7.0.69") == []
    assert told({"type": "reset-step"}, "7.0.70") == [{"type": "reset-step"}]


def test_fields_come_to_who_is_new_enough():
    """A strict version gets a field from that version on which has it, line by line."""
    chunk = {"type": "abort", "reason": "enough"}
    for older in ("5.0.216", "6.0.14"):
        assert told(chunk, older) == [{"type": "abort"}]
    for newer in ("5.0.217", "6.0.15", "7.0.0"):
        assert told(chunk, newer) == [chunk]


def test_a_younger_line_may_read_less():
    """6.0.231 was published after 7.0.0: it lets through what that one refuses."""
    chunk = {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c", "reason": "costly"}
    assert told(chunk, "6.0.231") == [chunk]
    assert told(chunk, "7.0.0") == [{"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"}]


@pytest.mark.parametrize("chunk", SINCE_6, ids=lambda chunk: chunk["type"])
def test_approvals_reach_every_client_that_may_know_them(chunk: dict):
    """Approvals work with stock v6 and v7, which say no version."""
    assert told(chunk, None)[0] is chunk


def test_a_v5_client_is_shown_what_waits_for_approval():
    """v5 has no approvals; a data part says which call waits, for a page that draws it."""
    chunk = {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c", "reason": "costly"}
    assert told(chunk, "5") == [
        {
            "type": "data-tool-approval-request",
            "id": "a",
            "data": {"approvalId": "a", "toolCallId": "c", "reason": "costly"},
        }
    ]


def test_a_v5_client_sees_a_denied_call_fail():
    """What was denied does not wait for ever on a page that knows no denials."""
    denied = {"type": "tool-output-denied", "toolCallId": "c"}
    assert told(denied, "5") == [
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "Tool call execution denied."}
    ]


def test_a_refused_input_is_told_in_the_words_of_5_0_0():
    """Before `tool-input-error` there was, a call that was made wrongly is one whose input streamed and that failed."""
    chunk = {
        "type": "tool-input-error",
        **CALL,
        "input": {"q": 1},
        "errorText": "no",
        "title": "Search",
        "dynamic": True,
    }
    assert told(chunk, "5.0.6") == [
        {"type": "tool-input-start", **CALL, "dynamic": True},
        {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": '{"q":1}'},
        {"type": "tool-output-error", "toolCallId": "c", "errorText": "no", "dynamic": True},
    ]


def test_unknown_keys_are_stripped():
    """Strict versions refuse a chunk with a key they do not know."""
    chunk = {"type": "text-delta", "id": "1", "delta": "x", "private": 1}
    assert told(chunk, None) == [{"type": "text-delta", "id": "1", "delta": "x"}]


def test_data_chunks_keep_what_they_are_made_of():
    """A data chunk becomes a part as it is, so only its own four keys go out."""
    chunk = {"type": "data-a", "id": "1", "data": {"any": "thing"}, "transient": False, "private": 1}
    assert told(chunk, "5") == [{"type": "data-a", "id": "1", "data": {"any": "thing"}, "transient": False}]


def test_unknown_types_are_left_out():
    """A type of a later version than we know would end the stream."""
    assert told({"type": "hologram"}, "7") == []


@pytest.mark.parametrize("version", [None, "5", "6.0.0", "6.0.100", "6"])
def test_decided_approvals_are_not_asked_for(version: str | None):
    """Older clients would show a card for what the policy has decided already."""
    chunk = {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c", "isAutomatic": True}
    assert told(chunk, version) == []
    assert told(chunk, "7.0.0") == [chunk]


def test_a_young_finish_reason_is_said_in_older_words():
    """`interrupted` is no finish reason before 7.0.149, and before 5.0.92 there is none at all."""
    chunk = {"type": "finish", "finishReason": "interrupted"}
    for older in (None, "6", "7.0.148"):
        assert told(chunk, older) == [{"type": "finish", "finishReason": "other"}]
    assert told(chunk, "7.0.149")[0] is chunk
    assert told(chunk, "5.0.91") == [{"type": "finish"}]


def test_the_reason_of_an_abort_is_for_who_says_a_version():
    """No stock client shows it, and early ones refuse it."""
    chunk = {"type": "abort", "reason": "enough"}
    assert told(chunk, None) == [{"type": "abort"}]
    assert told(chunk, "7") == [chunk]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, "stock"),
        ("5", "5.0.217"),
        ("6.0", "6.0.304"),
        ("6.0.326", "6.0.304"),
        ("6.0.230", "6.0.202"),
        ("7.0.0-beta.3+build", "7.0.0"),
        ("7", "7.0.163"),
        ("7.1.0", "7.0.163"),
        ("8.0.1", "7.0.163"),
    ],
)
def test_the_header_names_the_version(header: str | None, name: str):
    """A line is its newest version, and a version newer than we know reads what the newest one does."""
    assert parse_version(header).name == name


@pytest.mark.parametrize(
    "header", ["", "4", "4.3.19", "seven", "7x", "v7", "7.", "7.0.x", "7.0.0.1", "٧", "-7", "9" * 99]
)
def test_a_header_that_is_no_version_is_refused(header: str):
    """Anything else is a mistake to hear about."""
    with pytest.raises(InvalidInputError, match="x-chatrt-ai-sdk"):
        parse_version(header)


def test_versions_that_read_the_same_share_a_dialect():
    """What is encoded for one is there for the other."""
    assert parse_version("6.0.304") is parse_version("6.0.326") is parse_version("6")
    assert parse_version(None) is STOCK


def test_there_are_few_dialects():
    """Each holds frames of its own: there is one for each place where versions differ, and one for those who say none."""
    names = [dialect.name for dialect in all_dialects()]
    assert len(set(names)) == len(names) == 21
