"""Retention: sessions that nobody needs any more are removed, with the sessions they started and their files.

Off unless an application asks for it. Every worker looks now and then; removing is fenced in the store: one transaction
makes sure that the session is still as old as it was found, has nothing unsettled and is served by nobody. So several
workers do the same work at most twice, and an input that arrives in the last moment keeps its session or is refused as
unknown.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from chatrt.clock import Clock
from chatrt.errors import StoreError, UsageError
from chatrt.metrics import DELETED, STORE_ERRORS, Metrics
from chatrt.stores import SessionKey, SessionRow, Store

logger = logging.getLogger("chatrt.runtime")

BATCH = 50
"""The most sessions that are looked for at once; each is removed in a transaction of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long sessions are kept. Times are seconds or a `timedelta`; None is for ever.

    The records of `.out` need no rule: each commit drops those that are older than the last two turns. What was said in
    an answered input stands in the messages; `records_after` empties its record of `.in`, of which the number and the
    idempotency key stay.

    Attributes:
        closed_after: Since a session was closed, or took its last input or answer behind that.
        idle_after: Since a session took its last input or answer, closed or not.
        records_after: Since an input was appended, if it is settled.
        every: Between two looks.

    Raises:
        UsageError: If nothing would be removed, or a time is not possible.
    """

    closed_after: float | timedelta | None = None
    idle_after: float | timedelta | None = None
    records_after: float | timedelta | None = None
    every: float | timedelta = 600.0

    def __post_init__(self) -> None:
        if self.closed_after is None and self.idle_after is None and self.records_after is None:
            raise UsageError("retention needs closed_after, idle_after or records_after")
        for name in ("closed_after", "idle_after", "records_after"):
            seconds = to_seconds(getattr(self, name))
            if seconds is not None and seconds < 0:
                raise UsageError(f"{name} is not negative, {seconds:g} is")
        if not (to_seconds(self.every) or 0) > 0:
            raise UsageError("retention looks every so many seconds, more than 0")


def to_seconds(time: float | timedelta | None) -> float | None:
    """Return a time in seconds."""
    return time.total_seconds() if isinstance(time, timedelta) else time


class Keeper:
    """Carries retention out.

    Args:
        retention: What to keep.
        store: Where.
        clock: What it is old by.
        metrics: Where removals are counted.
        remove: Removes a session and its family if it has been idle since a time; says whether it did.
    """

    def __init__(
        self,
        retention: Retention,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        remove: Callable[[SessionRow, float], Awaitable[bool]],
    ) -> None:
        self._every = to_seconds(retention.every) or 0.0
        self._closed_after = to_seconds(retention.closed_after)
        self._idle_after = to_seconds(retention.idle_after)
        self._records_after = to_seconds(retention.records_after)
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._remove = remove

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(self._every)
            try:
                await self.sweep()
            except StoreError as error:
                self._metrics.add(STORE_ERRORS, 1, error.code)
                logger.warning("retention: the store is unavailable: %s", error)
            except Exception:
                logger.exception("a round of retention failed; the next one comes")

    async def sweep(self) -> int:
        """Remove what is due and return how many sessions that were, those they started not counted."""
        removed, stayed = 0, 0
        await self._forget_inputs()
        while self._closed_after is not None or self._idle_after is not None:
            now = self._clock.now()
            closed_before = None if self._closed_after is None else now - self._closed_after
            idle_before = None if self._idle_after is None else now - self._idle_after
            rows = await self._store.find_expired(
                closed_before=closed_before, idle_before=idle_before, at=now, limit=BATCH, skip=stayed
            )
            for row in rows:
                before = max(
                    time
                    for time in (idle_before, closed_before if row.status == "closed" else None)
                    if time is not None
                )
                if await self._remove(row, before):
                    removed += 1
                    self._metrics.add(DELETED)
                else:
                    stayed += 1
            if len(rows) < BATCH:
                break
        if removed:
            logger.info("retention removed %d sessions", removed)
        return removed

    async def _forget_inputs(self) -> None:
        if self._records_after is None:
            return
        before, total = self._clock.now() - self._records_after, 0
        while count := await self._store.forget_inputs(before=before):
            total += count
        if total:
            logger.info("retention emptied %d records", total)


async def is_family_idle(store: Store, key: SessionKey, *, before: float) -> bool:
    """Whether none of the sessions that this one started, and those did, has moved since."""
    async for child in _family(store, key):
        cursors = await store.read_cursors(child.key)
        busy = cursors.in_cursor < cursors.last_in_seq or cursors.settled_seq < cursors.out_last_seq
        if busy or child.updated_at >= before:
            return False
    return True


async def _family(store: Store, key: SessionKey) -> AsyncIterator[SessionRow]:
    async for child in store.iter_sessions(key.tenant, parent=key.chat_id):
        yield child
        async for below in _family(store, child.key):
            yield below
