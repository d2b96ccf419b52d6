"""Reading along: readers of a chat under test that come and go, and inputs that were sent and are being answered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self, cast

from chatrt.client.stream import ChatResult, ChatStream, Place
from chatrt.client.transport import OutRecord, Transport
from chatrt.errors import ServerUnavailableError
from chatrt.runtime.outbox import Outbox
from chatrt.stores import SessionKey
from chatrt.testing.watched_store import Log, LogRecord
from chatrt.ui import UIMessageChunk

Wanted = str | Callable[[dict[str, Any]], bool]
"""Which chunk is meant: its type, or a function that tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnResult(ChatResult):
    """How an input was answered: what `AgentChat` says of it, and what stands on the log.

    Attributes:
        in_seq: The input, on `.in`.
        seq: Its `turn-complete`, on `.out`.
        trigger: What kind of input it was, as the log has it; empty if nothing was begun for it.
        records: The records of `.out` from its `turn-start` to its `turn-complete`.
        chunks: The chunks among them.
    """

    in_seq: int
    seq: int
    trigger: str
    records: list[LogRecord] = field(repr=False)
    chunks: list[UIMessageChunk] = field(repr=False)


class Reader:
    """Reads `.out` of a chat from a cursor on, as a browser does that comes and goes.

    It reads when it is asked to, and can be asked again after a disconnect or a crash: it goes on behind its cursor.

    Attributes:
        cursor: The last record it has read.
        records: All it has read.
    """

    def __init__(self, find_outbox: Callable[[], Outbox], after: int = 0) -> None:
        self.cursor = after
        self.records: list[LogRecord] = []
        self._find_outbox = find_outbox
        self._batches: AsyncGenerator[Any, None] | None = None
        self._waiting: list[LogRecord] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.disconnect()

    @property
    def chunks(self) -> list[UIMessageChunk]:
        """The chunks it has read."""
        return chunks_of(self.records)

    async def next(self) -> LogRecord:
        """Return the next record, when it is there.

        Raises:
            ServerUnavailableError: If the worker is gone, or the chat is closed, and all is read.
        """
        while not self._waiting:
            if self._batches is None:
                self._batches = cast("AsyncGenerator[Any, None]", self._find_outbox().read(self.cursor))
            batch = await anext(self._batches, None)
            if batch is None:
                self._batches = None
                raise ServerUnavailableError("the log ended: the worker is gone, or the chat is closed")
            self._waiting = [LogRecord.of(record) for record in batch]
        record = self._waiting.pop(0)
        self.cursor = record.seq
        self.records.append(record)
        return record

    async def until(self, wanted: Wanted) -> UIMessageChunk:
        """Read on to the next chunk that is wanted, and return it."""
        while True:
            record = await self.next()
            if record.kind == "chunk" and is_wanted(record.body, wanted):
                return cast("UIMessageChunk", record.body)

    async def disconnect(self) -> None:
        """Stop reading, as a closed tab does; nothing else is touched by it (D16)."""
        self._waiting = []
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.aclose()


class SentInput:
    """An input that is durable: look on while it is answered, and wait for the end.

    It knows what was stored, whichever worker stored it, and no reader is attached for it.

    Attributes:
        in_seq: Its number on `.in`.
        records: What was stored of the answer so far.
    """

    def __init__(self, in_seq: int, records: LiveRecords, finish: Callable[[SentInput], Awaitable[TurnResult]]) -> None:
        self.in_seq = in_seq
        self.records: list[LogRecord] = []
        self._live = records
        self._finish = finish
        self._looked_at = 0
        self._result: TurnResult | None = None

    @property
    def chunks(self) -> list[UIMessageChunk]:
        """The chunks that were stored of the answer so far."""
        return chunks_of(self.records)

    @property
    def is_settled(self) -> bool:
        """Whether the end of the answer was seen."""
        return bool(self.records) and self.records[-1].kind == "turn-complete"

    async def until(self, wanted: Wanted) -> UIMessageChunk:
        """Wait for the next chunk of the answer that is wanted, and return it; the next one is looked for behind it.

        Raises:
            AssertionError: If the answer ends without one.
            ServerUnavailableError: If no worker goes on with it.
        """
        while True:
            for record in self.records[self._looked_at :]:
                self._looked_at += 1
                if record.kind == "chunk" and is_wanted(record.body, wanted):
                    return cast("UIMessageChunk", record.body)
            if self.is_settled:
                raise AssertionError(f"the answer to input {self.in_seq} ended without the chunk that was waited for")
            self._take(await self._live.next())

    async def result(self) -> TurnResult:
        """Wait for the end of the answer, and for the hooks of the turn as far as they need nothing from outside.

        Raises:
            ServerUnavailableError: If no worker goes on with it.
        """
        while not self.is_settled:
            self._take(await self._live.next())
        if self._result is None:
            self._result = await self._finish(self)
        return self._result

    def _take(self, record: LogRecord) -> None:
        match record.kind, record.body:
            case "turn-start", {"inSeq": self.in_seq}:
                # A run that found nothing worth keeping of an earlier one begins again.
                self.records, self._looked_at = [record], 0
            case "turn-complete", {"willRetry": True}:
                self.records, self._looked_at = [], 0
            case "turn-complete", {"inSeq": int(in_seq)} if in_seq >= self.in_seq:
                self.records.append(record)
            case _ if self.records:
                self.records.append(record)
            case _:
                pass


class LiveRecords:
    """The records of `.out` one by one, as they are stored; it goes on from worker to worker."""

    def __init__(self, log: Log, key: SessionKey, is_served: Callable[[], bool]) -> None:
        self._log = log
        self._key = key
        self._is_served = is_served
        self._cursor = 0

    async def next(self) -> LogRecord:
        """Return the next record, when it is stored.

        Raises:
            ServerUnavailableError: If there is none and no worker to write one.
        """
        while True:
            record = self._log.find_next(self._key, ".out", self._cursor)
            if record is not None:
                self._cursor = record.seq
                return record
            if not self._is_served():
                raise ServerUnavailableError("the worker is down: restart() it")
            await self._log.wait()


class _Replay:
    """As much of a `Transport` as a `ChatStream` needs to read records that are all there."""

    def __init__(self, records: Sequence[LogRecord]) -> None:
        self._records = records

    async def read(self, chat_id: str, *, after: int) -> AsyncGenerator[Sequence[OutRecord], None]:  # noqa: ARG002
        yield [OutRecord(record.seq, record.kind, record.body) for record in self._records]


async def to_result(chat_id: str, in_seq: int, records: Sequence[LogRecord]) -> TurnResult:
    """Make a result of the records of an answer, with the same eyes as a client."""

    async def begin() -> Place:
        return Place(in_seq, 0)

    stream = ChatStream(cast("Transport", _Replay(records)), chat_id, begin, lambda _: None)
    result = await stream.result()
    return TurnResult(
        **{field.name: getattr(result, field.name) for field in fields(result)},
        in_seq=in_seq,
        seq=records[-1].seq,
        trigger=records[-1].body.get("trigger", ""),
        records=list(records),
        chunks=chunks_of(records),
    )


def chunks_of(records: Sequence[LogRecord]) -> list[UIMessageChunk]:
    """Return the chunks among some records."""
    return [cast("UIMessageChunk", record.body) for record in records if record.kind == "chunk"]


def is_wanted(chunk: dict[str, Any], wanted: Wanted) -> bool:
    """Tell whether a chunk is the one that is meant."""
    return chunk["type"] == wanted if isinstance(wanted, str) else wanted(chunk)
