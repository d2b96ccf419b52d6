"""The records of an open stream: MessagePack frames or server-sent events, whichever the server answers with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any, cast

import httpx
import orjson

from chatrt.client.transport import OutRecord
from chatrt.errors import MalformedStreamError, ServerUnavailableError
from chatrt.packed import MEDIA_TYPE, FrameDecoder
from chatrt.sse import SSEDecoder

ACCEPT_FRAMES = f"{MEDIA_TYPE}, text/event-stream;q=0.5"
ACCEPT_EVENTS = "text/event-stream"
CONTROL_RECORDS = frozenset({"turn-start", "turn-complete", "gap"})

_Raw = tuple[int, str, bytes | str]


async def read_batches(response: httpx.Response, cursor: int, *, max_bytes: int) -> AsyncGenerator[list[OutRecord]]:
    """Yield the records of a response, those that came in one piece of bytes together.

    Args:
        response: Open, and not read yet.
        cursor: Records up to this one are passed over, should the server send them again.
        max_bytes: What one record may weigh.

    Raises:
        MalformedStreamError: If the body is no stream of records, or one is too large.
        ServerUnavailableError: If the body ends in the middle of a record.
        httpx.TransportError: If the connection breaks.
    """
    is_packed = response.headers.get("content-type", "").partition(";")[0].strip().lower() == MEDIA_TYPE
    source = _Frames(max_bytes) if is_packed else _Events(max_bytes)
    async for data in response.aiter_bytes():
        batch: list[OutRecord] = []
        for seq, kind, body in source.feed(data):
            # Control records of a newer server are passed over; the next record carries the cursor beyond them. A gap
            # stands for records before its own number, which may be the cursor itself.
            known = kind == "chunk" or kind in CONTROL_RECORDS
            if known and (seq > cursor or kind == "gap"):
                batch.append(OutRecord(seq, kind, _parse(body)))
                cursor = seq
        if batch:
            yield batch
    if not source.is_whole:
        raise ServerUnavailableError("the stream broke off in the middle of a record")


class _Frames:
    """A body of MessagePack frames."""

    def __init__(self, max_bytes: int) -> None:
        self._decoder = FrameDecoder(max_bytes)

    def feed(self, data: bytes) -> Iterable[_Raw]:
        return self._decoder.decode(data)

    @property
    def is_whole(self) -> bool:
        return self._decoder.is_between_frames


class _Events:
    """A body of server-sent events. One that is unfinished at the end is none, as the format has it."""

    is_whole = True

    def __init__(self, max_bytes: int) -> None:
        self._decoder = SSEDecoder()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> Iterator[_Raw]:
        events = self._decoder.decode(data)
        if self._decoder.pending_bytes > self._max_bytes:
            raise MalformedStreamError(f"a record of more than {self._max_bytes} bytes")
        for event in events:
            if event.id is not None and event.id.isascii() and event.id.isdigit():
                yield int(event.id), "chunk" if event.event == "message" else event.event, event.data


def _parse(body: bytes | str) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedStreamError(f"a record that is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedStreamError("a record that is no object")
    return cast("dict[str, Any]", value)
