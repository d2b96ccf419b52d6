"""The leases of one process: taken, renewed all at once, given up when they cannot be renewed, and given back.

Safety is the store's: a stale epoch writes nothing. What happens here is about time. A process that could not renew for
a whole `ttl`, by its own monotonic clock, has to assume that another one serves its sessions by now, and ends its runs;
one that was frozen for so long asks first, because perhaps nobody has taken over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatrt import failpoints
from chatrt.clock import Clock
from chatrt.errors import SessionNotFoundError, StaleEpochError, StoreError, StoreUnavailableError
from chatrt.metrics import LOST_LEASES, STORE_ERRORS, Metrics
from chatrt.stores import Lease, SessionKey, SessionRow, Store

logger = logging.getLogger("chatrt.runtime")

RENEWALS_PER_TTL = 3
RELEASE_ANYWAY = 2**62
"""An `.in` cursor behind every record: what waits is left to others."""


class Holder(Protocol):
    """What a lease is held for: a run."""

    @property
    def lease(self) -> Lease: ...

    def give_up(self, error: StoreError) -> None: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A lease, and since when, on the monotonic clock, it is known to be held."""

    lease: Lease
    since: float


class Leases:
    """Takes, keeps and gives back the leases of one process.

    Args:
        store: Where they are.
        clock: The time.
        metrics: Where losses are counted.
        owner: The name of this process; another one each time it starts.
        ttl: How long a lease lasts from its last renewal on, in seconds.
    """

    def __init__(self, store: Store, clock: Clock, metrics: Metrics, *, owner: str, ttl: float) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self.owner = owner
        self.ttl = ttl
        self._held: dict[SessionKey, tuple[Holder, float]] = {}
        self._unreturned: dict[SessionKey, Lease] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._renew_at = clock.monotonic() + self.interval

    @property
    def interval(self) -> float:
        """Seconds from one renewal to the next."""
        return self.ttl / RENEWALS_PER_TTL

    # --- taking

    async def acquire(self, key: SessionKey) -> Taken | None:
        """Take the lease of a session; None if another process has it, or the session is a suspect."""
        since = self._clock.monotonic()
        lease = await self._store.acquire_lease(
            key, owner=self.owner, ttl=self.ttl, at=self._clock.now(), suspects=False
        )
        return None if lease is None else Taken(lease, since)

    async def claim(
        self, *, limit: int, suspects: int, agents: Sequence[str], avoid: Collection[SessionKey]
    ) -> list[tuple[Taken, SessionRow]]:
        """Take the leases of sessions that nobody serves; see `Store.claim_leases`."""
        since = self._clock.monotonic()
        claims = await self._store.claim_leases(
            owner=self.owner,
            ttl=self.ttl,
            at=self._clock.now(),
            limit=limit,
            suspects=suspects,
            agents=agents,
            avoid=avoid,
        )
        return [(Taken(lease, since), row) for lease, row in claims]

    def hold(self, holder: Holder, since: float) -> None:
        """Renew the lease of a run from now on."""
        self._held[holder.lease.key] = (holder, since)

    def drop(self, holder: Holder) -> None:
        """Renew it no more: the run is over."""
        if self._held.get(holder.lease.key, (None, 0.0))[0] is holder:
            del self._held[holder.lease.key]

    # --- keeping

    def next_look(self) -> float:
        """Return the seconds until `keep` has to be called again."""
        now = self._clock.monotonic()
        due = [self._renew_at]
        if self._store.is_shared:
            due += [since + self.ttl for _, since in self._held.values()]
        return max(min(due) - now, 0.0)

    async def keep(self, *, overslept: float) -> None:
        """Renew what is due, and end the runs whose leases could not be renewed.

        Args:
            overslept: How many seconds later than it wanted to the process looks.
        """
        now = self._clock.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + self.interval
            if self._renewing is None or self._renewing.done():
                self._renewing = asyncio.create_task(self._renew())
            if overslept > self.interval:
                await asyncio.wait({self._renewing}, timeout=self.interval)
        if self._store.is_shared:
            self._give_up_overdue()

    async def stop(self) -> None:
        """Renew no more."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})

    async def _renew(self) -> None:
        try:
            await self._renew_all()
            await self._return_rest()
        except StoreError as error:
            self._metrics.add(STORE_ERRORS, 1, error.code)
            logger.warning("leases were not renewed: %s", error)
        except Exception:
            logger.exception("leases were not renewed; the next round comes")

    async def _renew_all(self) -> None:
        holders = [holder for holder, _ in self._held.values()]
        if not holders:
            return
        since = self._clock.monotonic()
        leases = [holder.lease for holder in holders]
        with failpoints.writing("lease.pre_renew"):
            lost = await self._store.renew_leases(leases, ttl=self.ttl, at=self._clock.now())
        gone = {(lease.key, lease.epoch) for lease in lost}
        for holder in holders:
            key, epoch = holder.lease.key, holder.lease.epoch
            if self._held.get(key, (None, 0.0))[0] is not holder:
                continue  # it ended meanwhile
            if (key, epoch) in gone:
                failpoints.reach("lease.lost")
                del self._held[key]
                self._metrics.add(LOST_LEASES)
                holder.give_up(StaleEpochError(key.chat_id, epoch))
            else:
                self._held[key] = (holder, since)

    def _give_up_overdue(self) -> None:
        now = self._clock.monotonic()
        overdue = [holder for holder, since in self._held.values() if now - since >= self.ttl]
        for holder in overdue:
            self.drop(holder)
            self._metrics.add(LOST_LEASES)
            holder.give_up(StoreUnavailableError(f"the lease could not be renewed for {self.ttl:g} s"))
        if overdue:
            logger.warning("%d runs end: their leases could not be renewed for %g s", len(overdue), self.ttl)

    # --- giving back

    async def give_back(self, lease: Lease) -> None:
        """Let others serve the session at once; tried again later while the store is away."""
        try:
            await self._store.release_lease(lease, in_cursor=RELEASE_ANYWAY)
        except StoreUnavailableError as error:
            self._unreturned[lease.key] = lease
            logger.info("a lease is given back later: %s", error)
        except (StoreError, SessionNotFoundError) as error:
            logger.info("a lease was not given back: %s", error)

    async def _return_rest(self) -> None:
        for key, lease in list(self._unreturned.items()):
            try:
                await self._store.release_lease(lease, in_cursor=RELEASE_ANYWAY)
            except StoreUnavailableError:
                return
            except (StoreError, SessionNotFoundError) as error:
                logger.debug("a lease is over: %s", error)
            if self._unreturned.get(key) is lease:
                del self._unreturned[key]
