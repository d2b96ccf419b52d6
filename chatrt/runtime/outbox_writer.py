"""The writing side of an outbox: what a run pushes, brought to the store in order and shown once it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from chatrt import failpoints
from chatrt.errors import StoreError, StoreUnavailableError
from chatrt.metrics import COMMIT_SECONDS, Metrics
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.outbox import GROUP_RECORDS, Outbox
from chatrt.stores import Commit, Lease, NewRecord

CONFIRMED_SECONDS = 0.25
"""How long a write that was stored says that the lease is held: much less than any lease lasts."""

PENDING_BYTES = 1024 * 1024
"""What may wait for the store before the writer has to wait too."""


class OutboxWriter:
    """The writing side of `.out`, held by the one run that has the lease."""

    def __init__(
        self, outbox: Outbox, flusher: Flusher, lease: Lease, on_failure: Callable[[StoreError], None]
    ) -> None:
        self.lease = lease
        self.stored_seq = outbox.last_seq
        self._outbox = outbox
        self._flusher = flusher
        self._on_failure = on_failure
        self._pending: list[NewRecord] = []
        self._pending_bytes = 0
        self._marked = False
        self._under_way = False
        self._settling: asyncio.Event | None = None
        self._committing = False
        self._failure: StoreError | None = None
        self._asked_at = self._held_at = flusher.clock.monotonic()

    @property
    def metrics(self) -> Metrics:
        """Where the process counts."""
        return self._flusher.metrics

    def push(self, kind: str, body: bytes) -> None:
        """Append a record soon; it is published when it is stored."""
        self._pending.append(NewRecord(kind, body))
        self._pending_bytes += len(body)
        if not self._marked:
            self._mark()

    @property
    def crowded(self) -> bool:
        """Whether so much waits for the store that a polite writer waits too."""
        return self._pending_bytes > PENDING_BYTES

    async def flush(self) -> None:
        """Return when everything pushed so far is stored.

        Raises:
            StoreError: If it cannot be stored; the run is over then.
        """
        while self._failure is None and (self._pending or self._under_way):
            await self._next_landing()
        if self._failure is not None:
            raise self._failure

    async def confirm(self) -> None:
        """Return when the lease is known to be held, at least a moment ago; for what must not begin twice.

        What was stored a moment ago says so. A process that was frozen since then asks the store: another one may have
        gone on with the work, and begun what this one is about to begin.

        Raises:
            StoreError: If it is not; the run is over then.
        """
        clock = self._flusher.clock
        while self._failure is None and clock.monotonic() - self._held_at > CONFIRMED_SECONDS:
            self._held_at = clock.monotonic()
            outcome = await self._flusher.ask(self.lease)
            if outcome is not None:
                self.failed(outcome)
        if self._failure is not None:
            raise self._failure

    async def commit(self, commit: Commit) -> int:
        """Store what is pending and the commit's own records as one transaction; returns the last sequence number.

        Raises:
            StoreError: If it cannot be stored; nothing of it is.
        """
        if len(self._pending) > GROUP_RECORDS:
            await self.flush()
        self._committing = True
        try:
            while self._under_way:
                await self._next_landing()
            if self._failure is not None:
                raise self._failure
            records = [*self._pending, *commit.records]
            self._pending, self._pending_bytes = [], 0
            whole = replace(commit, records=records)
            at = self._flusher.clock.now()
            try:
                first_seq = await self._flusher.insist(
                    lambda: self._flusher.store.commit(self.lease, whole, at=at),
                    lambda: self._flusher.find_written(self, records),
                    took=COMMIT_SECONDS,
                    point="snap.pre_write",
                )
                failpoints.reach("snap.written")
            except BaseException:
                self._outbox.look_again()
                raise
            self.stored_seq += len(records)
            if records:
                self._outbox.publish(first_seq, at, records)
            return self._outbox.last_seq
        finally:
            self._committing = False
            if self._pending and not self._marked:
                self._mark()
            self._announce()  # what somebody else waits to see stored went with the commit

    def abandon(self) -> None:
        """Write nothing more; what was not stored is lost."""
        self._pending = []
        self._failure = self._failure or StoreUnavailableError("the run is over")
        self._announce()

    # --- what the flusher calls

    def take(self) -> list[NewRecord]:
        """Hand over what is pending; while a commit is under way it goes with that."""
        self._marked = False
        if self._committing or self._failure is not None or not self._pending:
            return []
        self._under_way = True
        self._asked_at = self._flusher.clock.monotonic()
        if len(self._pending) <= GROUP_RECORDS:
            taken, self._pending, self._pending_bytes = self._pending, [], 0
            return taken
        taken, self._pending = self._pending[:GROUP_RECORDS], self._pending[GROUP_RECORDS:]
        self._pending_bytes -= sum(len(record.body) for record in taken)
        self._mark()
        return taken

    def landed(self, records: Sequence[NewRecord], first_seq: int, at: float) -> None:
        """Publish what is stored."""
        self._under_way = False
        self.stored_seq = first_seq + len(records) - 1
        self._held_at = self._asked_at
        self._outbox.publish(first_seq, at, records)
        self._announce()

    def failed(self, error: StoreError) -> None:
        """End the run: it cannot write any more."""
        self._under_way = False
        self._failure = error
        self._outbox.look_again()
        self._on_failure(error)
        self._announce()

    def _mark(self) -> None:
        self._marked = True
        self._flusher.mark(self)

    def _announce(self) -> None:
        if self._settling is not None:
            self._settling.set()
            self._settling = None

    async def _next_landing(self) -> None:
        self._settling = self._settling or asyncio.Event()
        await self._settling.wait()
