"""The encoder of one response: chunks that depend on those before them, and frames that readers share."""

from __future__ import annotations

import json

import pytest

from chatrt import codec
from chatrt.stores import Record
from chatrt.wires.chunk_encoder import ChunkEncoder, chunk_frame, chunk_type, translate_body
from chatrt.wires.chunk_versions import STOCK, parse_version

NEWEST = parse_version("7")


def said(frames: bytes) -> list[dict]:
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames.split(b"\n\n") if frame]


def written(version: str | None, *chunks: dict) -> list[dict]:
    """What a reader is sent for records of these chunks."""
    encoder = ChunkEncoder(parse_version(version))
    records = [Record(seq, 0, "chunk", codec.dumps(chunk)) for seq, chunk in enumerate(chunks, 1)]
    return [one for record in records for one in said(encoder.record(record))]


def delta(text: str, block: str = "text") -> dict:
    return {"type": f"{block}-delta", "id": "b", "delta": text}


def start(block: str = "text") -> dict:
    return {"type": f"{block}-start", "id": "b"}


def end(block: str = "text") -> dict:
    return {"type": f"{block}-end", "id": "b"}


STEP, STEP_END = {"type": "start-step"}, {"type": "finish-step"}
RESET = {"type": "reset-step"}


@pytest.mark.parametrize("block", ["text", "reasoning"])
def test_a_block_beyond_its_step_goes_on_as_another_one(block: str):
    """Before 7.0.79 a step ends its blocks: what still comes of one begins anew, and nothing is lost."""
    chunks = [
        STEP,
        start(block),
        delta("one ", block),
        STEP_END,
        STEP,
        delta("two", block),
        delta("!", block),
        end(block),
    ]
    assert written(None, *chunks) == [
        *[STEP, start(block), delta("one ", block), end(block), STEP_END],
        *[STEP, start(block), delta("two", block), delta("!", block), end(block)],
    ]
    assert written("7.0.79", *chunks) == chunks


def test_a_block_that_only_ends_beyond_its_step_ends_once():
    """The end that the reader was given with the step stands for the later one."""
    chunks = [STEP, start(), delta("one"), STEP_END, end()]
    assert written("6", *chunks) == [STEP, start(), delta("one"), end(), STEP_END]


def test_blocks_that_end_in_their_step_are_left_alone():
    """What every version follows is not touched."""
    chunks = [STEP, start(), delta("one"), end(), STEP_END, STEP, start(), delta("two"), end(), STEP_END]
    assert written("5", *chunks) == chunks


def test_a_reset_leaves_nothing_open():
    """Who does not know `reset-step` keeps the words that were taken back, as parts that are complete."""
    chunks = [STEP, start(), delta("no"), RESET, start(), delta("yes"), end()]
    assert written(None, *chunks) == [STEP, start(), delta("no"), end(), start(), delta("yes"), end()]
    assert written("7.0.70", *chunks) == chunks


@pytest.mark.parametrize("version", [None, "5", "5.0.0"])
def test_outputs_of_dynamic_calls_say_so(version: str | None):
    """v5 looks for a dynamic call only when the output says that it is one."""
    call = {"type": "tool-input-available", "toolCallId": "c", "toolName": "x", "input": {}, "dynamic": True}
    output = {"type": "tool-output-available", "toolCallId": "c", "output": 1}
    assert written(version, call, output) == [call, {**output, "dynamic": True}]
    assert written("6", call, output) == [call, output]


def test_outputs_of_static_calls_stay_as_they_are():
    """A static call is not found by an output that says it is dynamic."""
    call = {"type": "tool-input-available", "toolCallId": "c", "toolName": "x", "input": {}}
    other = {**call, "toolCallId": "d", "dynamic": True}
    output = {"type": "tool-output-error", "toolCallId": "c", "errorText": "no"}
    assert written("5", other, call, output) == [other, call, output]


def test_a_denied_dynamic_call_fails_where_it_is_found():
    """Both bridges hold at once."""
    call = {"type": "tool-input-available", "toolCallId": "c", "toolName": "x", "input": {}, "dynamic": True}
    assert written("5", call, {"type": "tool-output-denied", "toolCallId": "c"})[-1] == {
        "type": "tool-output-error",
        "toolCallId": "c",
        "errorText": "Tool call execution denied.",
        "dynamic": True,
    }


def test_dynamic_calls_of_a_continued_message_are_known():
    """An answer to an approval continues a message that the reader has: its calls are not told again."""
    encoder = ChunkEncoder(STOCK)
    part = {"type": "dynamic-tool", "toolCallId": "c", "toolName": "x", "state": "approval-responded", "input": {}}
    encoder.know({"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "."}, part]})
    output = {"type": "tool-output-available", "toolCallId": "c", "output": 1}
    assert said(encoder.chunk(output)) == [{**output, "dynamic": True}]


def test_open_blocks_can_be_ended():
    """What is open at the seam of a head start is ended, once."""
    encoder = ChunkEncoder(NEWEST)
    for chunk in (start(), {"type": "reasoning-start", "id": "r"}, {"type": "text-start", "id": "c"}, end()):
        encoder.chunk(chunk)
    assert said(encoder.close()) == [{"type": "reasoning-end", "id": "r"}, {"type": "text-end", "id": "c"}]
    assert encoder.close() == b""


def test_an_untouched_chunk_keeps_its_bytes():
    """What need not be changed is sent byte for byte as it was stored, and encoded once."""
    body = b'{"type":"text-delta", "id":"1","delta":"x"}'
    record = Record(1, 0, "chunk", body)
    frame = chunk_frame(record, STOCK)
    assert frame == b"data: " + body + b"\n\n"
    assert chunk_frame(record, STOCK) is frame


def test_a_chunk_out_of_no_log_keeps_the_bytes_that_are_there():
    """Where the caller has the JSON already, it is not made again."""
    assert ChunkEncoder(STOCK).chunk(STEP, b'{"type": "start-step"}') == b'data: {"type": "start-step"}\n\n'


def test_all_versions_share_the_frame_of_a_chunk_that_they_read_alike():
    """Whatever the readers, an ordinary chunk is in memory once."""
    for chunk in (delta("x"), delta('"'), {"type": "start", "messageId": "m"}):
        record = Record(1, 0, "chunk", codec.dumps(chunk))
        frames = {id(chunk_frame(record, parse_version(version))) for version in (None, "5.0.0", "6.0.100", "7")}
        assert len(frames) == 1


def test_versions_do_not_share_frames_that_differ():
    """Two clients of different versions read the same record differently."""
    record = Record(1, 0, "chunk", codec.dumps({"type": "custom", "kind": "a.b"}))
    assert chunk_frame(record, STOCK) == b""
    assert said(chunk_frame(record, NEWEST)) == [{"type": "custom", "kind": "a.b"}]


@pytest.mark.parametrize("kind", ["text-delta", "data-x", 'data-"'])
def test_the_type_of_a_chunk_is_read_without_decoding_it(kind: str):
    """Whatever writes the JSON; a quote in a type of the application's own leaves it a data type."""
    chunk = {"type": kind, "data": {"type": "start"}}
    assert chunk_type(codec.dumps(chunk)).startswith(kind.partition('"')[0])
    assert chunk_type(json.dumps({"data": 1, "type": kind}).encode()) == kind


def test_bodies_are_translated_for_other_wires():
    """What frames a chunk in another way gets the encoded chunks that say it."""
    body = codec.dumps({"type": "tool-output-denied", "toolCallId": "c"})
    assert translate_body(body, NEWEST) == [body]
    assert [json.loads(one)["type"] for one in translate_body(body, parse_version("5"))] == ["tool-output-error"]
    assert translate_body(codec.dumps(RESET), STOCK) == []
