"""A turn as the application sees it: what came in, what to show the model, and where to write the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import orjson

from chatrt.compaction import CompactionLayer, CompactResult, Summarize
from chatrt.errors import UsageError
from chatrt.history import History
from chatrt.models import Usage
from chatrt.prompt import Prompt, SystemPrompt
from chatrt.run_control import RunControl
from chatrt.stores import Parent
from chatrt.tools import Tool
from chatrt.ui import ModelMessage, UIMessage, UIMessageChunk

ClientDataT = TypeVar("ClientDataT")

Trigger = Literal["message", "regenerate", "action", "preload", "switch", "data", "write"]


@runtime_checkable
class AnswerStream(Protocol):
    """A stream of chunks that says what its models used; a turn that is answered with one counts it (D10)."""

    @property
    def usage(self) -> Usage | None:
        """What was used so far; None while no model was asked."""
        ...


@runtime_checkable
class SteppedStream(AnswerStream, Protocol):
    """A stream that also says what the last of its model calls used: how large a prompt is by now."""

    @property
    def last_usage(self) -> Usage | None:
        """What the last model call used; None if nobody told."""
        ...


class ResponseWriter(Protocol):
    """Writes into the answer of the running turn."""

    def write(self, chunk: UIMessageChunk) -> None:
        """Send a chunk and make it part of the answer.

        A data part with an id takes the place of an earlier one of the same type and id (D18); `transient` ones are
        sent and not kept.

        Raises:
            InvalidChunkError: If it is no chunk; nothing was sent.
            UIMessageStreamError: If it contradicts the chunks before it; nothing was sent.
        """
        ...

    async def merge(self, chunks: AsyncIterable[UIMessageChunk]) -> None:
        """Write every chunk of a stream; returns when it ended."""
        ...

    def snapshot(self) -> UIMessage | None:
        """Return the answer as it stands; None while nothing is in it."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """What the last stream gave as the reason of its end."""
        ...


class TurnFiles(Protocol):
    """The files that were attached to the chat of a turn."""

    async def read(self, file: str | Mapping[str, Any]) -> bytes:
        """Return the bytes of a file.

        Args:
            file: A file part of a message, its URL, or the file's id.

        Raises:
            AttachmentNotFoundError: If the chat has no such file.
        """
        ...

    async def fill(self, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
        """Return model messages with the files that they name: their bytes, links, or notes.

        `stream_text` does this by itself; it is for code that asks a model in another way.
        """
        ...


@dataclass(frozen=True, slots=True)
class PipeResult:
    """How a stream ended that was piped into an answer.

    Attributes:
        status: `aborted` after a stop.
        message: The answer as it stands then.
        finish_reason: What the stream gave as its reason.
        error: What it raised.
    """

    status: Literal["complete", "aborted", "error"]
    message: UIMessage | None
    finish_reason: str | None = None
    error: Exception | None = None


@dataclass(kw_only=True)
class Turn(Generic[ClientDataT]):
    """One turn, given to `run`.

    Attributes:
        chat_id: The public id of the session.
        run_id: The run that serves the turn.
        number: How many turns this run served before.
        trigger: What brought the turn about.
        message_id: The id of the answer. It is the id of an earlier message when that one is continued.
        continuation: Whether other runs served this chat before.
        preloaded: Whether a client asked for this run ahead of its first message.
        previous_run_id: The run before this one.
        client_data: What the client sent along, as the agent's `client_data` type.
        tools: The tools of this turn.
        history: The messages of the chat, and how to change them.
        response: Where to write besides what `run` returns.
        previous_turn_usage: Of the last turn that reported any.
        total_usage: Of the whole session so far (D10).
        control: The run that serves the turn.
        attempt: 1, and more when a run died in the middle of the answer and this one goes on with it.
        files: The files that were attached to the chat.
        asks: What the turn asks of other sessions; the runtime's own.
    """

    chat_id: str
    run_id: str
    number: int
    trigger: Trigger
    message_id: str
    continuation: bool
    preloaded: bool = False
    previous_run_id: str | None = None
    client_data: ClientDataT
    tools: Sequence[Tool]
    history: History = field(repr=False)
    response: ResponseWriter = field(repr=False)
    total_usage: Usage
    control: RunControl = field(repr=False)
    previous_turn_usage: Usage | None = None
    attempt: int = 1
    convert: Callable[[], list[ModelMessage]] = field(repr=False)
    stop_signal: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    asks: Any = field(default=None, repr=False)
    files: TurnFiles | None = field(default=None, repr=False)

    @cached_property
    def messages(self) -> list[ModelMessage]:
        """What the model is shown: converted, repaired, and changed by `prepare_messages`. Made when it is read."""
        return self.convert()

    @property
    def ui_messages(self) -> list[UIMessage]:
        """The history, in a list of its own."""
        return self.history.all()

    @property
    def stop_requested(self) -> bool:
        """Whether a person asked for the end of this turn. `run` is cancelled then, so few need to look."""
        return self.stop_signal.is_set()

    @property
    def parent(self) -> Parent | None:
        """The session from whose run this one was started; None for one that began by itself."""
        return self.control.parent

    def idempotency_key(self, tool_call_id: str, value: Any) -> str:
        """Return the name of a call among all calls of all chats; the same when a later run carries it out again.

        Args:
            tool_call_id: Its id; some providers count from the beginning in every answer.
            value: Its input, JSON-shaped.
        """
        whole = (self.control.tenant, self.chat_id, self.message_id, tool_call_id)
        text = orjson.dumps([whole, value], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:32]

    async def pipe(self, chunks: AsyncIterable[UIMessageChunk]) -> PipeResult:
        """Write a stream into the answer and say how it ended, without raising; a stop ends the stream."""
        merging = asyncio.ensure_future(self.response.merge(chunks))
        stopped = asyncio.ensure_future(self.stop_signal.wait())
        try:
            await asyncio.wait({merging, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            merging.cancel()
            await asyncio.wait({merging})
        message, reason = self.response.snapshot(), self.response.finish_reason
        if merging.cancelled():
            return PipeResult("aborted", message)
        error = merging.exception()
        if error is None:
            return PipeResult("aborted" if self.stop_requested else "complete", message, reason)
        if not isinstance(error, Exception):
            raise error
        return PipeResult("error", message, reason, error)

    # --- the run

    def end_run(self) -> None:
        """End the run after this turn and the inputs that wait; see `RunControl`."""
        self.control.end_run()

    def request_upgrade(self) -> None:
        """Let another run, of newer code perhaps, go on; see `RunControl`."""
        self.control.request_upgrade()

    # --- compaction and background work

    @property
    def compaction(self) -> CompactionLayer | None:
        """The compaction that holds now; see `RunControl`."""
        return self.control.compaction

    async def compact(self, *, summarize: Summarize | None = None) -> CompactResult:
        """Summarize the history now; see `RunControl`."""
        return await self.control.compact(summarize=summarize)

    def inject(self, messages: Sequence[ModelMessage]) -> None:
        """Put messages into the prompt at the next place; see `RunControl`."""
        self.control.inject(messages)

    def defer(self, work: Awaitable[Any] | Callable[[], Any]) -> None:
        """Run something beside the answer; see `RunControl`."""
        self.control.defer(work)

    # --- the prompt

    @property
    def prompt(self) -> SystemPrompt:
        """The system prompt of the session; `UsageError` if none was set."""
        return self.control.prompt

    def find_prompt(self) -> SystemPrompt | None:
        """Return the system prompt of the session, or None."""
        return self.control.find_prompt()

    def set_prompt(
        self,
        prompt: str | Prompt | SystemPrompt,
        /,
        *,
        provider_options: Mapping[str, Any] | None = None,
        cache: bool = False,
        **variables: Any,
    ) -> None:
        """Give the session its system prompt, for this run and all later ones; see `RunControl`."""
        self.control.set_prompt(prompt, provider_options=provider_options, cache=cache, **variables)


_current: ContextVar[Turn[Any] | None] = ContextVar("chatrt_turn", default=None)


def current_turn() -> Turn[Any]:
    """Return the turn (or action) that the calling code runs in: hooks, run, tools, and whatever they call.

    Raises:
        UsageError: If no turn is running here.
    """
    turn = find_current_turn()
    if turn is None:
        raise UsageError("no turn is running here")
    return turn


def find_current_turn() -> Turn[Any] | None:
    """Return the turn (or action) that the calling code runs in, or None."""
    return _current.get()


def enter_turn(turn: Turn[Any] | None) -> None:
    """Make `turn` the current one for the calling task and the tasks it starts."""
    _current.set(turn)
