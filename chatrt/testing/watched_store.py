"""A store as one worker of a test sees it: every record is noted, and a worker that was killed gets nothing through."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

from chatrt.codec import loads
from chatrt.errors import StoreUnavailableError
from chatrt.stores import Appended, Commit, Lease, NewRecord, Record, SessionKey, Store

Stream = Literal[".in", ".out"]
PAGE = 1000


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record of `.in` or `.out`, decoded.

    Attributes:
        seq: Its number in its stream.
        kind: For instance `message`, or `turn-start`, `chunk`, `turn-complete`.
        body: What it says: for a `chunk` the chunk.
        at: When it was appended, in seconds since 1970 on the clock of the harness.
    """

    seq: int
    kind: str
    body: dict[str, Any]
    at: float

    @classmethod
    def of(cls, record: Record) -> LogRecord:
        """Decode a record."""
        return cls(record.seq, record.kind, loads(record.body), record.at / 1000)


class Log:
    """All records that were written to a store while it was watched, also those that it has trimmed since."""

    def __init__(self) -> None:
        self._records: dict[tuple[SessionKey, Stream], dict[int, LogRecord]] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def records(self, key: SessionKey, stream: Stream) -> list[LogRecord]:
        """Return the records of a stream in order."""
        found = self._records.get((key, stream), {})
        return [found[seq] for seq in sorted(found)]

    def find_next(self, key: SessionKey, stream: Stream, after: int) -> LogRecord | None:
        """Return the first record behind `after`, or None."""
        found = self._records.get((key, stream), {})
        # A store that had trimmed some before it was watched leaves a hole.
        return found.get(after + 1) or min((r for r in found.values() if r.seq > after), key=_seq, default=None)

    async def wait(self) -> None:
        """Return when `announce` is called, which every new record does."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def announce(self) -> None:
        """Let everybody who waits look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def read(self, store: Store, key: SessionKey) -> None:
        """Note what a store has of a session."""
        cursor = 0
        while inputs := await store.read_in(key, after=cursor):
            cursor = inputs[-1].seq
            self._note(key, ".in", map(LogRecord.of, inputs))
        cursor = 0
        while outputs := (await store.read_out(key, after=cursor, limit=PAGE)).records:
            cursor = outputs[-1].seq
            self._note(key, ".out", map(LogRecord.of, outputs))

    def note_call(self, name: str, arguments: tuple[Any, ...], at: float, result: Any) -> None:
        """Note what a call of a store has written."""
        match name, arguments:
            case "append_in", (SessionKey() as key, NewRecord() as record, *_):
                self._note_new(key, ".in", cast("Appended", result).seq, [record], at)
            case "append_out", (Lease() as lease, records, *_):
                self._note_new(lease.key, ".out", result, records, at)
            case "append_out_groups", (groups, *_):
                for (lease, records), first_seq in zip(groups, result, strict=True):
                    if isinstance(first_seq, int):
                        self._note_new(lease.key, ".out", first_seq, records, at)
            case "commit", (Lease() as lease, Commit() as commit, *_):
                self._note_new(lease.key, ".out", result, commit.records, at)
            case "delete_expired", _ if not result:
                pass
            case "delete_session" | "delete_expired", (SessionKey() as key, *_):
                self._records.pop((key, ".in"), None)
                self._records.pop((key, ".out"), None)
            case _:
                pass

    def _note_new(self, key: SessionKey, stream: Stream, seq: int, records: Sequence[NewRecord], at: float) -> None:
        numbered = enumerate(records, seq)
        self._note(key, stream, (LogRecord(number, r.kind, loads(r.body), at) for number, r in numbered))

    def _note(self, key: SessionKey, stream: Stream, records: Any) -> None:
        known = self._records.setdefault((key, stream), {})
        for record in records:
            known.setdefault(record.seq, record)  # a repeated append is answered with the first one's number
        self.announce()


def _seq(record: LogRecord) -> int:
    return record.seq


_logs: WeakKeyDictionary[Store, Log] = WeakKeyDictionary()


def log_of(store: Store) -> Log:
    """Return the log of a store; harnesses that share the store share it."""
    return _logs.setdefault(store, Log())


class WorkerStore:
    """Hands every call on to a store, for one life of one worker.

    Closing it lets the store itself open. Use `as_store` to pass it where a `Store` is asked for.

    Attributes:
        store: The store behind it.
    """

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self._log = log
        self._ended = False
        self._under_way = 0
        self._returned: asyncio.Future[None] | None = None

    @property
    def as_store(self) -> Store:
        """This object, typed as what it stands for."""
        return cast("Store", self)

    def end(self) -> None:
        """Let nothing through any more. A call that is under way may still take effect, but nobody learns of it."""
        self._ended = True

    async def close(self) -> None:
        """Stand in for the store's own `close`: the worker ends, the store goes on."""
        self.end()

    def wait_outside(self) -> asyncio.Future[None] | None:
        """Return what is done when the next of the calls under way returns; None when there is none."""
        if not self._under_way:
            return None
        if self._returned is None:
            self._returned = asyncio.get_running_loop().create_future()
        return self._returned

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.store, name)
        return self._guarded(name, attribute) if callable(attribute) else attribute

    def _guarded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._check()
            result = method(*arguments, **options)
            return self._follow(name, arguments, options, result) if inspect.isawaitable(result) else result

        return call

    async def _follow(
        self, name: str, arguments: tuple[Any, ...], options: dict[str, Any], result: Awaitable[Any]
    ) -> Any:
        self._under_way += 1
        try:
            value = await result
        finally:
            self._under_way -= 1
            if self._returned is not None:
                returned, self._returned = self._returned, None
                if not returned.done():
                    returned.set_result(None)
        self._log.note_call(name, arguments, options.get("at", 0.0), value)
        self._check()
        return value

    def _check(self) -> None:
        if self._ended:
            raise StoreUnavailableError("the worker was ended")
