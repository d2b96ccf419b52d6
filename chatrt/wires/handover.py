"""The handover on the AI SDK wire: a reader who was shown the first step directly goes on with the log behind the seam.

What the reader was shown stands on `.out` too, up to the `handover` record, perhaps not all of it yet. Behind that
record comes what nobody has shown yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson

from chatrt.runtime import Session
from chatrt.stores.base import Record
from chatrt.wires.ai_sdk import TurnReader
from chatrt.wires.chunk_encoder import ChunkEncoder, chunk_type
from chatrt.wires.chunk_versions import Dialect


class Shown:
    """What a reader was shown before the seam, as far as it has to be known.

    Attributes:
        encoder: Writes for this reader, on both sides of the seam.
        started: Whether the message has begun.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.encoder = ChunkEncoder(dialect)
        self.started = False

    def show(self, chunk: dict[str, Any], body: bytes) -> bytes:
        """Return a chunk as frames for this reader; empty if it is left out.

        Args:
            chunk: The chunk.
            body: The same as JSON.
        """
        self.started = True
        return self.encoder.chunk(chunk, body)


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
        super().__init__(in_seq, shown.encoder)
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
                    yield self._shown.encoder.close()
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
            yield self._shown.encoder.close()

    def _chunk(self, record: Record) -> bytes:
        if chunk_type(record.body) == "start":
            return self._start_chunk(record)
        return super()._chunk(record)
