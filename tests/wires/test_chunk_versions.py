"""Chunks by version: a client is never sent what would end its stream."""

from __future__ import annotations

import json

import pytest

from chatrt import codec
from chatrt.errors import InvalidInputError
from chatrt.stores import Record
from chatrt.wires.chunk_versions import chunk_frame, parse_major, trim_chunk

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


@pytest.mark.parametrize("chunk", SINCE_7, ids=lambda chunk: chunk["type"])
def test_chunks_that_only_v7_knows_are_left_out_by_default(chunk: dict):
    """A client that does not say its version is not sent chunk types of v7."""
    assert trim_chunk(chunk, "stock") is None
    assert trim_chunk(chunk, "6") is None
    assert trim_chunk(chunk, "7") is chunk


@pytest.mark.parametrize("chunk", SINCE_6, ids=lambda chunk: chunk["type"])
def test_approvals_reach_every_client_that_may_know_them(chunk: dict):
    """Approvals work with stock v6 and v7, which say no version; only a declared v5 is spared them."""
    assert trim_chunk(chunk, "stock") is chunk
    assert trim_chunk(chunk, "5") is None


def test_unknown_keys_are_stripped():
    """Strict versions refuse a chunk with a key they do not know."""
    chunk = {"type": "text-delta", "id": "1", "delta": "x", "private": 1}
    assert trim_chunk(chunk, "stock") == {"type": "text-delta", "id": "1", "delta": "x"}


def test_data_chunks_keep_what_they_are_made_of():
    """A data chunk becomes a part as it is, so only its own four keys go out."""
    chunk = {"type": "data-a", "id": "1", "data": {"any": "thing"}, "transient": False, "private": 1}
    assert trim_chunk(chunk, "5") == {"type": "data-a", "id": "1", "data": {"any": "thing"}, "transient": False}


def test_unknown_types_are_left_out():
    """A type of a later version than we know would end the stream."""
    assert trim_chunk({"type": "hologram"}, "7") is None


def test_decided_approvals_are_not_asked_for():
    """Older clients would show a card for what the policy has decided already."""
    chunk = {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c", "isAutomatic": True}
    assert trim_chunk(chunk, "stock") is None
    assert trim_chunk(chunk, "7") is chunk


def test_a_finish_reason_of_v7_is_said_in_older_words():
    """`interrupted` is no finish reason before v7."""
    chunk = {"type": "finish", "finishReason": "interrupted"}
    assert trim_chunk(chunk, "6") == {"type": "finish", "finishReason": "other"}
    assert trim_chunk(chunk, "7") is chunk


@pytest.mark.parametrize(("header", "major"), [(None, "stock"), ("5", "5"), ("6.0.326", "6"), ("7", "7"), ("8.1", "7")])
def test_the_header_names_the_version(header: str | None, major: str):
    """The first number counts; a version newer than we know reads what v7 reads."""
    assert parse_major(header) == major


@pytest.mark.parametrize("header", ["", "4", "seven", "7x", "٧", "-7"])
def test_a_header_that_is_no_version_is_refused(header: str):
    """Anything else is a mistake to hear about."""
    with pytest.raises(InvalidInputError):
        parse_major(header)


def test_an_untouched_chunk_keeps_its_bytes():
    """What need not be changed is sent byte for byte as it was stored, and encoded once."""
    body = b'{"type":"text-delta", "id":"1","delta":"x"}'
    record = Record(1, 0, "chunk", body)
    frame = chunk_frame(record, "stock")
    assert frame == b"data: " + body + b"\n\n"
    assert chunk_frame(record, "stock") is frame


def test_versions_do_not_share_frames():
    """Two clients of different versions read the same record differently."""
    record = Record(1, 0, "chunk", codec.dumps({"type": "custom", "kind": "a.b"}))
    assert chunk_frame(record, "stock") == b""
    assert json.loads(chunk_frame(record, "7").removeprefix(b"data: ")) == {"type": "custom", "kind": "a.b"}
