"""A model that plays a script: for tests, demos and examples that need no network.

A script has one entry for each model call:

    ScriptedModel([
        call(text("Let me look. "), tool_call("search_docs", {"query": "refunds"})),
        "You can ask for a refund within 30 days.",
    ])

A text entry is an answer of that text, one delta for each word. Any other entry is the list of parts of one call
(`chatrt.models.base` has the vocabulary); an exception in the list is raised at its place.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from chatrt.clock import Clock, SystemClock
from chatrt.errors import ScriptExhaustedError
from chatrt.models.base import ModelPart, ModelRequest

ScriptEntry = str | Sequence[ModelPart | Exception]

_WORD = re.compile(r"\S+\s*|\s+")


class ScriptedModel:
    """Plays one entry of its script for each call, in order.

    Attributes:
        requests: What the model was asked, one for each call so far.
    """

    def __init__(
        self,
        script: Iterable[ScriptEntry],
        *,
        name: str = "scripted",
        delay: float = 0,
        clock: Clock | None = None,
    ) -> None:
        """Create the model.

        Args:
            script: One entry for each call.
            name: What to call it in logs.
            delay: Seconds to wait before each part; 0 never waits.
            clock: What to wait by.
        """
        self._script = [_to_parts(entry) for entry in script]
        self._name = name
        self._delay = delay
        self._clock = clock or SystemClock()
        self.requests: list[ModelRequest] = []

    @property
    def name(self) -> str:
        return self._name

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelPart]:
        """Play the next entry.

        Raises:
            ScriptExhaustedError: While iterating, when the script has no entry left.
        """
        self.requests.append(request)
        return self._play(len(self.requests))

    def assert_exhausted(self) -> None:
        """Check that every entry was played.

        Raises:
            AssertionError: If some were not.
        """
        left = len(self._script) - len(self.requests)
        if left > 0:
            raise AssertionError(f"{left} of {len(self._script)} scripted calls were not made")

    async def _play(self, number: int) -> AsyncIterator[ModelPart]:
        if number > len(self._script):
            raise ScriptExhaustedError(f"the script has {len(self._script)} calls, and call {number} was made")
        for part in self._script[number - 1]:
            if self._delay:
                await self._clock.sleep(self._delay)
            if isinstance(part, Exception):
                raise part
            yield part


def call(*pieces: Sequence[ModelPart | Exception]) -> list[ModelPart | Exception]:
    """Join pieces into one call and finish it, if no piece does, for the reason its parts suggest."""
    parts = list(itertools.chain.from_iterable(pieces))
    types = {part["type"] for part in parts if isinstance(part, dict)}
    if "finish" not in types:
        parts += finish("tool-calls" if "tool-call" in types else "stop")
    return parts


def text(value: str | Sequence[str], *, id: str = "text") -> list[ModelPart]:  # noqa: A002 - the part's own word
    """Return the parts of a text, one delta for each word or, if a list is given, for each of its elements."""
    return _block("text", value, id)


def reasoning(
    value: str | Sequence[str],
    *,
    id: str = "reasoning",  # noqa: A002 - the part's own word
    metadata: dict[str, Any] | None = None,
) -> list[ModelPart]:
    """Return the parts of reasoning; `metadata` (a signature, say) rides on its end."""
    parts = _block("reasoning", value, id)
    if metadata is not None:
        parts[-1]["providerMetadata"] = metadata
    return parts


def tool_call(
    name: str,
    input: Any,  # noqa: A002 - the part's own word
    *,
    id: str = "call_1",  # noqa: A002 - the part's own word
    deltas: int = 0,
) -> list[ModelPart]:
    """Return the parts of a tool call.

    Args:
        name: The tool's name.
        input: The arguments; a text is taken as the JSON text itself, which may be broken.
        id: The tool call's id.
        deltas: In how many deltas the input is streamed first; 0 for not at all.
    """
    written = input if isinstance(input, str) else json.dumps(input, ensure_ascii=False, separators=(",", ":"))
    parts: list[ModelPart] = []
    if deltas:
        size = max(1, -(-len(written) // deltas))
        pieces = [written[start : start + size] for start in range(0, len(written), size)]
        parts.append({"type": "tool-input-start", "id": id, "toolName": name})
        parts += [{"type": "tool-input-delta", "id": id, "delta": piece} for piece in pieces]
        parts.append({"type": "tool-input-end", "id": id})
    parts.append({"type": "tool-call", "toolCallId": id, "toolName": name, "input": written})
    return parts


def finish(reason: str = "stop", *, input_tokens: int = 1, output_tokens: int = 1) -> list[ModelPart]:
    """Return the part that ends a call."""
    usage = {"inputTokens": {"total": input_tokens}, "outputTokens": {"total": output_tokens}}
    return [{"type": "finish", "finishReason": {"unified": reason, "raw": reason}, "usage": usage}]


def error(value: Any) -> list[ModelPart]:
    """Return the part of an error that the provider reports inside its stream."""
    return [{"type": "error", "error": value}]


def _to_parts(entry: ScriptEntry) -> Sequence[ModelPart | Exception]:
    return call(text(entry)) if isinstance(entry, str) else entry


def _block(kind: str, value: str | Sequence[str], block_id: str) -> list[ModelPart]:
    deltas = _WORD.findall(value) if isinstance(value, str) else value
    return [
        {"type": f"{kind}-start", "id": block_id},
        *({"type": f"{kind}-delta", "id": block_id, "delta": delta} for delta in deltas),
        {"type": f"{kind}-end", "id": block_id},
    ]
