"""chatrt.sse: server-sent events from bytes and to bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.errors import UsageError
from chatrt.sse import SSEDecoder, SSEEvent, encode_event


def decode(*pieces: bytes) -> list[SSEEvent]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.decode(piece)]


def test_an_event_is_given_as_soon_as_its_blank_line_is_there():
    """An event comes out of the very call that brings its blank line, and not before."""
    decoder = SSEDecoder()
    assert decoder.decode(b"data: a\n") == []
    assert decoder.decode(b"\n") == [SSEEvent(data="a")]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_with_lf_cr_or_crlf(end):
    """Each of the three line ends separates lines."""
    text = end.join([b"event: x", b"data: a", b"data: b", b"", b"data: c", b"", b": end"])
    assert decode(text) == [SSEEvent(event="x", data="a\nb"), SSEEvent(data="c")]


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c"])
def test_other_separators_are_text(char):
    """No other character ends a line, whatever Unicode says of it."""
    assert decode(f"data: a{char}b\n\n".encode()) == [SSEEvent(data=f"a{char}b")]


TEXT = "\ufeff: hello\r\n\r\ndata: zażółć 👍\nid: 7\n\nevent: e\rdata:\u2028\rdata\r\rretry: 5\r\ndata: x\r\n\r\n: \n".encode()
EVENTS = [
    SSEEvent(data="zażółć 👍", id="7"),
    SSEEvent(event="e", data="\u2028\n"),
    SSEEvent(data="x", retry=5),
]


@given(st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_bytes_may_be_cut_anywhere(cuts):
    """However the bytes are cut, in characters, in line ends or in the byte order mark, the same events come out."""
    places = [0, *sorted(cuts), len(TEXT)]
    assert decode(*(TEXT[start:end] for start, end in itertools.pairwise(places))) == EVENTS


def test_an_unfinished_event_is_dropped():
    """An event whose blank line never came is not given, not even at the end of the stream."""
    decoder = SSEDecoder()
    assert decoder.decode(b"data: a\n") == []
    assert decoder.flush() == []


def test_a_last_cr_counts_when_the_stream_ends():
    """A CR that may be half of a CRLF is decided by the end of the stream."""
    decoder = SSEDecoder()
    assert decoder.decode(b"data: a\r\r") == []
    assert decoder.flush() == [SSEEvent(data="a")]


def test_only_the_first_byte_order_mark_is_dropped():
    """A second one belongs to the field name, which is unknown then."""
    assert decode(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n") == []


def test_an_event_without_data_lines_is_none():
    """Ids and names alone make no event, but the id is remembered for a reconnection."""
    decoder = SSEDecoder()
    assert decoder.decode(b"event: x\nid: 9\n\ndata: a\n\n") == [SSEEvent(data="a")]
    assert decoder.last_event_id == "9"


def test_empty_data_are_data():
    """An event with an empty data line is given, as the AI SDK's reader gives it."""
    assert decode(b"data:\n\n") == [SSEEvent(data="")]


def test_one_space_after_the_colon_is_dropped():
    """Only the first space belongs to the syntax."""
    assert decode(b"data:  a\n\n") == [SSEEvent(data=" a")]


@pytest.mark.parametrize("field", [b"id: a\0b", b"retry: 1x", b"retry:", b"Data: a", b"nonsense"])
def test_what_is_no_field_is_skipped(field):
    """Ids with NUL, retries that are no number and unknown fields change nothing."""
    assert decode(field + b"\ndata: a\n\n") == [SSEEvent(data="a")]


def test_invalid_utf8_becomes_replacement_characters():
    """Broken bytes do not break the stream."""
    assert decode(b"data: a\xffb\n\n") == [SSEEvent(data="a\ufffdb")]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), st.none() | st.integers(0, 2**63))
def test_what_is_encoded_can_be_decoded(data, number):
    """One line of data comes back as it was, with its name and id."""
    encoded = encode_event(data.encode(), event="turn-start", id=number)
    identity = None if number is None else str(number)
    assert decode(encoded) == [SSEEvent(event="turn-start", data=data, id=identity)]


def test_a_bare_event_is_one_data_line():
    """Without name and id an event is what the AI SDK's wire has for a chunk."""
    assert encode_event(b'{"type":"finish"}') == b'data: {"type":"finish"}\n\n'


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb"])
def test_data_with_a_line_end_are_refused(data):
    """A line end would let data become fields or events."""
    with pytest.raises(UsageError):
        encode_event(data)
