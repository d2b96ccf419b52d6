"""Frames: one event each, encoded once, safe whatever the text is."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from chatrt import codec
from chatrt.sse import SSEDecoder
from chatrt.stores import Record
from chatrt.wires.frames import MAX_WRITE, data_frame, native_frame, one_line, writes


def chunk_record(value: object, seq: int = 7) -> Record:
    return Record(seq, 0, "chunk", codec.dumps(value))


def test_a_chunk_is_a_plain_event_whose_id_is_its_seq():
    """A chunk record is an event without a name; `id` is the cursor."""
    frame = native_frame(chunk_record({"type": "start"}, seq=12))
    assert frame == b'id: 12\ndata: {"type":"start"}\n\n'


def test_a_control_record_is_a_named_event():
    """Everything but chunks goes out under the name of its kind."""
    frame = native_frame(Record(3, 0, "turn-complete", b'{"inSeq":1}'))
    assert frame == b'event: turn-complete\nid: 3\ndata: {"inSeq":1}\n\n'


def test_a_frame_is_encoded_once():
    """Readers of one record share the very same bytes."""
    record = chunk_record({"type": "start"})
    assert native_frame(record) is native_frame(record)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_text_can_end_a_line(text: str):
    """Whatever a model or a person wrote, the frame is one event with the same value, by any reader's idea of a line."""
    frame = native_frame(chunk_record({"type": "text-delta", "id": "1", "delta": text}))
    assert len(frame.decode().splitlines()) == 3
    [event] = SSEDecoder().decode(frame)
    assert json.loads(event.data)["delta"] == text


def test_json_with_line_ends_between_tokens_becomes_one_line():
    """JSON that another hand stored with line ends is sent as one line of the same value."""
    assert one_line(b'{"a":\r\n 1}') == b'{"a":   1}'


def test_frames_are_joined_into_few_writes():
    """Small frames leave in one write."""
    assert list(writes([b"a" * 10] * 100)) == [b"a" * 1000]


def test_a_write_never_cuts_a_frame():
    """Writes end at the border of a frame and hold at most 64 KiB."""
    frame = data_frame(b"x" * 10_000)
    joined = list(writes([frame] * 20))
    assert all(len(data) <= MAX_WRITE and len(data) % len(frame) == 0 for data in joined)
    assert b"".join(joined) == frame * 20


def test_a_frame_longer_than_a_write_goes_out_whole():
    """A heartbeat could land between two writes, so a long frame is one write."""
    long = data_frame(b"x" * (MAX_WRITE + 1))
    assert list(writes([b"a", long, b"b"])) == [b"a", long, b"b"]


def test_frames_that_are_left_out_make_no_write():
    """An empty frame is nothing to send."""
    assert list(writes([b"", b""])) == []
