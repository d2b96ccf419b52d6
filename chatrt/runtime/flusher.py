"""The flusher: brings what all outboxes of this process have pending to the store, one group after another.

While a group is being stored the next one gathers, so that there is no timer when the store is idle and ever larger
groups when it is busy. One group is one transaction over all sessions. A store that many processes share may ask for
some milliseconds between two groups.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from chatrt import failpoints
from chatrt.clock import Clock
from chatrt.errors import SessionNotFoundError, StaleEpochError, StoreError, StoreUnavailableError
from chatrt.metrics import APPEND_SECONDS, STORE_ERRORS, Instrument, Metrics
from chatrt.stores import Lease, NewRecord, Store

logger = logging.getLogger("chatrt.runtime")

RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 4.0)
"""How long to wait between attempts while the store is unavailable."""

T = TypeVar("T")


class Pending(Protocol):
    """Something with records to store: an outbox's writer."""

    @property
    def lease(self) -> Lease:
        """Under which they are written."""
        ...

    @property
    def stored_seq(self) -> int:
        """The last record of the outbox as far as this writer knows; nobody else appends to it."""
        ...

    def take(self) -> list[NewRecord]:
        """Hand over what is pending; nothing, if it must not be stored now."""
        ...

    def landed(self, records: Sequence[NewRecord], first_seq: int, at: float) -> None:
        """What was taken is stored."""
        ...

    def failed(self, error: StoreError) -> None:
        """What was taken cannot be stored."""
        ...


class Flusher:
    """Groups the writes of all sessions of one process."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics | None = None) -> None:
        self.store = store
        self.clock = clock
        self.metrics = metrics or Metrics()
        self._marked: list[Pending] = []
        self._task: asyncio.Task[None] | None = None
        self._scheduled = False
        self._next_at = 0.0

    def mark(self, pending: Pending) -> None:
        """Store what this one has pending with the next group; once is enough until it is taken."""
        self._marked.append(pending)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    async def insist(
        self,
        write: Callable[[], Awaitable[T]],
        look: Callable[[], Awaitable[T | None]],
        *,
        took: Instrument = APPEND_SECONDS,
        point: failpoints.Write = "out.pre_commit",
    ) -> T:
        """Write, and try again for some seconds while the store is unavailable.

        Args:
            write: The write.
            look: Says what an attempt of unknown outcome has written after all; None if it wrote nothing.
            took: Where the time of the write is taken down.
            point: The failpoint that stands around it.
        """
        failed = False
        for delay in (*RETRY_SECONDS, None):
            try:
                done = await look() if failed else None
                if done is not None:
                    return done
                with self.metrics.timed(took), failpoints.writing(point):
                    return await write()
            except StoreUnavailableError as error:
                self.metrics.add(STORE_ERRORS, 1, error.code)
                if delay is None:
                    raise
                logger.warning("the store is unavailable, trying again in %s s: %s", delay, error)
                failed = True
                await self.clock.sleep(delay)
        raise AssertionError

    async def ask(self, lease: Lease) -> StoreError | None:
        """Return None if a lease is held, else what is wrong."""

        async def write() -> list[int | StaleEpochError]:
            return await self.store.append_out_groups([(lease, [])], at=self.clock.now())

        async def look() -> None:
            return None

        try:
            (outcome,) = await self.insist(write, look)
        except StoreError as error:
            return error
        return outcome if isinstance(outcome, StaleEpochError) else None

    async def find_written(self, pending: Pending, records: Sequence[NewRecord]) -> int | None:
        """Return where the last write of a writer begins if its records are stored; None if they are not.

        The records themselves are compared: as many may be there that are another's, who has the lease by now.
        """
        key, last_seq = pending.lease.key, pending.stored_seq + len(records)
        try:
            if not records or (await self.store.read_cursors(key)).out_last_seq != last_seq:
                return None
            page = await self.store.read_out(key, after=pending.stored_seq, limit=len(records))
        except SessionNotFoundError:
            return None  # deleted: the write itself will say so
        stored = [NewRecord(record.kind, record.body) for record in page.records]
        return pending.stored_seq + 1 if stored == list(records) else None

    async def aclose(self) -> None:
        """Stop; what was not stored is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._marked:
                await self._pace()
                marked, self._marked = self._marked, []
                await self._store([(one, records) for one in marked if (records := one.take())])
        finally:
            self._scheduled = False
            self._task = None

    async def _pace(self) -> None:
        if not self.store.append_interval:
            return
        early = self._next_at - self.clock.monotonic()
        if early > 0:
            await self.clock.sleep(early)
        self._next_at = self.clock.monotonic() + self.store.append_interval

    async def _store(self, taken: list[tuple[Pending, list[NewRecord]]]) -> None:
        if not taken:
            return
        at = self.clock.now()
        written: list[int | StaleEpochError | None] = [None] * len(taken)

        async def look() -> list[int | StaleEpochError] | None:
            # One transaction, but what was refused in it is not there, and what was not must not be written twice.
            for place, (one, records) in enumerate(taken):
                if written[place] is None:
                    written[place] = await self.find_written(one, records)
            return None if None in written else [outcome for outcome in written if outcome is not None]

        async def write() -> list[int | StaleEpochError]:
            left = [place for place, outcome in enumerate(written) if outcome is None]
            groups = [(taken[place][0].lease, taken[place][1]) for place in left]
            outcomes = iter(await self.store.append_out_groups(groups, at=at))
            return [next(outcomes) if outcome is None else outcome for outcome in written]

        try:
            first_seqs = await self.insist(write, look)
            failpoints.reach("out.committed_pre_publish")
        except Exception as error:
            # Also what no store should raise: who waits for these records must not wait for ever.
            failure = error if isinstance(error, StoreError) else StoreError(repr(error))
            if not isinstance(error, StoreUnavailableError):
                self.metrics.add(STORE_ERRORS, 1, failure.code)
            if failure is not error:
                logger.exception("the store broke")
            for one, _ in taken:
                one.failed(failure)
            return
        for (one, records), first_seq in zip(taken, first_seqs, strict=True):
            if isinstance(first_seq, StoreError):
                one.failed(first_seq)
            else:
                one.landed(records, first_seq, at)
