"""Smoothing: text that comes in lumps goes out word by word or line by line (`smoothStream` of ai 7.0.173)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Literal

from chatrt.clock import Clock, SystemClock
from chatrt.errors import UsageError

ChunkDetector = Callable[[str], str | None]
"""Gets the text that waits and returns its first piece, a non-empty prefix of it, or None to wait for more."""

Chunking = Literal["word", "line"] | re.Pattern[str] | ChunkDetector

# White space as JavaScript has it: Python's own class holds U+001C to U+001F and U+0085 besides, and lacks U+FEFF.
_SPACE = r"\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# The first match of `\S+\s+` and what precedes it, in linear time: possessive, because backtracking finds nothing.
_WORD = re.compile(rf"[{_SPACE}]*+[^{_SPACE}]++[{_SPACE}]++")
_LINE = re.compile(r"[^\n]*+\n++")
_DELTAS = ("text-delta", "reasoning-delta")


async def smooth_stream(
    parts: AsyncIterable[dict[str, Any]],
    *,
    chunking: Chunking = "word",
    delay: float | None = 0.01,
    clock: Clock | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Yield the parts of a model's stream with text and reasoning cut into even pieces.

    Whatever is not a delta of the same text flushes what waits, except `ping`. What waits when the stream ends without
    a closing part is lost, as it is upstream: streams close their texts.

    Args:
        parts: Model parts or UI message chunks (deltas in `delta`), or stream parts of the AI SDK (deltas in `text`).
        chunking: `"word"` cuts after the white space behind a word, `"line"` after newlines, a pattern after each
            match; a function returns the first piece itself.
        delay: Seconds to wait after each piece; None for not at all.
        clock: What waits; the machine's clock by default.

    Raises:
        UsageError: If a pattern matches nothing at all, or a function returns what is no prefix of its argument.
    """
    clock = clock or SystemClock()
    buffer = _Buffer(_detector(chunking))
    async for part in parts:
        if part["type"] == "ping":
            yield part
        elif part["type"] not in _DELTAS or buffer.passes_through(part):
            if (rest := buffer.flush()) is not None:
                yield rest
            yield part
        else:
            if buffer.differs(part) and (rest := buffer.flush()) is not None:
                yield rest
            buffer.add(part)
            while (piece := buffer.next_piece()) is not None:
                yield piece
                if delay is not None:
                    await clock.sleep(delay)


class _Buffer:
    """The text that waits, and the part it came with."""

    def __init__(self, detect: Callable[[str, int], int | None]) -> None:
        self._detect = detect
        self._text = ""
        self._sent = 0
        self._part: dict[str, Any] = {}
        self._key = "delta"

    def passes_through(self, part: dict[str, Any]) -> bool:
        """Whether the delta is empty and only brings metadata."""
        return not part[_text_key(part)] and part.get("providerMetadata") is not None

    def differs(self, part: dict[str, Any]) -> bool:
        """Whether a delta belongs to another text than what waits; metadata stay with the delta they came with."""
        waiting = self._part
        return bool(waiting) and (
            part["type"] != waiting["type"]
            or part["id"] != waiting["id"]
            or "providerMetadata" in waiting
            or part.get("providerMetadata") is not None
        )

    def add(self, part: dict[str, Any]) -> None:
        self._key = _text_key(part)
        self._text = self._text[self._sent :] + part[self._key]
        self._sent = 0
        self._part = {"type": part["type"], "id": part["id"]}
        if part.get("providerMetadata") is not None:
            self._part["providerMetadata"] = part["providerMetadata"]

    def next_piece(self) -> dict[str, Any] | None:
        end = self._detect(self._text, self._sent)
        if end is None:
            if self._sent == len(self._text):
                self._clear()
            return None
        piece = {**self._part, self._key: self._text[self._sent : end]}
        self._sent = end
        return piece

    def flush(self) -> dict[str, Any] | None:
        text = self._text[self._sent :]
        part = self._part
        self._clear()
        return {**part, self._key: text} if text else None

    def _clear(self) -> None:
        self._text = ""
        self._sent = 0
        self._part = {}


def _text_key(part: dict[str, Any]) -> str:
    return "delta" if "delta" in part else "text"


def _detector(chunking: Chunking) -> Callable[[str, int], int | None]:
    """Return a function from a text and a position in it to where the piece that begins there ends."""
    if isinstance(chunking, str):
        pattern = _WORD if chunking == "word" else _LINE

        def built_in(text: str, start: int) -> int | None:
            match = pattern.match(text, start)
            return match.end() if match else None

        return built_in
    if isinstance(chunking, re.Pattern):

        def by_pattern(text: str, start: int) -> int | None:
            match = chunking.search(text[start:])  # cut off, so that anchors mean the beginning of what waits
            if match is None:
                return None
            if not match.group():
                raise UsageError("the chunking pattern matched an empty text")
            return start + match.end()

        return by_pattern

    def by_function(text: str, start: int) -> int | None:
        waiting = text[start:]
        piece = chunking(waiting)
        if piece is None:
            return None
        if not piece or not waiting.startswith(piece):
            raise UsageError(f"the chunking function returned {piece!r}, which is not a beginning of {waiting!r}")
        return start + len(piece)

    return by_function
