"""MessagePack frames: what they are, wherever their bytes are cut, and what is none."""

from __future__ import annotations

import itertools

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.errors import MalformedStreamError
from chatrt.packed import HEARTBEAT, FrameDecoder, encode_frame

KINDS = ("chunk", "turn-start", "turn-complete", "gap")
FRAMES = st.lists(st.tuples(st.integers(0, 2**63 - 1), st.sampled_from(KINDS), st.binary(max_size=400)), max_size=8)


def test_a_frame_is_three_values():
    """A frame is an array of a number, a kind and the bytes of the body as they are."""
    frame = encode_frame(7, "chunk", b'{"type":"start"}')
    assert frame == b'\x93\x07\xa5chunk\xc4\x10{"type":"start"}'
    assert msgpack.unpackb(frame) == [7, "chunk", b'{"type":"start"}']


@given(FRAMES, st.lists(st.integers(0, 4000), max_size=12), st.booleans())
def test_frames_may_be_cut_anywhere(frames, cuts, beats):
    """However the bytes are cut, and with heartbeats between the frames, the frames are the same."""
    beat = HEARTBEAT if beats else b""
    data = b"".join(encode_frame(*frame) + beat for frame in frames)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    decoder = FrameDecoder()
    found = [frame for start, end in itertools.pairwise(places) for frame in decoder.decode(data[start:end])]
    assert found == frames
    assert decoder.is_between_frames


def test_a_cut_within_a_frame_is_told():
    """After each byte of a frame but the last the stream is not at an end."""
    frame = encode_frame(300, "turn-complete", b'{"inSeq":1}')
    ends = []
    for length in range(len(frame) + 1):
        decoder = FrameDecoder()
        decoder.decode(frame[:length])
        ends.append(decoder.is_between_frames)
    assert ends == [True, *[False] * (len(frame) - 1), True]


@pytest.mark.parametrize(
    "value",
    [
        [1, "chunk"],
        [1, "chunk", b"{}", 4],
        ["1", "chunk", b"{}"],
        [-1, "chunk", b"{}"],
        [True, "chunk", b"{}"],
        [1, b"chunk", b"{}"],
        [1, "chunk", "{}"],
        [1, "chunk", None],
        [1, "k" * 65, b"{}"],
        {},
        {"a": 1},
        7,
        "text",
        msgpack.ExtType(1, b"x"),
    ],
    ids=repr,
)
def test_other_values_are_refused(value):
    """Whatever is no frame and no heartbeat is an error, not a record."""
    with pytest.raises(MalformedStreamError):
        FrameDecoder().decode(msgpack.packb(value))


@pytest.mark.parametrize("data", [b"\xc1", b'{"error": 1}', b"id: 1\ndata: {}\n\n", b"\x93\x01\xa2\xff\xfe\xc4\x00"])
def test_other_bytes_are_refused(data):
    """Bytes that are no MessagePack, or text of another format, are an error."""
    with pytest.raises(MalformedStreamError):
        FrameDecoder().decode(data)


def test_a_frame_has_a_largest_size():
    """A body of the limit is read; one byte more is an error."""
    decoder = FrameDecoder(max_bytes=1000)
    assert decoder.decode(encode_frame(1, "chunk", b"x" * 1000)) == [(1, "chunk", b"x" * 1000)]
    with pytest.raises(MalformedStreamError, match="1001"):
        decoder.decode(encode_frame(2, "chunk", b"x" * 1001))


def test_an_endless_frame_is_not_held():
    """Of a frame that says it is huge no more is held than the limit and one piece."""
    decoder, fed, piece = FrameDecoder(max_bytes=100_000), 0, b"x" * 8192
    decoder.decode(b"\x93\x01\xa5chunk\xc6\x7f\xff\xff\xff")
    refusal = ""
    while fed < 2**24 and not refusal:
        fed += len(piece)
        try:
            decoder.decode(piece)
        except MalformedStreamError as error:
            refusal = error.reason
    assert refusal == "a record of more than 100000 bytes"
    assert fed < 200_000


def test_many_frames_in_one_piece_are_no_large_frame():
    """The limit is for one frame: a piece that holds many is read."""
    data = encode_frame(1, "chunk", b"x" * 900) * 1000
    assert len(FrameDecoder(max_bytes=1000).decode(data)) == 1000
