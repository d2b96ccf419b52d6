"""Compacts the prompt of a turn or an action: between its steps, behind its answer, or when application code asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, cast

from chatrt.agent import ChatAgent
from chatrt.codec import clean_text
from chatrt.compaction import (
    CompactEvent,
    Compaction,
    CompactionLayer,
    CompactionSource,
    CompactResult,
    Summarize,
    SummarizedEvent,
    summary_message,
)
from chatrt.errors import UsageError
from chatrt.events import CompactedEvent, PrepareReason
from chatrt.generate import Step, StepBoundary
from chatrt.history import History
from chatrt.models import Usage
from chatrt.runtime.calling import call
from chatrt.runtime.context import RunContext
from chatrt.runtime.prompt_layers import checked_rows
from chatrt.runtime.response import Response
from chatrt.turn import Turn
from chatrt.ui import (
    ModelMessage,
    Segment,
    UIMessage,
    UIMessageChunk,
    find_compaction_place,
    is_compaction_safe,
    validate_ui_messages,
)

logger = logging.getLogger("chatrt.runtime")

PART = "data-compaction"
"""The part of an answer that says that its prompt was compacted there."""

_CLEAN_ENDS = frozenset({"stop", "tool-calls"})


class CompactedWork(Protocol):
    """The work at hand, as far as compaction needs it."""

    context: RunContext
    client_data: Any
    response: Response | None
    turn: Turn[Any] | None

    @property
    def is_answering(self) -> bool: ...

    @property
    def goes_on(self) -> bool: ...

    def convert(self, messages: Sequence[Segment] | History) -> list[ModelMessage]: ...

    async def prepare(self, messages: list[ModelMessage], reason: PrepareReason) -> list[ModelMessage]: ...


@dataclass(frozen=True, slots=True)
class _Made:
    """What a compaction was made of."""

    summary: str
    messages: list[ModelMessage]
    ui_messages: list[UIMessage] | None


class Compactor:
    """Compacts for one piece of work."""

    def __init__(self, work: CompactedWork) -> None:
        self._work = work
        self._compacted_inside = False
        self._base: ModelMessage | None = None

    @property
    def _context(self) -> RunContext:
        return self._work.context

    @property
    def _policy(self) -> Compaction | None:
        return self._agent.compaction

    @property
    def _agent(self) -> ChatAgent:
        return self._work.context.agent

    # --- between the steps

    async def at_boundary(self, boundary: StepBoundary) -> list[ModelMessage]:
        """Return the prompt that goes on from a step boundary: as it is, or a summary of it."""
        policy, response, step = self._policy, self._work.response, boundary.steps[-1]
        if policy is None or response is None or not _has_ended_cleanly(step):
            return boundary.messages
        event = self._event(
            "inner", boundary.messages, step.usage, step_number=len(boundary.steps), steps=boundary.steps
        )
        layer = await self._compact_if_wanted(policy, event, response)
        if layer is None:
            return boundary.messages
        self._compacted_inside = True
        rows = deepcopy(layer.messages)
        self._base = rows[0]
        return rows

    async def shown(self, boundary: StepBoundary, prompt: list[ModelMessage]) -> list[ModelMessage] | None:
        """Return what the next step is shown instead of a prompt that stands on a summary; None for other prompts."""
        if self._base is None or not prompt or prompt[0] is not self._base:
            return None
        was_compacted_before = bool(boundary.messages) and boundary.messages[0] is self._base
        reason: PrepareReason = "compaction-rebuild" if was_compacted_before else "compaction-result"
        return await self._work.prepare(prompt, reason)

    # --- behind the answer

    async def after_answer(self) -> None:
        """Compact what the next turn would be shown, if the answer says that it is too large."""
        policy, response = self._policy, self._work.response
        usage = None if response is None else response.last_usage
        if policy is None or response is None or usage in (None, Usage()) or self._compacted_inside:
            return
        answer = response.message(None)
        if answer is None or not is_compaction_safe([answer]):
            return
        prompt = self._work.convert(self._context.state.layers.segments(self._with_answer(answer)))
        await self._compact_if_wanted(policy, self._event("outer", prompt, usage), response)

    # --- when it is asked for

    def current(self) -> CompactionLayer | None:
        """Return the compaction that holds for the chat as it is now."""
        response = self._work.response
        answer = None if response is None or response.is_over else response.snapshot()
        messages = self._context.history.all() if answer is None else self._with_answer(answer)
        return self._context.state.layers.find_compaction(messages)

    async def compact(self, summarize: Summarize | None) -> CompactResult:
        """Summarize the history; see `RunControl.compact`."""
        if summarize is None and self._policy is not None:
            summarize = self._policy.summarize
        if summarize is None:
            raise UsageError(f"agent {self._agent.id!r} has no compaction: say how to summarize")
        messages = self._context.history.all()
        place = find_compaction_place(messages)
        if place is None:
            open_calls = any(message["role"] == "assistant" for message in messages)
            return CompactResult(status="skipped", reason="open-calls" if open_calls else "nothing-to-compact")
        index, end = place
        last = messages[index]
        layers = self._context.state.layers
        current = layers.find_compaction(messages)
        if current is not None and _reaches(current, messages, place):
            return CompactResult(status="skipped", reason="nothing-to-compact")
        covered: list[UIMessage] = [*messages[:index], {**last, "parts": last["parts"][:end]}]
        response = self._work.response
        told = None if response is None else response.last_usage
        usage = self._context.state.last_usage if told is None else told
        event = self._event("manual", self._work.convert(layers.segments(covered)), usage)
        made = await self._make(summarize, event)
        layer = await self._put(event, made, last["id"], end)
        await self._renew_prompt()
        return CompactResult(status="compacted", reason="asked", layer=layer)

    async def _renew_prompt(self) -> None:
        turn = self._work.turn
        if turn is None:
            return
        vars(turn).pop("messages", None)
        if self._work.is_answering:
            turn.messages = await self._work.prepare(turn.messages, "compaction-result")

    # --- the way to a layer

    def _event(
        self,
        source: CompactionSource,
        messages: list[ModelMessage],
        usage: Usage | None,
        *,
        step_number: int = -1,
        steps: Sequence[Step] = (),
    ) -> CompactEvent:
        context = self._context
        return CompactEvent(
            source=source,
            chat_id=context.chat_id,
            turn=context.turns,
            messages=list(messages),
            usage=usage,
            total_usage=context.state.total_usage,
            step_number=step_number,
            steps=steps,
            client_data=self._work.client_data,
        )

    async def _compact_if_wanted(
        self, policy: Compaction, event: CompactEvent, response: Response
    ) -> CompactionLayer | None:
        """Compact, showing it in the answer; what goes wrong is logged, and everything stays as it was."""
        part_id = ""
        try:
            if not await _is_wanted(policy, event):
                return None
            part_id = self._context.ids.new("compaction")
            response.emit(_part(part_id, "compacting", event, transient=True))
            made = await self._make(policy.summarize, event)
        except Exception:
            logger.exception("chat %s is not compacted", event.chat_id)
            if part_id:
                response.emit(_part(part_id, "failed", event, transient=True))
            return None
        if not self._work.goes_on:
            return None
        response.emit(cast("UIMessageChunk", {"type": "start-step"}))
        response.emit(_part(part_id, "complete", event))
        response.emit(cast("UIMessageChunk", {"type": "finish-step"}))
        return await self._put(event, made, response.message_id, response.part_count)

    async def _make(self, summarize: Summarize, event: CompactEvent) -> _Made:
        """Summarize; changes nothing.

        Raises:
            Exception: What application code raises; `UsageError` if it gives no summary.
        """
        summary: Any = await call(summarize, event)
        if not isinstance(summary, str) or not summary.strip():
            raise UsageError("summarize gives a text that is not empty")
        summary = cast("str", clean_text(summary))
        facts = {field.name: getattr(event, field.name) for field in fields(event)}
        summarized = SummarizedEvent(**facts, summary=summary, ui_messages=self._ui_messages(event.source))
        policy = self._policy
        rows: Any = [summary_message(summary)]
        if policy is not None and policy.compact_model_messages is not None:
            rows = await call(policy.compact_model_messages, summarized)
        ui_messages: Any = None
        if policy is not None and policy.compact_ui_messages is not None:
            ui_messages = await call(policy.compact_ui_messages, summarized)
            ui_messages = [] if ui_messages == [] else validate_ui_messages(ui_messages)
        rows = checked_rows(rows)
        if not rows:
            raise UsageError("compact_model_messages gives at least one message")
        return _Made(summary, rows, ui_messages)

    def _ui_messages(self, source: CompactionSource) -> list[UIMessage]:
        response = self._work.response
        answer = None if response is None or source != "outer" else response.message(None)
        return self._context.history.all() if answer is None else self._with_answer(answer)

    async def _put(self, event: CompactEvent, made: _Made, message_id: str, part_index: int) -> CompactionLayer:
        """Let what was made hold from now on, and tell of it."""
        context = self._context
        layer = CompactionLayer(
            summary=made.summary, messages=made.messages, message_id=message_id, part_index=part_index
        )
        if made.ui_messages is not None:
            context.history.set(made.ui_messages)
        context.state.layers = context.state.layers.with_compaction(layer)
        context.background.wake()
        await self._tell(event, made.summary)
        return layer

    async def _tell(self, event: CompactEvent, summary: str) -> None:
        hook = self._agent.hooks.on_compacted
        if hook is None:
            return
        told = CompactedEvent(
            chat_id=event.chat_id,
            history=self._context.history,
            client_data=event.client_data,
            source=event.source,
            summary=summary,
            messages=event.messages,
            message_count=len(event.messages),
            usage=event.usage,
            step_number=event.step_number,
            turn=event.turn,
            response=self._work.response or _NoAnswer(),
        )
        try:
            await call(hook, told)
        except Exception:
            logger.exception("on_compacted failed in chat %s", event.chat_id)

    def _with_answer(self, answer: UIMessage) -> list[UIMessage]:
        messages = self._context.history.all()
        for index in range(len(messages) - 1, -1, -1):
            if messages[index]["id"] == answer["id"]:
                messages[index] = answer
                return messages
        return [*messages, answer]


class _NoAnswer:
    """A writer where there is no answer to write into."""

    def write(self, chunk: UIMessageChunk) -> None:
        raise UsageError(f"there is no answer to write a {chunk['type']} into")

    async def merge(self, chunks: Any) -> None:
        raise UsageError(f"there is no answer to write a {type(chunks).__name__} into")

    def snapshot(self) -> UIMessage | None:
        return None

    @property
    def finish_reason(self) -> str | None:
        return None


def _reaches(layer: CompactionLayer, messages: Sequence[UIMessage], place: tuple[int, int]) -> bool:
    """Whether a layer that holds for the messages stands for all up to the place."""
    index = max(index for index, message in enumerate(messages) if message["id"] == layer.message_id)
    return (index, layer.part_index) >= place


async def _is_wanted(policy: Compaction, event: CompactEvent) -> bool:
    if policy.should_compact is not None:
        return bool(await call(cast("Callable[[CompactEvent], Any]", policy.should_compact), event))
    tokens = event.total_tokens
    return tokens is not None and policy.threshold is not None and tokens > policy.threshold


def _has_ended_cleanly(step: Step) -> bool:
    """Whether a summary may stand for a step: it came to its end, and every call has its result (D9)."""
    answered = {result.call.tool_call_id for result in step.tool_results if not result.preliminary}
    return step.finish_reason in _CLEAN_ENDS and all(call.tool_call_id in answered for call in step.tool_calls)


def _part(
    part_id: str,
    status: Literal["compacting", "complete", "failed"],
    event: CompactEvent,
    *,
    transient: bool = False,
) -> UIMessageChunk:
    data: dict[str, Any] = {"status": status}
    if event.total_tokens is not None:
        data["totalTokens"] = event.total_tokens
    chunk: dict[str, Any] = {"type": PART, "id": part_id, "data": data}
    if transient:
        chunk["transient"] = True
    return cast("UIMessageChunk", chunk)
