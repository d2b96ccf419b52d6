"""The handover on the AI SDK wire: a reader who was shown the first step directly goes on with the log behind the seam.

What the reader was shown stands on `.out` too, up to the `handover` record, perhaps not all of it yet. Behind that
record comes what nobody has shown yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import orjson

from chatrt import codec
from chatrt.runtime import Session
from chatrt.stores.base import Record
from chatrt.wires.ai_sdk import TurnReader
from chatrt.wires.chunk_versions import Major, trim_chunk
from chatrt.wires.frames import data_frame

_BLOCKS = ("text", "reasoning")


class Shown:
    """What a reader was shown before the seam, as far as it has to be known.

    Attributes:
        started: Whether the message has begun.
    """

    def __init__(self, major: Major) -> None:
        self.major: Major = major
        self.started = False
        self._open: dict[tuple[str, str], None] = {}

    def show(self, chunk: dict[str, Any], body: bytes) -> bytes:
        """Return a chunk as a frame for this reader; empty if it is left out.

        Args:
            chunk: The chunk.
            body: The same as JSON.
        """
        self.started = True
        block, _, what = chunk["type"].partition("-")
        if block in _BLOCKS and what == "start":
            self._open[block, chunk["id"]] = None
        elif block in _BLOCKS and what == "end":
            self._open.pop((block, chunk["id"]), None)
        trimmed = trim_chunk(chunk, self.major)
        return b"" if trimmed is None else data_frame(body if trimmed is chunk else codec.dumps(trimmed))

    def close(self) -> Iterator[bytes]:
        """Yield the ends of the texts and reasonings that are open."""
        for block, block_id in self._open:
            yield data_frame(codec.dumps({"type": f"{block}-end", "id": block_id}))
        self._open.clear()


def read_behind_seam(session: Session, in_seq: int, *, after: int, shown: Shown) -> AsyncIterator[bytes]:
    """Return the frames of a turn behind its `handover` record, then `[DONE]`; see `TurnReader.frames`.

    Args:
        session: The session.
        in_seq: The inbox record that the turn settles.
        after: A cursor from before the record was appended.
        shown: What the reader has.
    """
    return _BehindSeam(in_seq, shown).frames(session, after)


class _BehindSeam(TurnReader):
    """Leaves out what stands before the seam, and a second `start`."""

    def __init__(self, in_seq: int, shown: Shown) -> None:
        super().__init__(in_seq, shown.major)
        self._shown = shown
        self._behind = False
        self._started = shown.started

    def feed(self, batch: list[Record]) -> Iterator[bytes]:
        for record in batch:
            match record.kind:
                case "handover" if not self._behind:
                    yield from self._cross(orjson.loads(record.body))
                case "chunk" if not self._behind:
                    pass
                case "turn-complete" if not self._behind and orjson.loads(record.body)["inSeq"] == self._in_seq:
                    yield from self._shown.close()
                    yield from super().feed([record])
                case _:
                    yield from super().feed([record])
            if self.settled or self.cut:
                return

    def _cross(self, body: dict[str, Any]) -> Iterator[bytes]:
        if body["inSeq"] != self._in_seq:
            return
        self._behind = True
        if body["outcome"] in ("discarded", "stopped"):
            # More may have been shown than was relayed in time: what is open differs from what the log has closed.
            yield from self._shown.close()

    def _chunk(self, record: Record) -> bytes:
        if b'"start"' in record.body and cast("dict[str, Any]", orjson.loads(record.body))["type"] == "start":
            return self._start_chunk(record)
        return super()._chunk(record)
