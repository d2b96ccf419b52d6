"""One input being served: what turns and actions have in common, and how an answer is produced and stopped."""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from chatrt.codec import dumps, loads
from chatrt.errors import ModelError, UsageError
from chatrt.events import PrepareReason, ToolsEvent
from chatrt.frontend_tools import make_frontend_tools
from chatrt.generate import StepBoundary, StepPrompt, TextStream
from chatrt.history import History
from chatrt.models import Usage
from chatrt.runtime.asks import find_asks
from chatrt.runtime.calling import call
from chatrt.runtime.compaction import Compactor
from chatrt.runtime.context import RunContext
from chatrt.runtime.response import Response, enter_answer
from chatrt.runtime.writes import write_record
from chatrt.serving import ServedTurn
from chatrt.stores import Record
from chatrt.tools import Tool, tool_map
from chatrt.turn import Trigger, Turn, enter_turn
from chatrt.ui import (
    ModelMessage,
    Segment,
    UIMessage,
    UIMessageChunk,
    convert_segments,
    expand_injected,
    rebuild_chunks,
    repair_model_messages,
    validate_ui_message,
)

logger = logging.getLogger("chatrt.runtime")

STOP_GRACE_SECONDS = 2.0
"""How long code that was told to stop may take before the turn goes on without it."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The answer is whole."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A person ended the turn."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An exception ended the turn; the partial answer is kept."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run that served the turn died; another one closes it with the partial answer."""


Outcome = Completed | Stopped | Failed | Interrupted


@dataclass(frozen=True, slots=True)
class HandedOn:
    """Nothing was answered here: the next run serves the same input."""


class Work(ABC):
    """One record of `.in` being served.

    Args:
        context: The run that serves it.
        record: A `message`, `regenerate` or `action` record.
        message_id: The id its answer has to get; otherwise a fresh one.
    """

    keeps_answer = True
    """Whether what is said becomes a message of the history."""

    def __init__(self, context: RunContext, record: Record, message_id: str | None = None) -> None:
        self.context = context
        self.in_seq = record.seq
        self.trigger: Trigger = cast("Trigger", record.kind)
        self.body: dict[str, Any] = loads(record.body)
        self.client_data: Any = None
        self.tools: dict[str, Tool] = {}
        self.stop_signal = asyncio.Event()
        self.stop_reason = "stopped"
        self.response: Response | None = None
        self.turn: Turn[Any] | None = None
        self.start_seq: int | None = None
        self.compactor = context.control.compactor = Compactor(self)
        self._message_id = message_id
        self._generation: asyncio.Task[None] | None = None

    @property
    def usage(self) -> Usage | None:
        """What the models of this answer used, as far as they told."""
        return None if self.response is None else self.response.usage

    @property
    def server_tools(self) -> Collection[str]:
        """The tools that are answered here, not by the client."""
        return {name for name, tool in self.tools.items() if tool.has_body}

    @property
    def client_tools(self) -> Collection[str]:
        """The tools that the client answers."""
        return {name for name, tool in self.tools.items() if not tool.has_body}

    def stop(self, reason: str | None) -> None:
        """End the answer now, wherever it is; before its first token it is never asked for."""
        if not self.stop_signal.is_set():
            self.stop_reason = reason or "stopped"
            self.stop_signal.set()
        if self._generation is not None:
            self._generation.cancel()

    def interrupt(self, reason: str) -> None:
        """End the answer because a newer message came."""
        self.stop(reason)

    def take_write(self, record: Record) -> bool:
        """Make a `write` record part of the answer; False if there is none, or none that is kept."""
        if self.response is None or not self.keeps_answer:
            return False
        write_record(self.response, record)
        return True

    def take_relayed(self, record: Record) -> None:
        """Take what the process that gives this input a head start says; an input without one passes it."""
        logger.debug("input %d has no head start to take %s", self.in_seq, record)

    # --- the way to an answer

    @abstractmethod
    async def perform(self) -> Outcome | HandedOn:
        """Serve the record; every way but a cancelled run ends in an outcome."""

    def parse_client_data(self) -> None:
        """Validate what the client sent along, over the session's default.

        Raises:
            InvalidClientDataError: If it does not fit the agent's type.
        """
        context = self.context
        self.client_data = context.agent.parse_client_data(
            self.body.get("clientData"), default=context.default_client_data
        )

    async def resolve_agent_parts(self) -> None:
        """Validate the client data and find the tools of this turn."""
        context = self.context
        self.parse_client_data()
        tools = context.agent.tools
        if callable(tools):
            event = ToolsEvent(
                chat_id=context.chat_id,
                history=context.history,
                client_data=self.client_data,
                turn=context.turns,
                continuation=context.continuation,
            )
            resolved: Sequence[Tool] = await call(tools, event)
        else:
            resolved = tools
        self.tools = tool_map(resolved)
        if context.agent.frontend_tools:
            for brought in make_frontend_tools(self.body.get("tools", ())):
                self.tools.setdefault(brought.name, brought)  # one of the agent's own is never replaced

    def open_response(self, base: UIMessage | None) -> Turn[Any]:
        """Begin the answer: its id, its first record on `.out`, and the turn that application code sees."""
        context = self.context
        message_id = base["id"] if base is not None else self._message_id
        if message_id is None or (base is None and context.history.find_message(message_id) is not None):
            message_id = context.ids.new("msg")
        context.writer.push("turn-start", dumps(self.describe_start(message_id, base)))
        turn = self._begin_turn(Response(context.writer, message_id, base, self.before_step))
        self.tell_turn_start()
        return turn

    def open_late(self) -> None:
        """Begin the answer of work that failed before it was performed."""
        self.open_response(None)

    def describe_start(self, message_id: str, base: UIMessage | None) -> dict[str, Any]:
        """Return the body of the `turn-start` record."""
        start: dict[str, Any] = {"inSeq": self.in_seq, "trigger": self.trigger, "messageId": message_id}
        if base is not None:
            start["message"] = base
        if "editSeq" in self.body:
            start["editSeq"] = self.body["editSeq"]
        return start

    def tell_turn_start(self) -> None:
        """Let whoever loads the chat see what the running turn stands on."""
        if self.response is not None:
            self.context.on_turn_start(self.in_seq, self.trigger, self.response.message_id, self.messages_to_show())

    def messages_to_show(self) -> list[UIMessage]:
        """Return the messages that stand before the answer."""
        return self.context.history.all()

    def _begin_turn(self, response: Response) -> Turn[Any]:
        context = self.context
        self.response = response
        kind: type[Turn[Any]] = Turn[Any] if context.loop is None else ServedTurn[Any]
        turn = kind(
            chat_id=context.chat_id,
            run_id=context.run_id,
            number=context.turns,
            trigger=self.trigger,
            message_id=response.message_id,
            continuation=context.continuation,
            preloaded=context.preloaded,
            previous_run_id=context.run_before,
            client_data=self.client_data,
            tools=list(self.tools.values()),
            history=context.history,
            response=response,
            total_usage=context.state.total_usage,
            control=context.control,
            previous_turn_usage=context.state.last_usage,
            convert=lambda: self.convert(context.history),
            stop_signal=self.stop_signal,
            asks=find_asks(),
            files=context.files(),
        )
        if isinstance(turn, ServedTurn):
            turn.data = self.body.get("data")
        enter_turn(turn)
        self.turn = turn
        return turn

    def _resume_response(self, message_id: str, base: UIMessage | None, chunks: Sequence[UIMessageChunk]) -> Turn[Any]:
        steps = sum(chunk["type"] == "start-step" for chunk in chunks)
        response = Response(self.context.writer, message_id, base, self.before_step, earlier_steps=steps)
        response.replay(chunks)
        return self._begin_turn(response)

    @property
    def is_answering(self) -> bool:
        """Whether what was asked to answer is at it."""
        return self._generation is not None

    @property
    def goes_on(self) -> bool:
        """Whether what the answer takes and writes still counts: nobody has stopped it, and its turn is not over."""
        return self.response is not None and not self.response.is_closed and not self.stop_signal.is_set()

    def convert(self, messages: Sequence[Segment] | History) -> list[ModelMessage]:
        """Return what a model would be shown of these messages; of the history, with the layers that stand in it."""
        if isinstance(messages, History):
            messages = self.context.state.layers.segments(messages.all())
        return repair_model_messages(convert_segments(expand_injected(messages), tools=self.tools))

    async def prepare(self, messages: list[ModelMessage], reason: PrepareReason) -> list[ModelMessage]:  # noqa: ARG002
        """Let the application change a prompt that is about to be shown; only those of turns."""
        return messages

    async def before_step(self, boundary: StepBoundary) -> StepPrompt | None:
        """Change what the next step of the answer is shown: compaction, then steering, then background messages."""
        response = self._writer_of_answer()
        if not (self.goes_on and self.keeps_answer):
            return None  # of an answer that was left behind, or that becomes no message, no prompt tells later
        prompt = await self.compactor.at_boundary(boundary)
        prompt = await self.steer(boundary, prompt)
        if self.goes_on:
            prompt = [*prompt, *self.context.background.place_in(response.message_id, response.part_count)]
        return StepPrompt(messages=prompt, shown=await self.compactor.shown(boundary, prompt))

    async def steer(self, boundary: StepBoundary, prompt: list[ModelMessage]) -> list[ModelMessage]:  # noqa: ARG002
        """Return the prompt with what users said meanwhile; only turns are steered."""
        return prompt

    async def answer(self, produce: Callable[[], Any]) -> None:
        """Call `produce` and stream what it returns; ends early and quietly when the work is stopped.

        It runs in a task of its own, so that a stop can cancel just this.
        """
        if self.stop_signal.is_set():
            return
        self._generation = asyncio.create_task(self._generate(produce))
        try:
            await self._join(self._generation)
        except BaseException:
            # The run itself is cancelled: nothing of this answer may go on behind it.
            self._generation.cancel()
            await self._wait_for_end(self._generation)
            raise
        finally:
            self._generation = None
        if not self.stop_signal.is_set() and self.answer_error is not None:
            raise self.answer_error

    async def _join(self, generation: asyncio.Task[None]) -> None:
        stopped = asyncio.create_task(self.stop_signal.wait())
        try:
            await asyncio.wait({generation, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not generation.done():
                await self._wait_for_end(generation)
        finally:
            stopped.cancel()
        if not generation.done():
            return
        if generation.cancelled():
            if not self.stop_signal.is_set():
                raise UsageError("the answer cancelled itself")
            return
        error = generation.exception()
        if error is not None and not self.stop_signal.is_set():
            raise error

    @property
    def answer_error(self) -> ModelError | None:
        """What an `error` chunk said, whoever wrote it (D17)."""
        if self.response is None or self.response.stream_error is None:
            return None
        return ModelError(self.response.stream_error or "the stream reported an error")

    async def _wait_for_end(self, generation: asyncio.Task[None]) -> None:
        """Wait for an answer that was told to end, but not for ever."""
        grace = asyncio.create_task(self.context.clock.sleep(STOP_GRACE_SECONDS))
        try:
            await asyncio.wait({generation, grace}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            grace.cancel()
        if not generation.done():
            logger.warning("the answer of chat %s ignores its end", self.context.chat_id)
            self._writer_of_answer().seal()
            generation.add_done_callback(_forget_result)

    def _writer_of_answer(self) -> Response:
        if self.response is None:
            raise UsageError("there is no answer to write to yet")
        return self.response

    async def _generate(self, produce: Callable[[], Any]) -> None:
        enter_answer(True)
        answer = produce()
        if inspect.isawaitable(answer):
            answer = await answer
        await self._pipe(answer)

    async def _pipe(self, answer: Any) -> None:
        match answer:
            case None:
                return
            case str():
                stream: AsyncIterable[UIMessageChunk] = _each(_text_chunks(answer, self.context.ids.new("txt")))
            case dict():
                stream = _each(rebuild_chunks(validate_ui_message(answer)))
            case AsyncIterable():
                stream = cast("AsyncIterable[UIMessageChunk]", answer)
            case _:
                raise UsageError(f"run returned a {type(answer).__name__}: a stream, a text or a message is expected")
        try:
            await self._writer_of_answer().merge(stream)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        if isinstance(answer, TextStream) and answer.error is not None:
            raise answer.error


def _forget_result(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.info("an answer that was stopped ended late", exc_info=task.exception())


def _text_chunks(text: str, text_id: str) -> list[UIMessageChunk]:
    chunks: list[dict[str, Any]] = [
        {"type": "start"},
        {"type": "text-start", "id": text_id},
        {"type": "text-delta", "id": text_id, "delta": text},
        {"type": "text-end", "id": text_id},
        {"type": "finish", "finishReason": "stop"},
    ]
    return cast("list[UIMessageChunk]", chunks)


async def _each(chunks: Sequence[UIMessageChunk]) -> AsyncIterator[UIMessageChunk]:
    for chunk in chunks:
        yield chunk
