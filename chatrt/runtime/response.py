"""The answer under construction: one assistant message, fed by chunks that go to `.out` at the same time.

Rules of this file, whatever the application writes:

* A turn shows one `start`, with the message id that the server chose, and one `finish`, at its very end.
* `start` waits for the first chunk with something to see, so a turn that fails early leaves no empty message.
* An `error` in a stream is kept back: clients read nothing after it, so it is sent last (D17).
* What continues a message stands in a step of its own, also where the application's stream does not say so: clients
  look at the last step to see whether its calls are answered.
* Where approved calls are about to run, `start` goes first: it is the record that they may have started.
* What contradicts the chunks before it raises and is not sent.
* Nothing is written behind the end, and nothing by an answer that was told to end and went on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Collection, Iterable
from contextvars import ContextVar
from typing import Any, cast

from chatrt import failpoints
from chatrt.codec import clean_text, dumps
from chatrt.errors import InvalidChunkError, InvalidJSONError, UIMessageStreamError
from chatrt.generate import BeforeStep, TextStream
from chatrt.models import Usage
from chatrt.runtime.merge import has_approved_calls
from chatrt.runtime.outbox_writer import OutboxWriter
from chatrt.turn import AnswerStream, SteppedStream
from chatrt.ui import (
    MessageReducer,
    UIMessage,
    UIMessageChunk,
    cleanup_aborted_parts,
    is_tool_part,
    validate_chunk,
)

logger = logging.getLogger("chatrt.runtime")

SLICE_SECONDS = 0.001
"""How long a stream that never waits may keep the loop for itself."""

STEP_CHUNKS = frozenset(
    {
        "start-step",
        "finish-step",
        "message-metadata",
        "text-start",
        "text-delta",
        "text-end",
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "reasoning-file",
        "file",
        "source-url",
        "source-document",
        "custom",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
        "tool-input-error",
        "tool-output-available",
        "tool-output-error",
    }
)
"""What one call of a model says. Outputs are those of tools that the provider runs."""

_STEP_OPENERS = frozenset(
    {
        "text-start",
        "reasoning-start",
        "reasoning-file",
        "file",
        "source-url",
        "source-document",
        "custom",
        "tool-input-start",
        "tool-input-available",
        "tool-input-error",
    }
)
"""What a model says in a step of its own. Outputs and denials belong to calls of an earlier one."""

_HELD = frozenset({"start", "finish", "error", "abort", "start-step"})

_in_answer: ContextVar[bool] = ContextVar("chatrt_in_answer", default=False)

_in_model_answer: ContextVar[bool] = ContextVar("chatrt_in_model_answer", default=False)
"""Whether the calling code is part of a model's answer that is being merged: one of its tools, for instance."""


def enter_answer(inside: bool) -> None:  # noqa: FBT001 - the one thing it says
    """Say whether the calling task, and the tasks it starts, produce an answer."""
    _in_answer.set(inside)


class Response:
    """Implements `ResponseWriter` for one turn or action.

    Args:
        writer: Where the chunks go.
        message_id: The id of the message.
        base: The message that is continued, if one is.
        before_step: Looks in between the steps of each answer that is merged.
        earlier_steps: How many steps a run made that died in the middle of the answer.

    Attributes:
        kept: The message as it was when it became part of the history; None while it is not.
    """

    def __init__(
        self,
        writer: OutboxWriter,
        message_id: str,
        base: UIMessage | None = None,
        before_step: BeforeStep | None = None,
        earlier_steps: int = 0,
    ) -> None:
        self.message_id = message_id
        self.base = base
        self.kept = base
        self.finish_reason: str | None = None
        self.stream_error: str | None = None
        self.usage: Usage | None = None
        self.last_usage: Usage | None = None
        self._writer = writer
        self._before_step = before_step
        self._earlier_steps = earlier_steps
        empty: UIMessage = {"id": message_id, "role": "assistant", "parts": []}
        self._reducer = MessageReducer(base or empty)
        self._started = False
        self._stream_started = False
        self._step_waits = False
        self._needs_step = base is not None
        self._start_metadata: dict[str, Any] = {}
        self._finish: dict[str, Any] | None = None
        self._sealed = False
        self._over = False
        self._closed = False
        self._has_approved = base is not None and has_approved_calls(base)

    # --- writing

    def write(self, chunk: UIMessageChunk) -> None:
        """Write a chunk from application code; see `ResponseWriter.write`."""
        self.emit(validate_chunk(chunk))

    async def merge(self, chunks: AsyncIterable[UIMessageChunk]) -> None:
        """Write every chunk of a stream from application code.

        The turn looks in between the steps of a model's answer, but not of one that a tool of another answer merges:
        the prompt of such a stream is not the chat's.
        """
        put = self.emit if isinstance(chunks, TextStream) else self.write
        inside = _in_model_answer.get()
        if isinstance(chunks, TextStream) and self._before_step is not None and not inside:
            chunks.attach(self._before_step, earlier_steps=self._earlier_steps)
        within = _in_model_answer.set(inside or isinstance(chunks, TextStream | AnswerStream))
        slice_ends = time.perf_counter() + SLICE_SECONDS
        count = 0
        try:
            async for chunk in chunks:
                put(chunk)
                if failpoints.armed:
                    await self._pass_failpoints(chunk["type"])
                count += 1
                if not count & 15 and time.perf_counter() > slice_ends:
                    await asyncio.sleep(0)
                    slice_ends = time.perf_counter() + SLICE_SECONDS
                kind = chunk["type"]
                if kind == "tool-input-available" or (kind == "start" and self.approvals_run) or self._writer.crowded:
                    # A tool starts when the next chunk is asked for: by then, that it was called is on record.
                    await self._writer.flush()
                    if kind == "tool-input-available":
                        failpoints.reach("tool.intent_committed")
                    await self._writer.confirm()
        finally:
            _in_model_answer.reset(within)
            used = _usage_of(chunks)
            if used is not None:
                self.usage = used if self.usage is None else self.usage + used
                self.last_usage = (chunks.last_usage if isinstance(chunks, SteppedStream) else None) or used

    async def _pass_failpoints(self, kind: str) -> None:
        failpoints.reach("turn.chunk")
        if kind in ("tool-output-available", "tool-output-error"):
            await self._writer.flush()  # the point is that the result is stored; nobody waits for that otherwise
            failpoints.reach("tool.recorded")

    def emit(self, chunk: UIMessageChunk) -> None:
        """Write a chunk that is known to be well formed."""
        if chunk["type"] in _HELD and self._hold(cast("dict[str, Any]", chunk)):
            return
        if not self._started:
            self._show_start()
        if self._step_waits:
            self._step_waits = self._needs_step = False
            self._put({"type": "start-step"})
        elif self._needs_step:
            self._begin_step(chunk["type"])
        self._put(chunk)

    @property
    def approvals_run(self) -> bool:
        """Whether approved calls may have started by now."""
        return self._has_approved and self._started

    @property
    def part_count(self) -> int:
        """How many parts the message has by now."""
        return self._reducer.part_count

    @property
    def is_over(self) -> bool:
        """Whether nothing can be written any more."""
        return self._over

    @property
    def is_closed(self) -> bool:
        """Whether what the calling code writes is dropped."""
        return self._over or (self._sealed and _in_answer.get())

    def seal(self) -> None:
        """Drop what the answer still writes although it was told to end; hooks and the runtime go on."""
        self._sealed = True

    def end(self) -> None:
        """Drop whatever is written from now on, by anybody: the turn-complete comes next."""
        self._over = True

    def replay(self, chunks: Iterable[UIMessageChunk]) -> None:
        """Take up an answer where its log ends: these chunks are stored already."""
        for chunk in chunks:
            self._started = True
            try:
                self._reducer.apply(chunk)
            except UIMessageStreamError:
                logger.exception("a stored chunk of message %s contradicts those before it", self.message_id)

    # --- head start

    def relay(self, chunk: UIMessageChunk) -> None:
        """Write a chunk of a step that another process makes, as it is.

        Raises:
            InvalidChunkError: If it is none that a step begins with, or consists of.
            UIMessageStreamError: If it contradicts the chunks before it.
        """
        known = validate_chunk(chunk)
        kind = known["type"]
        if kind == "start" and not self._started:
            if known.get("messageId") != self.message_id:
                raise InvalidChunkError("the answer has another id", path="/messageId")
            self._started = True
        elif kind not in STEP_CHUNKS or not self._started:
            raise InvalidChunkError(f"{kind} has no place here", path="/type")
        self._put(known)

    def end_step(self, finish: UIMessageChunk | None, usage: Usage | None) -> None:
        """Keep how a relayed step ended, for the end of the answer."""
        self._hold({"type": "finish", "finishReason": "stop"} if finish is None else {**validate_chunk(finish)})
        self.usage = self.last_usage = usage

    def reset_step(self) -> None:
        """Take back what was relayed, where something was."""
        if self._started:
            self._put({"type": "reset-step"})

    # --- ending

    def close_texts(self) -> None:
        """End the text and reasoning blocks that are open."""
        for text_id in self._reducer.open_texts():
            self._put({"type": "text-end", "id": text_id})
        for reasoning_id in self._reducer.open_reasonings():
            self._put({"type": "reasoning-end", "id": reasoning_id})

    def close_all(self, client_tools: Collection[str]) -> list[int]:
        """End all that is open and say the truth about calls that may have started (D8).

        Returns:
            Which parts the message loses by that, the first time: half-streamed calls.
        """
        self.close_texts()
        raw = self._reducer.snapshot()
        before = {part["toolCallId"]: part.get("state") for part in raw["parts"] if is_tool_part(part)}
        for part in self._clean(raw, client_tools)["parts"]:
            if not is_tool_part(part) or part.get("state") == before[part["toolCallId"]]:
                continue
            self._put({"type": "tool-output-error", "toolCallId": part["toolCallId"], "errorText": part["errorText"]})
        dropped = [
            index
            for index, part in enumerate(raw["parts"])
            if is_tool_part(part) and part.get("state") == "input-streaming" and not self._closed
        ]
        self._closed = True
        return dropped

    def finish(self) -> None:
        """Send the `finish` that was kept back; a stream that had none gets one."""
        if not self._started and not self._stream_started:
            return
        if not self._started:
            self._show_start()
        self._put(self._finish or {"type": "finish", "finishReason": "stop"})

    def abort(self, reason: str) -> None:
        """Say that the turn was ended from outside."""
        self._put({"type": "abort", "reason": reason})

    def fail(self, error_text: str) -> None:
        """Say that the turn failed, with a text people may read."""
        self._put({"type": "error", "errorText": error_text})

    # --- the message

    def snapshot(self) -> UIMessage | None:
        """Return the message as it stands; None while nothing is in it."""
        message = self._reducer.snapshot()
        return message if _has_content(message) else None

    def message(self, client_tools: Collection[str] | None) -> UIMessage | None:
        """Return the message, cleaned for an answer that was cut (D8) when `client_tools` is given."""
        message = self._reducer.snapshot()
        if client_tools is not None:
            message = self._clean(message, client_tools)
        return message if _has_content(message) else None

    # --- inside

    def _clean(self, message: UIMessage, client_tools: Collection[str]) -> UIMessage:
        return cleanup_aborted_parts(message, client_tools=client_tools, approvals_ran=self.approvals_run)

    def _hold(self, chunk: dict[str, Any]) -> bool:
        match chunk["type"]:
            case "start":
                self._stream_started = True
                metadata = chunk.get("messageMetadata")
                if metadata is not None and self._started:
                    self._put({"type": "message-metadata", "messageMetadata": metadata})
                elif metadata is not None:
                    self._start_metadata["messageMetadata"] = metadata
                if self._has_approved and not self._started:
                    self._show_start()
                return True
            case "finish":
                self.finish_reason = chunk.get("finishReason", self.finish_reason)
                self._finish = {**(self._finish or {}), **chunk}
                return True
            case "error":
                self.stream_error = self.stream_error or chunk["errorText"]
                return True
            case "start-step" if not self._started:
                self._step_waits = True
                return True
            case "abort":
                return True
            case _:
                return False

    def _begin_step(self, kind: str) -> None:
        if kind in _STEP_OPENERS:
            self._put({"type": "start-step"})
        self._needs_step = kind != "start-step" and kind not in _STEP_OPENERS

    def _show_start(self) -> None:
        self._started = True
        self._put({"type": "start", "messageId": self.message_id, **self._start_metadata})

    def _put(self, chunk: UIMessageChunk | dict[str, Any]) -> None:
        if self._over:
            logger.warning("a %s was written into message %s, which is over", chunk["type"], self.message_id)
            return
        if self._sealed and _in_answer.get():
            return
        known = cast("UIMessageChunk", chunk)
        try:
            body = dumps(chunk)
        except InvalidJSONError:
            known = cast("UIMessageChunk", clean_text(chunk))
            body = dumps(known)
        self._reducer.apply(known)
        self._writer.push("chunk", body)


def _usage_of(chunks: AsyncIterable[UIMessageChunk]) -> Usage | None:
    if isinstance(chunks, TextStream):
        return chunks.usage if chunks.steps else None
    used = chunks.usage if isinstance(chunks, AnswerStream) else None
    return used if isinstance(used, Usage) else None  # pyright: ignore[reportUnnecessaryIsInstance] - any stream may have a `usage`


def _has_content(message: UIMessage) -> bool:
    return "metadata" in message or any(part["type"] != "step-start" for part in message["parts"])
