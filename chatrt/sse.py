"""Server-sent events as bytes: an incremental decoder and the encoder of one event.

Lines end with LF, CR or CRLF and with nothing else: U+2028, U+0085 and other characters that some line splitters cut
at are text. Bytes may be cut anywhere, within a character or between CR and LF too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from chatrt.errors import UsageError

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a CR at the very end may be half of a CRLF


@dataclass(frozen=True, slots=True, kw_only=True)
class SSEEvent:
    """One event.

    Attributes:
        event: Its name; `message` when it has none.
        data: Its data lines, joined by LF.
        id: The id this event carries, or None; the last one that any event carried is `SSEDecoder.last_event_id`.
        retry: The milliseconds to wait before reconnecting, if this event says so.
    """

    event: str = "message"
    data: str
    id: str | None = None
    retry: int | None = None


class SSEDecoder:
    """Turns bytes into events as they become complete. Linear in the number of bytes, however they are cut.

    An event with a data line is given even if the data are empty (as the AI SDK's reader does, browsers skip it).
    Invalid UTF-8 becomes U+FFFD. Comments and unknown fields are skipped.

    Attributes:
        last_event_id: What a reconnecting reader sends as `Last-Event-ID`; empty when there is none.
        pending_bytes: What is held of an event that is not complete.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.pending_bytes = 0
        self._at_start = True
        self._pending: list[bytes] = []
        self._clear()

    def decode(self, data: bytes) -> list[SSEEvent]:
        """Take bytes and return the events that they complete."""
        self._pending.append(data)
        self.pending_bytes += len(data)
        if self._waits_for_more(data):
            return []
        text = b"".join(self._pending)
        if self._at_start:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                return []
            text = text.removeprefix(_BOM)
            self._at_start = False
        events: list[SSEEvent] = []
        position = 0
        for end in _LINE_END.finditer(text):
            self._take_line(text[position : end.start()], events)
            position = end.end()
        self._pending = [text[position:]] if position < len(text) else []
        self.pending_bytes = len(text) - position + sum(map(len, self._data))
        return events

    def flush(self) -> list[SSEEvent]:
        """Say that no bytes will follow; return the event that a last CR completes, drop one that is unfinished."""
        text = b"".join(self._pending)
        self._pending = []
        events: list[SSEEvent] = []
        if text.endswith(b"\r"):
            self._take_line(text[:-1], events)
        self._clear()
        self._at_start = True
        return events

    def _waits_for_more(self, data: bytes) -> bool:
        """Whether the bytes end no line, so that joining what is pending would be work for nothing."""
        if self._at_start or b"\n" in data or b"\r" in data:
            return False
        before = self._pending[-2] if len(self._pending) > 1 else b""
        return not before.endswith(b"\r")

    def _take_line(self, line: bytes, events: list[SSEEvent]) -> None:
        if not line:
            if self._data:
                data = b"\n".join(self._data).decode("utf-8", "replace")
                event = SSEEvent(event=self._event or "message", data=data, id=self._id, retry=self._retry)
                events.append(event)
            self._clear()
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            self.last_event_id = self._id = value.decode("utf-8", "replace")
        elif field == b"retry" and value.isdigit():
            self._retry = int(value)

    def _clear(self) -> None:
        self._data: list[bytes] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None


def encode_event(data: bytes, *, event: str | None = None, id: int | None = None) -> bytes:  # noqa: A002 - the field's name
    """Return one event with one data line.

    Args:
        data: UTF-8 without line ends, for instance JSON.
        event: The event's name: a constant of the program, never text from outside.
        id: A sequence number.

    Raises:
        UsageError: If the data hold a CR or LF, which would end the line.
    """
    if b"\n" in data or b"\r" in data:
        raise UsageError("the data of an event must be one line")
    if event is None and id is None:
        return b"data: %b\n\n" % data
    id_line = b"" if id is None else b"id: %d\n" % id
    event_line = b"" if event is None else b"event: %b\n" % event.encode()
    return b"%b%bdata: %b\n\n" % (id_line, event_line, data)
