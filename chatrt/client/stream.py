"""The answer to one input, read in exactly one way: as chunks, as a text, as a result, or as a growing message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

from chatrt.client.transport import OutRecord, Transport
from chatrt.errors import ServerUnavailableError, TurnFailedError, TurnInterruptedError, UsageError
from chatrt.ui import (
    MessageReducer,
    UIMessage,
    UIMessageChunk,
    UIPart,
    cleanup_aborted_parts,
    get_tool_name,
    is_tool_part,
)

TurnStatus = Literal["completed", "stopped", "failed", "interrupted", "injected", "withdrawn"]

SETTLED_STATES = frozenset({"output-available", "output-error", "output-denied"})
WAITING_STATES = frozenset({"input-available", "approval-requested"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool in an answer.

    Attributes:
        tool_call_id: Names the call.
        tool_name: The tool.
        input: Its arguments.
        state: The state of its part, for instance `output-available` or `approval-requested`.
        approval_id: What `AgentChat.approve` takes; None for a call that needs no approval.
    """

    tool_call_id: str
    tool_name: str
    input: Any
    state: str
    approval_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call; `error_text` is None unless it failed, and a denied call has neither output nor error."""

    tool_call_id: str
    tool_name: str
    output: Any = None
    error_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """An answer that is over.

    Attributes:
        text: The texts of this turn, joined with nothing between.
        message: The whole message, which may have begun in an earlier turn; None when nothing was answered.
        tool_calls: The calls this turn made.
        tool_results: The calls that were settled in this turn, also those made earlier.
        pending_tool_calls: The calls that wait for the client: for an output, or for an approval.
        finish_reason: What the model gave as its reason, if it did.
        status: How the turn ended; `injected` for a message that became part of the turn it came in for, `withdrawn`
            for one that was taken back before its turn.
        error: `{"code", "message", "id"}` of a failed or interrupted turn.
    """

    text: str
    message: UIMessage | None
    tool_calls: list[ToolCall]
    tool_results: list[ToolResult]
    pending_tool_calls: list[ToolCall]
    finish_reason: str | None
    status: TurnStatus
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is found.

    Attributes:
        seq: The input it answers; it ends with the first `turn-complete` of this or a later one.
        after: The cursor to read `.out` after; before the beginning of the turn.
        shown: Chunks up to this one were seen before and are not given again.
    """

    seq: int
    after: int
    shown: int = 0


@dataclass(slots=True)
class _Turn:
    """What has been read of the turn so far; `lost` when records of it are no longer kept."""

    reducer: MessageReducer = field(default_factory=MessageReducer)
    base: UIMessage | None = None
    chunks: int = 0
    lost: bool = False
    running: bool = False

    def begin(self, start: dict[str, Any]) -> None:
        self.base = start.get("message")
        self.reducer = MessageReducer(self.base, message_id=start["messageId"])
        self.running, self.lost = True, False


class ChatStream:
    """The answer to one input of an `AgentChat`.

    Nothing is sent before the first use. `await stream` sends the input and returns this stream when the input is
    durable; iterating, `text()`, `result()` and `messages()` do the same first. Only one of these four may be used,
    once. Leaving an iteration, or `aclose()`, detaches: the turn goes on and its answer is in the history.

        async for chunk in chat.send_message("Hello"): ...
        text = await chat.send_message("Hello").text()

    Attributes:
        status: How the turn ended; None before its end was read.
        finish_reason: What the model gave as its reason, if it did.
        error: `{"code", "message", "id"}` of a failed or interrupted turn.
    """

    def __init__(
        self,
        transport: Transport,
        chat_id: str,
        begin: Callable[[], Awaitable[Place]],
        on_cursor: Callable[[int], None],
    ) -> None:
        self._transport = transport
        self._chat_id = chat_id
        self._begin = begin
        self._on_cursor = on_cursor
        self._place: Place | None = None
        self._beginning = asyncio.Lock()
        self._mode = ""
        self._reading: AsyncGenerator[Any, None] | None = None
        self._turn = _Turn()
        self.status: TurnStatus | None = None
        self.finish_reason: str | None = None
        self.error: dict[str, str] | None = None

    # --- the input

    def __await__(self) -> Generator[Any, None, Self]:
        return self._sent().__await__()

    async def _sent(self) -> Self:
        await self._find_place()
        return self

    async def _find_place(self) -> Place:
        async with self._beginning:
            if self._place is None:
                self._place = await self._begin()
            return self._place

    @property
    def seq(self) -> int:
        """The sequence number of the input.

        Raises:
            UsageError: If it was not sent yet.
        """
        if self._place is None:
            raise UsageError("the input has no number before it is sent: await the stream first")
        return self._place.seq

    # --- the four ways to read

    def __aiter__(self) -> AsyncIterator[UIMessageChunk]:
        """Yield the chunks of the turn. A failed turn ends with an `error` chunk, a stopped one with `abort`."""
        return self._take("chunks", self._chunks())

    def messages(self) -> AsyncIterator[UIMessage]:
        """Yield the message as it grows; each one is whole and independent of the next.

        Raises:
            TurnFailedError: After the last one, if the turn failed.
        """
        return self._take("messages()", self._snapshots())

    async def text(self) -> str:
        """Return the texts of this turn; of a stopped turn what there is.

        Raises:
            TurnFailedError: If the turn failed.
        """
        result = await self._result("text()")
        self._raise_failure()
        return result.text

    async def result(self) -> ChatResult:
        """Return the whole answer; a failed turn has `status` and `error` and raises nothing."""
        return await self._result("result()")

    async def aclose(self) -> None:
        """Stop reading; the turn goes on."""
        self._mode = self._mode or "aclose()"
        if self._reading is not None:
            await self._reading.aclose()

    # --- inside

    def _take(self, mode: str, reading: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        if self._mode:
            raise UsageError(f"an answer is read once, in one way: it was already read by {self._mode}")
        self._mode = mode
        self._reading = reading
        return reading

    async def _chunks(self) -> AsyncGenerator[UIMessageChunk, None]:
        async with aclosing(self._records()) as records:
            async for record in records:
                if self._place is None or record.seq > self._place.shown:
                    yield cast("UIMessageChunk", record.body)

    async def _snapshots(self) -> AsyncGenerator[UIMessage, None]:
        turn = self._turn
        async with aclosing(self._records()) as records:
            async for record in records:
                turn.chunks += 1
                if turn.reducer.apply(cast("UIMessageChunk", record.body)):
                    yield turn.reducer.snapshot()
        message = await self._final_message()
        if message is not None and (turn.lost or message != turn.reducer.snapshot()):
            yield message
        self._raise_failure()

    async def _result(self, mode: str) -> ChatResult:
        records = self._take(mode, self._records())
        turn = self._turn
        async with aclosing(records):
            async for record in records:
                turn.chunks += 1
                turn.reducer.apply(record.body)
        message = await self._final_message()
        parts = [] if message is None else message["parts"]
        # Parts are only ever added at the end, so those beyond the ones it began with are this turn's.
        begun = {} if turn.base is None else {p["toolCallId"]: p for p in turn.base["parts"] if is_tool_part(p)}
        new = parts[0 if turn.base is None else len(turn.base["parts"]) :]
        settled = [part for part in parts if is_tool_part(part) and part["state"] in SETTLED_STATES]
        return ChatResult(
            text="".join(part["text"] for part in new if part["type"] == "text"),
            message=message,
            tool_calls=[_to_call(part) for part in new if is_tool_part(part)],
            tool_results=[_to_result(part) for part in settled if _state(begun, part) not in SETTLED_STATES],
            pending_tool_calls=pending_tool_calls(message),
            finish_reason=self.finish_reason,
            status=self.status or "interrupted",
            error=self.error,
        )

    async def _records(self) -> AsyncGenerator[OutRecord, None]:
        """Send the input if that was not done, and yield the chunk records of its turn, from its start to its end."""
        place = await self._find_place()
        turn = self._turn
        async with aclosing(self._transport.read(self._chat_id, after=place.after)) as batches:
            async for batch in batches:
                for record in batch:
                    self._on_cursor(record.seq)
                    if record.kind == "chunk":
                        if turn.running:
                            yield record
                    elif record.kind == "gap":
                        # Turns are kept or trimmed whole: either ours begins after the gap, or it is lost.
                        turn.running, turn.lost = False, True
                    elif record.body["inSeq"] < place.seq:
                        turn.running = False
                    elif record.kind == "turn-start":
                        turn.begin(record.body)
                    elif record.kind == "turn-complete" and not record.body.get("willRetry"):
                        self._settle(record.body)
                        return
        raise ServerUnavailableError("the log ended before the turn did: its session manager was closed")

    def _settle(self, complete: dict[str, Any]) -> None:
        self.status = complete["status"]
        self.finish_reason = complete.get("finishReason")
        self.error = complete.get("error")
        self._turn.reducer.message_id = complete.get("messageId", self._turn.reducer.message_id)

    async def _final_message(self) -> UIMessage | None:
        """The message as the history has it, without asking for it unless chunks were missed."""
        turn = self._turn
        if turn.lost:
            state = await self._transport.load(self._chat_id)
            found = [m for m in state.messages if m["id"] == turn.reducer.message_id]
            return found[-1] if found else None
        if not turn.chunks:
            return turn.base
        message = turn.reducer.snapshot()
        if self.status != "completed":
            # Calls that the server left open are the client's to answer; it has closed all others itself.
            open_calls = {get_tool_name(part) for part in message["parts"] if is_tool_part(part)}
            message = cleanup_aborted_parts(message, client_tools=open_calls)
        return message if message["parts"] or "metadata" in message else None

    def _raise_failure(self) -> None:
        if self.status in ("failed", "interrupted"):
            error = self.error or {}
            raise TurnFailedError(
                error.get("message", "the run that served the turn died"),
                turn_code=error.get("code", TurnInterruptedError.code),
                error_id=error.get("id", ""),
            )


def pending_tool_calls(message: UIMessage | None) -> list[ToolCall]:
    """Return the calls of a message that wait for an output or an approval from the client."""
    parts = [] if message is None else message["parts"]
    return [_to_call(part) for part in parts if is_tool_part(part) and part["state"] in WAITING_STATES]


def _state(parts: dict[str, UIPart], part: UIPart) -> str:
    begun = parts.get(part["toolCallId"])
    return "" if begun is None else begun["state"]


def _to_call(part: UIPart) -> ToolCall:
    return ToolCall(
        tool_call_id=part["toolCallId"],
        tool_name=get_tool_name(part),
        input=part.get("input"),
        state=part["state"],
        approval_id=part.get("approval", {}).get("id"),
    )


def _to_result(part: UIPart) -> ToolResult:
    return ToolResult(
        tool_call_id=part["toolCallId"],
        tool_name=get_tool_name(part),
        output=part.get("output"),
        error_text=part.get("errorText"),
    )
