"""The formats that the native wire streams records in, and which one of them a reader asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chatrt import packed
from chatrt.stores.base import Record
from chatrt.wires.frames import native_frame

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"

_PACKED = "packed"


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How records stand in a body.

    Attributes:
        media_type: Of the response.
        heartbeat: What is sent while there is nothing to send.
        frame: Gives the frame of a record; it is kept on the record and shared by all readers.
        idle: Gives the frame that ends a stream which was asked for until nothing is unsettled, by the cursor.
    """

    media_type: str
    heartbeat: bytes
    frame: Callable[[Record], bytes]
    idle: Callable[[int], bytes]


def packed_frame(record: Record) -> bytes:
    """Return a record as a MessagePack frame."""
    frame = record.frames.get(_PACKED)
    if frame is None:
        frame = record.frames[_PACKED] = packed.encode_frame(record.seq, record.kind, record.body)
    return frame


def _idle_event(cursor: int) -> bytes:
    return b'event: idle\ndata: {"cursor":%d}\n\n' % cursor


def _idle_frame(cursor: int) -> bytes:
    return packed.encode_frame(cursor, "idle", b'{"cursor":%d}' % cursor)


EVENTS = StreamFormat(EVENT_STREAM, KEEP_ALIVE, native_frame, _idle_event)
FRAMES = StreamFormat(packed.MEDIA_TYPE, packed.HEARTBEAT, packed_frame, _idle_frame)


def choose_format(accept: str | None) -> StreamFormat:
    """Return the format that an `Accept` header asks for: frames if it names them and rates events no higher.

    A wildcard never means frames, and who accepts neither gets events all the same: a stream that some readers of
    `curl` would refuse by its type is of more use to them than a refusal.
    """
    if accept is None or packed.MEDIA_TYPE not in accept.lower():
        return EVENTS
    rated = dict(_ranges(accept))
    frames = rated.get(packed.MEDIA_TYPE, 0.0)
    events = next((rated[name] for name in (EVENT_STREAM, "text/*", "*/*") if name in rated), 0.0)
    return FRAMES if frames > 0 and frames >= events else EVENTS


def _ranges(accept: str) -> list[tuple[str, float]]:
    ranges: list[tuple[str, float]] = []
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((value for key, _, value in (p.partition("=") for p in parameters) if key.strip() == "q"), "1")
        ranges.append((name, _quality(quality.strip())))
    return ranges


def _quality(text: str) -> float:
    """Read a `q`; what is none counts as not accepted."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
