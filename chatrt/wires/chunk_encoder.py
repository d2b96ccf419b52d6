"""From chunks to the frames of one AI SDK response, in the dialect of its reader.

Most chunks stand for themselves: their frame is made once for a dialect, or once for all that read them as they are,
and kept on the record. What depends on the chunks before it is bridged here, for readers that need it:

* a text or reasoning that goes on behind the end of its step is ended with the step, and goes on as another part;
* a `reset-step` that the reader does not know leaves its words where they are, but nothing open;
* an output says `dynamic` where its call did: v5 does not find the call otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import orjson

from chatrt import codec
from chatrt.stores.base import Record
from chatrt.ui import UIMessage
from chatrt.wires.chunk_versions import Chunk, Dialect
from chatrt.wires.frames import data_frame

_PLAIN = "ai-sdk"
"""The name under which a frame is kept that is the same for every dialect."""

_UNCHANGED = "ai-sdk unchanged"
"""The name under which a frame is kept that is the record's own body, for the dialects that read it as it is."""

_TYPE = b'{"type":"'
_DELTAS = (b'{"type":"text-delta"', b'{"type":"reasoning-delta"', b'{"type":"tool-input-delta"')
_TEXT_DELTA = b'{"type":"text-delta","id":"'
_QUOTES = 12

_BLOCKS = frozenset(f"{block}-{what}" for block in ("text", "reasoning") for what in ("start", "delta", "end"))
_STEP_ENDS = frozenset({"finish-step", "reset-step"})
_CALLS = frozenset({"tool-input-start", "tool-input-available", "tool-input-error"})
_OUTPUTS = frozenset({"tool-output-available", "tool-output-error", "tool-output-denied"})

Block = tuple[str, str]


def chunk_type(body: bytes) -> str:
    """Return the type of an encoded chunk; as our own encoder writes it, it is not decoded for that."""
    if body.startswith(_TYPE):
        return body[len(_TYPE) : body.index(b'"', len(_TYPE))].decode()
    return cast("Chunk", orjson.loads(body))["type"]


def chunk_frame(record: Record, dialect: Dialect) -> bytes:
    """Return a chunk record as frames of that dialect, empty if it is left out. Kept on the record."""
    frame = record.frames.get(_PLAIN)
    if frame is None:
        frame = record.frames.get(dialect.name)
    return _make_frame(record, dialect) if frame is None else frame


def translate_body(body: bytes, dialect: Dialect) -> list[bytes]:
    """Return the encoded chunks that say this encoded one in a dialect; mostly it alone, as it is."""
    if _is_plain(body):
        return [body]
    chunk: Chunk = orjson.loads(body)
    return [body if said is chunk else codec.dumps(said) for said in dialect.translate(chunk)]


def _is_plain(body: bytes) -> bool:
    # Nearly all chunks are `{type: text-delta, id, delta}` and nothing more, which every version reads. Twelve quotes
    # leave no room for another key; a delta with a quote of its own is decoded.
    return body.startswith(_TEXT_DELTA) and body.count(b'"') == _QUOTES


def _make_frame(record: Record, dialect: Dialect) -> bytes:
    body = record.body
    if _is_plain(body):
        frame = record.frames[_PLAIN] = data_frame(body)
        return frame
    bodies = translate_body(body, dialect)
    if len(bodies) == 1 and bodies[0] is body:
        frame = record.frames.get(_UNCHANGED)
        if frame is None:
            frame = record.frames[_UNCHANGED] = data_frame(body)
    else:
        frame = b"".join([data_frame(one) for one in bodies])
    record.frames[dialect.name] = frame
    return frame


class ChunkEncoder:
    """Writes the chunks of one message for one reader, in their order.

    Attributes:
        dialect: What the reader reads.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._open: dict[Block, None] = {}
        self._cut: set[Block] = set()  # ended for this reader only: their step is over
        self._dynamic: set[str] = set()

    def know(self, message: UIMessage) -> None:
        """Take notice of a message that the reader has already and that is continued."""
        self._dynamic.update(part["toolCallId"] for part in message["parts"] if part["type"] == "dynamic-tool")

    def delta(self, record: Record) -> bytes:
        """Return the frames of a delta that stands in the log. Nearly all chunks are deltas."""
        if self._cut:
            return self.record(record)
        return record.frames.get(_PLAIN) or chunk_frame(record, self.dialect)

    def record(self, record: Record) -> bytes:
        """Return the frames of a chunk that stands in the log."""
        body = record.body
        if body.startswith(_DELTAS) and not self._cut:
            return chunk_frame(record, self.dialect)
        if not self._is_watched(chunk_type(body), body):
            return chunk_frame(record, self.dialect)
        chunk: Chunk = orjson.loads(body)
        said = self._bridge(chunk)
        if len(said) == 1 and said[0] is chunk:
            return chunk_frame(record, self.dialect)
        return self._frames(said)

    def chunk(self, chunk: Chunk, body: bytes | None = None) -> bytes:
        """Return the frames of a chunk that stands in no log, or not yet.

        Args:
            chunk: The chunk.
            body: The same as JSON, where it is there already.
        """
        return self._frames(self._bridge(chunk), chunk, body)

    def close(self) -> bytes:
        """Return the frames that end the texts and reasonings that are open."""
        return self._frames(self._end_blocks())

    # --- inside

    def _frames(self, chunks: list[Chunk], known: Chunk | None = None, body: bytes | None = None) -> bytes:
        said = [one for chunk in chunks for one in self.dialect.translate(chunk)]
        return b"".join([data_frame(body if body is not None and one is known else codec.dumps(one)) for one in said])

    def _is_watched(self, kind: str, body: bytes) -> bool:
        if kind in _OUTPUTS:
            return bool(self._dynamic)
        return kind in _BLOCKS or kind in _STEP_ENDS or (kind in _CALLS and b'"dynamic"' in body)

    def _bridge(self, chunk: Chunk) -> list[Chunk]:
        """Return the chunks that say this one to the reader, after what it was told before."""
        kind: str = chunk["type"]
        if kind in _BLOCKS:
            return list(self._block(chunk, *kind.split("-")))
        if kind == "reset-step":
            self._cut.clear()
            if kind not in self.dialect.fields:
                return self._end_blocks()
            self._open.clear()
        elif kind == "finish-step" and not self.dialect.block_beyond_step:
            self._cut.update(self._open)
            return [*self._end_blocks(), chunk]
        elif kind in _CALLS:
            if chunk.get("dynamic") is True:
                self._dynamic.add(chunk["toolCallId"])
        elif kind in _OUTPUTS and not self.dialect.plain_outputs and chunk["toolCallId"] in self._dynamic:
            return [chunk if chunk.get("dynamic") is True else {**chunk, "dynamic": True}]
        return [chunk]

    def _block(self, chunk: Chunk, block: str, what: str) -> Iterator[Chunk]:
        key = (block, chunk["id"])
        if what == "end":
            self._open.pop(key, None)
            if key in self._cut:
                self._cut.discard(key)  # the reader was told so with the end of the step
                return
        elif what == "start":
            self._cut.discard(key)
            self._open[key] = None
        elif key in self._cut:
            self._cut.discard(key)
            self._open[key] = None
            yield {"type": f"{block}-start", "id": chunk["id"]}
        yield chunk

    def _end_blocks(self) -> list[Chunk]:
        ends: list[Chunk] = [{"type": f"{block}-end", "id": block_id} for block, block_id in self._open]
        self._open.clear()
        return ends
