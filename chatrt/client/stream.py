"""The answer to one input, read in exactly one way: as chunks, as a text, as a result, or as a growing message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self, cast

from chatrt.client.asking import Asking
from chatrt.client.result import ChatResult, TurnStatus, to_result
from chatrt.client.transport import OutRecord, Transport
from chatrt.errors import ServerUnavailableError, TurnFailedError, TurnInterruptedError, UsageError
from chatrt.ui import (
    MessageReducer,
    UIMessage,
    UIMessageChunk,
    cleanup_aborted_parts,
    get_tool_name,
    is_tool_part,
)


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

    Inside of a run it is otherwise: an answer that a turn began to read and leaves early (cancelled, timed out, closed)
    is stopped, for nobody else waits for it; see `chatrt.runtime.asks`. One that is not read goes on.

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
        asking: Asking | None = None,
    ) -> None:
        self._asking = asking or Asking(transport, "", chat_id)
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

    def messages(self, *, every: float = 0.0) -> AsyncIterator[UIMessage]:
        """Yield the message as it grows; each one is whole and independent of the next.

        Args:
            every: Seconds between two of them, at least: whole messages that are sent on cost more with every chunk
                they have. 0 yields one for each chunk; the last one comes in any case.

        Raises:
            TurnFailedError: After the last one, if the turn failed.
        """
        return self._take("messages()", self._paced(every) if every > 0 else self._snapshots())

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

    async def _paced(self, every: float) -> AsyncGenerator[UIMessage, None]:
        """Read on in a task, and look now and then how far it is."""
        turn, grown = self._turn, asyncio.Event()

        async def read() -> None:
            async with aclosing(self._records()) as records:
                async for record in records:
                    turn.chunks += 1
                    if turn.reducer.apply(cast("UIMessageChunk", record.body)):
                        grown.set()

        reading = asyncio.create_task(read())
        try:
            while await _first_of(reading, grown.wait()) is not reading:
                grown.clear()
                yield turn.reducer.snapshot()
                await _first_of(reading, self._transport.clock.sleep(every))
            await reading
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        message = await self._final_message()
        if message is not None:
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
        return to_result(
            message, turn.base, finish_reason=self.finish_reason, status=self.status or "interrupted", error=self.error
        )

    async def _records(self) -> AsyncGenerator[OutRecord, None]:
        """Send the input if that was not done, and yield the chunk records of its turn, from its start to its end."""
        await self._asking.begin_reading()
        try:
            async with aclosing(self._read_turn()) as records:
                async for record in records:
                    yield record
        finally:
            self._asking.end_reading(settled=self.status is not None)

    async def _read_turn(self) -> AsyncGenerator[OutRecord, None]:
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


async def _first_of(task: asyncio.Task[None], other: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Wait until one of the two is done and return it; `other` is cancelled if it is not."""
    second = asyncio.create_task(other)
    try:
        await asyncio.wait({task, second}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        second.cancel()
    return task if task.done() else second
