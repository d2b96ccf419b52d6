"""Records as a client reads them from a body: either format, cut anywhere, and bodies that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from chatrt.client import HTTPTransport
from chatrt.client.records import read_batches
from chatrt.clock import SystemClock
from chatrt.errors import MalformedStreamError, ServerUnavailableError
from chatrt.packed import HEARTBEAT, MEDIA_TYPE, encode_frame
from tests.client.test_http import Hurried, scripted, sse

EVENT_STREAM = "text/event-stream; charset=utf-8"
SECOND = encode_frame(2, "chunk", b'{"type":"start"}')
PACKED = encode_frame(1, "turn-start", b'{"inSeq":1}') + HEARTBEAT + SECOND
PLAIN = b'event: turn-start\nid: 1\ndata: {"inSeq":1}\n\n: beat\n\nid: 2\ndata: {"type":"start"}\n\n'
READ = [(1, "turn-start", {"inSeq": 1}), (2, "chunk", {"type": "start"})]


class Pieces(httpx.AsyncByteStream):
    """A body that arrives in pieces, and may break off."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def body(kind: str, *pieces: bytes | Exception) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": kind}, stream=Pieces(*pieces))


async def records(response: httpx.Response, *, cursor: int = 0, max_bytes: int = 1000) -> list[tuple]:
    found = []
    async with aclosing(read_batches(response, cursor, max_bytes=max_bytes)) as batches:
        async for batch in batches:
            found += [(record.seq, record.kind, record.body) for record in batch]
    return found


@pytest.mark.parametrize(("kind", "data"), [(MEDIA_TYPE, PACKED), (EVENT_STREAM, PLAIN)], ids=["frames", "events"])
async def test_records_come_whole_however_they_are_cut(kind, data):
    """Byte by byte, in halves or at once the records are the same."""
    for size in (1, len(data) // 2, len(data)):
        assert await records(body(kind, *(data[at : at + size] for at in range(0, len(data), size)))) == READ


@pytest.mark.parametrize(("kind", "data"), [(MEDIA_TYPE, PACKED), (EVENT_STREAM, PLAIN)], ids=["frames", "events"])
async def test_what_was_read_is_passed_over(kind, data):
    """A server that sends a record again does not make the reader see it twice."""
    assert await records(body(kind, data, data), cursor=1) == READ[1:]


async def test_frames_of_a_newer_kind_are_passed_over():
    """A kind that this client does not know is none of its records."""
    data = encode_frame(1, "mood", b'{"a":1}') + encode_frame(2, "idle", b'{"cursor":2}') + PACKED
    assert await records(body(MEDIA_TYPE, data)) == READ


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (MEDIA_TYPE, b"<html>Bad gateway</html>"),
        (MEDIA_TYPE, encode_frame(1, "chunk", b"{no json")),
        (MEDIA_TYPE, encode_frame(1, "chunk", b"[1]")),
        (MEDIA_TYPE, encode_frame(1, "chunk", b'{"a":"%b"}' % (b"x" * 1000))),
        (EVENT_STREAM, b"id: 1\ndata: {no json\n\n"),
        (EVENT_STREAM, b"id: 1\ndata: 7\n\n"),
        (EVENT_STREAM, b"id: 1\ndata: " + b"x" * 1000),
        (EVENT_STREAM, b"id: 1\n" + b"data: x\n" * 2000),
    ],
)
async def test_a_body_that_is_no_stream_of_records_is_told(kind, data):
    """Other bytes, other values and records over the limit are one typed error, and nothing more is read."""
    with pytest.raises(MalformedStreamError):
        await records(body(kind, data))


async def test_a_body_that_ends_within_a_frame_is_a_break():
    """A proxy that completes a body which its server broke off is found out."""
    with pytest.raises(ServerUnavailableError):
        await records(body(MEDIA_TYPE, PACKED, PACKED[:-1]))


async def test_reading_goes_on_behind_the_last_whole_frame():
    """After a break within a frame, or of the connection, the next request begins behind the last whole one."""
    third = encode_frame(3, "turn-complete", b'{"inSeq":1}')
    http, requests = scripted(
        body(MEDIA_TYPE, PACKED[:-3]),
        body(MEDIA_TYPE, SECOND, httpx.ReadError("broken")),
        body(MEDIA_TYPE, third),
    )
    transport, seen = HTTPTransport("http://server", http=http, clock=Hurried()), []
    async with aclosing(transport.read("c", after=0)) as batches:
        async for batch in batches:
            seen += [record.seq for record in batch]
            if seen[-1] == 3:
                break
    assert seen == [1, 2, 3]
    assert [request.headers["last-event-id"] for request in requests] == ["0", "1", "2"]


async def test_frames_are_asked_for_and_events_are_taken():
    """The transport rates frames higher; a server that knows only events is understood all the same."""
    http, requests = scripted(sse('id: 1\ndata: {"type":"start"}'))
    transport = HTTPTransport("http://server", http=http, clock=Hurried())
    async with aclosing(transport.read("c", after=0)) as batches:
        assert [record.seq for record in await anext(batches)] == [1]
    assert requests[0].headers["accept"] == f"{MEDIA_TYPE}, text/event-stream;q=0.5"


async def test_frames_can_be_declined():
    """With `frames=False` only events are asked for."""
    http, requests = scripted(sse('id: 1\ndata: {"type":"start"}'))
    transport = HTTPTransport("http://server", http=http, frames=False, clock=Hurried())
    async with aclosing(transport.read("c", after=0)) as batches:
        await anext(batches)
    assert requests[0].headers["accept"] == "text/event-stream"


async def test_a_malformed_stream_is_not_asked_for_again():
    """It would be malformed again: the reader is told at once."""
    http, requests = scripted(body(MEDIA_TYPE, b"\xc1"))
    transport = HTTPTransport("http://server", http=http, clock=SystemClock())
    with pytest.raises(MalformedStreamError):
        await anext(transport.read("c", after=0))
    assert len(requests) == 1
