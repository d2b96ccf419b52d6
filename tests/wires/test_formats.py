"""Formats of the native wire's stream: which one a reader gets, and that a frame is made once."""

from __future__ import annotations

import msgpack
import pytest

from chatrt.packed import MEDIA_TYPE
from chatrt.stores.base import Record
from chatrt.wires.formats import EVENTS, FRAMES, choose_format

EVENT_STREAM = "text/event-stream"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, EVENTS),
        ("", EVENTS),
        ("*/*", EVENTS),
        ("application/*", EVENTS),
        ("application/json", EVENTS),
        (EVENT_STREAM, EVENTS),
        (MEDIA_TYPE, FRAMES),
        (MEDIA_TYPE.upper(), FRAMES),
        (f"{MEDIA_TYPE}, {EVENT_STREAM}", FRAMES),
        (f"{EVENT_STREAM}, {MEDIA_TYPE}", FRAMES),
        (f"{MEDIA_TYPE}, {EVENT_STREAM};q=0.5", FRAMES),
        (f"{MEDIA_TYPE};q=0.5, {EVENT_STREAM}", EVENTS),
        (f"{MEDIA_TYPE};q=0.5, */*", EVENTS),
        (f"{MEDIA_TYPE};q=0.5, */*;q=0.1", FRAMES),
        (f"{MEDIA_TYPE};q=0.5, text/*;q=0.6, */*;q=0.1", EVENTS),
        (f"{MEDIA_TYPE};q=0.5, {EVENT_STREAM};q=0.2, */*", FRAMES),
        (f"{MEDIA_TYPE};q=0", EVENTS),
        (f"{MEDIA_TYPE} ; Q=0.9 , {EVENT_STREAM} ; q=0.8", FRAMES),
        (f"{MEDIA_TYPE};version=1;q=0.9, {EVENT_STREAM};q=0.8", FRAMES),
        (f"{MEDIA_TYPE};q=much", EVENTS),
        (f"{MEDIA_TYPE};q=nan", EVENTS),
        (f"{MEDIA_TYPE};q=7", EVENTS),
        (",;,", EVENTS),
    ],
)
def test_frames_are_for_those_who_name_them(accept, chosen):
    """Frames come when they are named and rated no lower than events; a wildcard or nothing means events."""
    assert choose_format(accept) is chosen


def test_a_frame_is_made_once():
    """All readers of a record share one frame, beside the event of the other format."""
    record = Record(12, 0, "chunk", b'{"type":"start"}')
    assert FRAMES.frame(record) is FRAMES.frame(record)
    assert EVENTS.frame(record) != FRAMES.frame(record)


def test_a_frame_holds_the_body_as_it_is():
    """The body is byte for byte what was stored, line ends and spaces included."""
    body = '{ "delta" : "a\u2028b" ,\n"n":1.0}'.encode()
    assert msgpack.unpackb(FRAMES.frame(Record(3, 0, "turn-start", body))) == [3, "turn-start", body]


def test_the_end_of_a_stream_is_a_frame_too():
    """`idle` has the cursor as its number and in its body."""
    assert msgpack.unpackb(FRAMES.idle(10)) == [10, "idle", b'{"cursor":10}']
