"""Records of the Trigger-compatible wire: what becomes of those of `.out`, encoded once for all readers.

A record keeps its seq, so cursors are those of the other wires. What clients of this wire did not ask for makes no turn
of its own here: they end an answer at the next `turn-complete`, whatever it settles.

    chunk                                    a data record
    turn-complete                            the control record `turn-complete`, with the `.in` cursor of its end
    turn-complete injected, or with a retry  left out: another one follows, or the turn goes on
    upgrade                                  the control record `upgrade-required`
    gap                                      the control record `gap`, which clients pass
    what a preload, a switch or a write that found nothing running says
                                             its data, as transient ones; nothing else
    all else                                 left out
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from chatrt import codec
from chatrt.stores.base import Record
from chatrt.wires.chunk_encoder import translate_body
from chatrt.wires.chunk_versions import Dialect
from chatrt.wires.frames import MAX_WRITE, one_line

_QUIET = frozenset({"preload", "switch", "write"})
"""What begins a turn that no client of this wire waits for."""

_BATCH = b'event: batch\ndata: {"records":['


class Translator:
    """Makes records of this wire out of those of `.out`, for one reader.

    Args:
        dialect: What the reader knows of chunks.
        cursor: The last record it has.

    Attributes:
        cursor: Up to where everything was handed out, or will never be: where the reader may go on.
    """

    def __init__(self, dialect: Dialect, cursor: int) -> None:
        self.cursor = cursor
        self._dialect = dialect
        self._in_turn = True
        self._is_quiet = False
        self._held: list[Record] = []

    def feed(self, batch: Iterable[Record]) -> Iterator[bytes]:
        """Yield the encoded records that a batch makes."""
        for record in batch:
            if record.kind == "chunk" and not self._is_quiet:
                if self._in_turn and (encoded := data_records(record, self._dialect)):
                    yield from (encoded,) if b"\n" not in encoded else encoded.split(b"\n")
            else:
                yield from self._control(record)
            if not self._is_quiet:
                self.cursor = record.seq

    def _control(self, record: Record) -> Iterator[bytes]:
        match record.kind:
            case "chunk":
                self._held.append(record)
            case "turn-start":
                yield from self._release(record.seq)
                self._in_turn = True
                self._is_quiet = orjson.loads(record.body)["trigger"] in _QUIET
            case "turn-complete":
                body: dict[str, Any] = orjson.loads(record.body)
                if self._is_quiet or body["trigger"] in _QUIET:
                    yield from self._release(record.seq)
                elif self._in_turn and body["status"] != "injected" and "willRetry" not in body:
                    yield _turn_complete(record, body)
            case "upgrade":
                yield control_record(record.seq, record.at, "upgrade-required")
            case "gap":
                # What is left may begin in the middle of a turn; half an answer would break the client's message.
                self._in_turn = False
                yield control_record(record.seq, record.at, "gap")
            case _:
                pass

    def _release(self, seq: int) -> Iterator[bytes]:
        """Yield what was held back, all with the seq of the record that ends it: no cursor lies in between."""
        held, self._held, self._is_quiet = self._held, [], False
        for record in held:
            chunk: dict[str, Any] = orjson.loads(record.body)
            if chunk["type"].startswith("data-"):
                yield _encode_data(seq, record, codec.dumps({**chunk, "transient": True}))


def events(records: Iterable[bytes], last_seq: int, at: int) -> Iterator[bytes]:
    """Join encoded records to events, none longer than `MAX_WRITE` unless a single record is.

    Args:
        records: Encoded records.
        last_seq: The newest record of the log.
        at: When it was looked at, in milliseconds since 1970.
    """
    tail = b'],"tail":{"seq_num":%d,"timestamp":%d}}\n\n' % (last_seq + 1, at)
    pending: list[bytes] = []
    size = 0
    for record in records:
        if pending and size + len(record) > MAX_WRITE:
            yield _BATCH + b",".join(pending) + tail
            pending.clear()
            size = 0
        pending.append(record)
        size += len(record)
    if pending:
        yield _BATCH + b",".join(pending) + tail


def data_records(record: Record, dialect: Dialect) -> bytes:
    """Return a chunk as data records, one a line; empty if the reader knows no such chunk. Kept on the record."""
    name = f"trigger {dialect.name}"
    encoded = record.frames.get(name)
    if encoded is None:
        bodies = enumerate(translate_body(record.body, dialect))
        encoded = b"\n".join([_encode_data(record.seq, record, body, part=part) for part, body in bodies])
        record.frames[name] = encoded
    return encoded


def control_record(seq: int, at: int, subtype: str, *headers: tuple[str, str]) -> bytes:
    """Return a control record.

    Args:
        seq: Its place.
        at: Milliseconds since 1970.
        subtype: What it says.
        *headers: What it says about it.
    """
    listed = codec.dumps([["trigger-control", subtype], *headers])
    return one_line(b'{"seq_num":%d,"timestamp":%d,"body":"","headers":%b}' % (seq, at, listed))


def _turn_complete(record: Record, body: dict[str, Any]) -> bytes:
    encoded = record.frames.get("trigger")
    if encoded is None:
        # Clients wait for the first cursor that is not below their own input; what waits behind has a larger one.
        consumed = ("session-in-event-id", str(body.get("inCursor", body["inSeq"])))
        encoded = record.frames["trigger"] = control_record(record.seq, record.at, "turn-complete", consumed)
    return encoded


def _encode_data(seq: int, record: Record, chunk: bytes, *, part: int = 0) -> bytes:
    # Clients drop a record whose id they have seen on the same connection.
    name = b"%d.%d" % (record.seq, part) if part else b"%d" % record.seq
    text = codec.dumps((b'{"data":%b,"id":"%b"}' % (chunk, name)).decode())
    return one_line(b'{"seq_num":%d,"timestamp":%d,"body":%b,"headers":[]}' % (seq, record.at, text))
