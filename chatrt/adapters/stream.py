"""What an adapter returns: the answer of another library's agent, as a stream of chunks that says what it used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from typing import Any

from chatrt.generate.metadata import MessageMetadata, with_message_metadata
from chatrt.models import Usage
from chatrt.ui import UIMessageChunk


class AgentStream(ABC):
    """A lazy stream of `UIMessageChunk`s from `start` to `finish`; nothing runs before the first is asked for.

    Closing it, or cancelling whoever reads it, ends the library's run: no model call and no awaited tool goes on.

    Attributes:
        finish_reason: Why the answer ended, once it did.
        result: What the library's own run returned, once it did.
    """

    def __init__(self, message_metadata: MessageMetadata | None) -> None:
        self.finish_reason: str | None = None
        self.result: Any = None
        self._step_usage: Usage | None = None
        self._chunks = self._run()
        if message_metadata is not None:
            self._chunks = with_message_metadata(self._chunks, message_metadata, self._describe)

    def __aiter__(self) -> AsyncIterator[UIMessageChunk]:
        return self._chunks

    def __anext__(self) -> Awaitable[UIMessageChunk]:
        return self._chunks.__anext__()

    async def aclose(self) -> None:
        """End it: the library's run is over when this returns."""
        await self._chunks.aclose()

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """What the models used so far; None while none was asked."""

    @property
    def last_usage(self) -> Usage | None:
        """What the last model call used, if the library told; so large was the prompt."""
        return self._step_usage

    @abstractmethod
    def _run(self) -> AsyncGenerator[UIMessageChunk]: ...

    def _describe(self, chunk: UIMessageChunk) -> Mapping[str, Any]:
        usage = {"finish-step": self._step_usage, "finish": self.usage}.get(chunk["type"])
        return chunk if usage is None else {**chunk, "usage": usage.to_json()}
