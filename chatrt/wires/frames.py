"""SSE frames: how a record of `.out` stands on the wire, encoded once and shared by all readers.

A frame is one whole event, ended by its blank line. The text of a frame is a constant event name, a decimal cursor and
one line of JSON, so nothing a model or a person wrote can end a line or a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chatrt.stores.base import Record

MAX_WRITE = 64 * 1024
"""How many bytes one write holds at most, unless a single frame is larger; bytes."""

DONE = b"data: [DONE]\n\n"
NATIVE = "native"

# What some line readers take for the end of a line: CR and LF, which JSON only has between tokens, and NEL, LS, PS,
# which JSON may hold inside a string as they are.
_LINE_ENDS = re.compile(rb"\r|\n|\xc2\x85|\xe2\x80\xa8|\xe2\x80\xa9")
_ESCAPES = {b"\r": b" ", b"\n": b" ", b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}


def one_line(body: bytes) -> bytes:
    """Return the same JSON value in one line, by anybody's idea of a line."""
    if (body.isascii() and b"\n" not in body and b"\r" not in body) or _LINE_ENDS.search(body) is None:
        return body
    return _LINE_ENDS.sub(lambda match: _ESCAPES[match.group()], body)


def data_frame(body: bytes) -> bytes:
    """Return an event that has nothing but data."""
    return b"data: %b\n\n" % one_line(body)


def native_frame(record: Record) -> bytes:
    """Return a record as the native wire has it: chunks as plain events, all else under its kind's name.

    `id:` is the record's seq, so that `Last-Event-ID` is the cursor. The frame is kept on the record.
    """
    frame = record.frames.get(NATIVE)
    if frame is None:
        if record.kind == "chunk":
            frame = b"id: %d\ndata: %b\n\n" % (record.seq, one_line(record.body))
        else:
            frame = b"event: %b\nid: %d\ndata: %b\n\n" % (record.kind.encode(), record.seq, one_line(record.body))
        record.frames[NATIVE] = frame
    return frame


def writes(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Join frames into as few writes as possible, none longer than `MAX_WRITE` and none that cuts a frame.

    A frame that is longer by itself goes out whole: a heartbeat may stand between two writes, never inside an event.
    """
    pending: list[bytes] = []
    size = 0
    for frame in frames:
        if pending and size + len(frame) > MAX_WRITE:
            yield b"".join(pending)
            pending.clear()
            size = 0
        if frame:
            pending.append(frame)
            size += len(frame)
    if pending:
        yield b"".join(pending)
