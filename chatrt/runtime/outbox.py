"""The outbox of a session: what the run that serves it has stored, read by anybody at any pace.

Chunks are pushed without waiting. As soon as the store is free, everything that was pushed meanwhile goes to it as one
group; what is stored is then published to the readers. So a reader sees only what survives, a fast stream costs few
transactions, and a slow one waits for nobody.

Readers pull by cursor. What is recent comes from one buffer that all live readers of a session share, the rest from the
store; a reader that lags costs nothing but its own reading, and a session that nobody reads holds no records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from chatrt.codec import dumps
from chatrt.errors import CursorAheadError, SessionNotFoundError, StoreError, StoreUnavailableError
from chatrt.stores import NewRecord, Record, SessionKey, Store

BUFFER_BYTES = 2 * 1024 * 1024
"""What the shared buffer of one session may hold before its older half is dropped."""

BATCH_RECORDS = 512
"""The most records a reader is handed at once."""

GROUP_RECORDS = 4096
"""The most records of one session that are stored as one piece; a reader decodes whole pieces."""

LOOK_AGAIN_SECONDS = 0.5
"""How long a live reader leaves a store alone that could not be read."""

T = TypeVar("T")


class Pulse:
    """Wakes one live reader although nothing was appended: it is handed an empty batch, once for all rings."""

    def __init__(self) -> None:
        self._rung = False
        self._waiting: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the reader, now or when it waits next."""
        self._rung = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def watch(self, waiting: asyncio.Future[None]) -> None:
        """Say what the reader waits for."""
        self._waiting = waiting

    def take(self) -> bool:
        """Tell whether it was rung since this was asked last."""
        rung, self._rung = self._rung, False
        return rung


class _Place:
    """How far a live reader has come; written once for each batch, so that somebody can look at it."""

    __slots__ = ("cursor",)

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor


class Outbox:
    """The readable side of `.out`."""

    def __init__(self, key: SessionKey, store: Store) -> None:
        self._key = key
        self._store = store
        self._buffer: list[Record] = []
        self._buffer_bytes = 0
        self._last_seq: int | None = None
        self._in_doubt = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._readers = 0
        self._watchers = 0
        self._places: set[_Place] = set()
        self._ended = False
        self._is_written_here = False
        self._following: asyncio.Task[None] | None = None
        self._follow_to = 0

    @property
    def last_seq(self) -> int:
        """The newest record that is known here; 0 before the first."""
        return self._last_seq or 0

    @property
    def readers(self) -> int:
        """How many live readers are attached now, watchers not counted."""
        return self._readers - self._watchers

    @property
    def lag(self) -> int:
        """How many records the live reader who is farthest behind has not taken yet."""
        return max((self.last_seq - place.cursor for place in list(self._places)), default=0)

    def attach(self) -> Callable[[], None]:
        """Count as a live reader from now on, before the first record is read; the result ends it, once."""
        self._readers += 1
        attached = True

        def detach() -> None:
            nonlocal attached
            if attached:
                attached = False
                self._leave()

        return detach

    async def read(
        self, after: int = 0, *, live: bool = True, watches: bool = False, pulse: Pulse | None = None
    ) -> AsyncIterator[list[Record]]:
        """Yield the records after the cursor `after` in batches: in order, without a gap or a repeat.

        Args:
            after: The last sequence number the reader has.
            live: Go on with what is appended later; otherwise end with the newest record.
            watches: Nobody is told what is read: it only looks out for something.
            pulse: Wakes the reader while it waits.

        Yields:
            Batches, none of them empty but those for which the pulse was rung. When records after the cursor are no
            longer kept, the first record has kind `gap` (D13), the seq before the oldest kept one, and a body
            `{"after", "firstSeq"}`.

        Raises:
            CursorAheadError: If the log is shorter than the cursor says.
            SessionNotFoundError: If there is no such session.
        """
        self._readers += live
        self._watchers += live and watches
        create_future, waiting = asyncio.get_running_loop().create_future, self._waiting
        place, cursor = _Place(after), after
        if live:
            self._places.add(place)
        try:
            if self._last_seq is None or after > self._last_seq or not self._is_written_here:
                await self._look_up(after)
            while True:
                while self._in_doubt:
                    await self._patiently(live, lambda at=cursor: self._look_up(at))
                while cursor < (self._last_seq or 0):
                    batch = self._recent(cursor) or await self._patiently(live, lambda at=cursor: self._stored(at))
                    cursor = batch[-1].seq
                    yield batch
                    place.cursor = cursor
                if self._in_doubt:
                    continue
                if not live or (self._ended and self._following is None):
                    return
                if pulse is not None and pulse.take():
                    yield []
                    continue
                # Nothing was awaited since the look at `_last_seq`, so no record can slip through here. One future for
                # each reader: a cancelled task cancels what it awaits, and that must not be shared.
                future: asyncio.Future[None] = create_future()
                waiting.add(future)
                if pulse is not None:
                    pulse.watch(future)
                try:
                    await future
                except BaseException:
                    waiting.discard(future)
                    raise
                if pulse is not None:
                    waiting.discard(future)  # it may have been the pulse
        finally:
            self._watchers -= live and watches
            self._places.discard(place)
            if live:
                self._leave()

    def publish(self, first_seq: int, at: float, records: Sequence[NewRecord]) -> None:
        """Show records that are stored by now to all readers."""
        if not self._readers:
            self._last_seq = first_seq + len(records) - 1
            return
        milliseconds = int(at * 1000)
        buffer = self._buffer
        seq = first_seq
        for kind, body in records:
            buffer.append(Record(seq, milliseconds, kind, body))
            self._buffer_bytes += len(body)
            seq += 1
        self._last_seq = seq - 1
        if self._buffer_bytes > BUFFER_BYTES:
            self._shrink()
        self._wake()

    def resume_from(self, last_seq: int) -> None:
        """Say how long the log is, as a run found it at its boot."""
        self._in_doubt = False
        self._is_written_here = True
        if last_seq != self._last_seq:
            self._grow_to(last_seq)

    def leave(self) -> None:
        """Say that the run is over: what comes next may be written by another process."""
        self._is_written_here = False
        if self._last_seq is not None:
            self._catch_up()

    def follow(self, last_seq: int) -> None:
        """Show readers what another process has written, up to this record; read once for all of them."""
        self._follow_to = max(self._follow_to, last_seq)
        if self._is_written_here:
            return  # a run that has lost its lease may not know it yet: see `leave`
        # Before anybody has looked nothing is known here; a look that is under way may be older than this, and goes on.
        if self._last_seq is not None:
            self._catch_up()

    def look_again(self) -> None:
        """Let readers ask the store how long the log is: a write failed, and it may have taken effect all the same."""
        self._in_doubt = True
        self._wake()

    def end(self) -> None:
        """Let live readers end once they have read everything; for good."""
        self._ended = True
        self._wake()

    def _leave(self) -> None:
        self._readers -= 1
        if not self._readers:
            # Whoever comes next finds it in the store; many kept records would cost memory and long looks for garbage.
            self._empty()

    def _empty(self) -> None:
        self._buffer = []
        self._buffer_bytes = 0

    async def _patiently(self, live: bool, look: Callable[[], Awaitable[T]]) -> T:  # noqa: FBT001
        """Look into the store; a live reader stays while it is away, for what comes later is what it waits for."""
        while True:
            try:
                return await look()
            except StoreUnavailableError:
                if not live or self._ended:
                    raise
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _look_up(self, cursor: int) -> None:
        self._in_doubt = False
        try:
            page = await self._store.read_out(self._key, after=cursor, limit=1)
        except BaseException:
            self._in_doubt = True
            raise
        if page.last_seq > self.last_seq or self._last_seq is None:
            self._grow_to(page.last_seq)
        if cursor > self.last_seq:
            raise CursorAheadError(cursor, self.last_seq)
        self._catch_up()

    def _catch_up(self) -> None:
        """See to it that what another process told of is shown."""
        if self._is_written_here or self._follow_to <= self.last_seq:
            return
        if not self._readers:
            self._grow_to(self._follow_to)
        elif self._following is None:
            self._following = asyncio.create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            while self.last_seq < self._follow_to and not self._is_written_here:
                wanted = self._follow_to
                page = await self._store.read_out(self._key, after=self.last_seq, limit=GROUP_RECORDS)
                if self._is_written_here:
                    return  # a run has begun here meanwhile: it knows better
                if not page.records or page.records[0].seq != self.last_seq + 1:
                    if page.last_seq > self.last_seq:
                        self._grow_to(page.last_seq)
                    if self._follow_to == wanted:
                        self._follow_to = page.last_seq  # all that was told is there by now, or of a log that is gone
                    continue
                self._buffer += page.records
                self._buffer_bytes += sum(len(record.body) for record in page.records)
                self._last_seq = page.records[-1].seq
                if self._buffer_bytes > BUFFER_BYTES:
                    self._shrink()
                self._wake()
        except (StoreError, SessionNotFoundError):
            self.look_again()
        finally:
            self._following = None
            if self._ended:
                self._wake()

    def _grow_to(self, last_seq: int) -> None:
        """The log is longer than what was published here; the buffer has no holes, so it starts anew."""
        self._empty()
        self._last_seq = last_seq
        self._wake()

    def _recent(self, cursor: int) -> list[Record]:
        if not self._buffer or cursor + 1 < self._buffer[0].seq:
            return []
        start = cursor + 1 - self._buffer[0].seq
        return self._buffer[start : start + BATCH_RECORDS]

    async def _stored(self, cursor: int) -> list[Record]:
        page = await self._store.read_out(self._key, after=cursor, limit=GROUP_RECORDS)
        if page.first_seq <= cursor + 1:
            return page.records
        body = dumps({"after": cursor, "firstSeq": page.first_seq})
        return [Record(page.first_seq - 1, 0, "gap", body), *page.records]

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def _shrink(self) -> None:
        self._buffer = self._buffer[len(self._buffer) // 2 :]
        self._buffer_bytes = sum(len(record.body) for record in self._buffer)
