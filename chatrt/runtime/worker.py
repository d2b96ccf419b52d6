"""The worker of a process: leases sessions that have unsettled work, serves each with a run, and hands over at its end.

Work is found three ways: somebody appends in this process (`wake`), another process tells that there is something
nobody holds (`look`), and a look of its own every second where other processes may die. A look claims leases, one look
at a time and at most one queued behind it.

A session over which holders have died twice is a suspect: the next one over which its worker dies is settled without
being served (`chatrt.runtime.quarantine`). So that its neighbours do not die with it a third time, suspects are started
one after another.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chatrt import failpoints
from chatrt.clock import Clock
from chatrt.errors import AgentNotFoundError, SessionNotFoundError, StoreError
from chatrt.ids import Ids
from chatrt.metrics import STORE_ERRORS, Metrics
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.leases import Leases, Taken
from chatrt.runtime.run import Run
from chatrt.runtime.session import LiveSession
from chatrt.stores import SUSPECT_DEATHS, Appended, SessionKey, SessionRow, Store

logger = logging.getLogger("chatrt.runtime")

LOOK_SECONDS = 1.0
"""How often a process looks for work of others that died, and for the next suspect."""

JITTER_SECONDS = 0.05
"""How long at most a process waits before it looks because it was told to: all are told at once."""

CLAIMS = 100
"""The most sessions that one look takes, so that a process which finds very many does not begin them all at once."""

SUSPECT_SECONDS = 30.0
"""How long a suspect has to live until the next one is started beside it, if it settles nothing before."""

HAND_ON_SECONDS = 1.0
"""How long an input that was handed on is left to other processes."""

CANCEL_SECONDS = 2.5
"""How long runs that were cancelled are waited for; a bit more than the answers they wait for themselves."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    key: SessionKey
    run: Run
    since: float


class Worker:
    """Serves sessions of one process.

    Args:
        store: Where they are.
        leases: The leases of the process.
        flusher: Stores what runs write.
        ids: For messages, nodes and errors.
        sessions: The session manager, for application code.
        agents: The ids of the agents that are served here.
        find_live: Returns the live part of a session.
        on_closed: Called when a closed session has nothing left to be answered.
        max_runs: How many sessions are served at once at most, those that others started not counted; None for any
            number.
        serves: Whether leases are taken at all.
    """

    def __init__(
        self,
        store: Store,
        leases: Leases,
        flusher: Flusher,
        ids: Ids,
        sessions: Any,
        *,
        agents: Sequence[str],
        find_live: Callable[[SessionRow], LiveSession],
        on_closed: Callable[[SessionRow], Awaitable[None]],
        max_runs: int | None,
        serves: bool,
    ) -> None:
        self._store = store
        self._leases = leases
        self._flusher = flusher
        self._clock: Clock = flusher.clock
        self._metrics: Metrics = flusher.metrics
        self._ids = ids
        self._sessions = sessions
        self._agents = list(agents)
        self._find_live = find_live
        self._on_closed = on_closed
        self._max_runs = max_runs
        self._serves = serves
        self.runs: dict[SessionKey, Run] = {}
        self.unserved = 0
        self.draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._beside: set[asyncio.Task[None]] = set()
        self._avoid: set[SessionKey] = set()
        self._suspect: _Suspect | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._has_more = False
        self._hurry = asyncio.Event()

    # --- life

    async def start(self) -> None:
        """Take up what nobody serves, and look again from time to time."""
        if self._serves:
            await self._claim()
        await self._count_unserved()
        self._keeping = asyncio.create_task(self._keep())

    def drain(self) -> None:
        """Take no more leases. Runs that wait give theirs back at once, others when the work at hand is settled."""
        self.draining = True
        for run in self.runs.values():
            run.drain()

    def hurry(self) -> None:
        """Let an `aclose` that waits for running turns cancel them now."""
        self._hurry.set()

    async def aclose(self, grace: float) -> None:
        """Drain; after `grace` seconds cancel what still runs and give its leases back, for others to go on."""
        self.drain()
        failpoints.reach("shutdown.drain")
        await self._until_done(grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=CANCEL_SECONDS)
        for task in (self._keeping, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        await self._leases.stop()

    async def _until_done(self, grace: float) -> None:
        if not self._tasks:
            return
        ended = asyncio.ensure_future(asyncio.wait(set(self._tasks)))
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (ended, hurried):
            waiting.cancel()

    # --- rounds

    async def _keep(self) -> None:
        """Renew the leases, end runs that cannot be renewed, and look for work, for ever."""
        count_at = self._clock.monotonic() + self._leases.interval
        while True:
            pause = self._pause()
            planned = self._clock.monotonic() + pause
            await self._clock.sleep(pause)
            try:
                await self._leases.keep(overslept=self._clock.monotonic() - planned)
                if self._serves and not self.draining:
                    self.look()
                if self._clock.monotonic() >= count_at:
                    count_at = self._clock.monotonic() + self._leases.interval
                    await self._count_unserved()
            except StoreError as error:
                self._metrics.add(STORE_ERRORS, 1, error.code)
                logger.warning("the store is unavailable: %s", error)
            except Exception:
                logger.exception("a round over the leases failed; the next one comes")

    def _pause(self) -> float:
        pause = self._leases.next_look()
        if self._serves and (self._store.is_shared or self._suspect is not None or self._has_more):
            pause = min(pause, LOOK_SECONDS)
        return pause

    async def _count_unserved(self) -> None:
        self.unserved = await self._store.count_unserved(at=self._clock.now())

    # --- looking

    def look(self, *, soon: bool = False) -> None:
        """Take up what nobody serves.

        Args:
            soon: Whether others were told to look in the same moment.
        """
        if not self._serves or self.draining:
            return
        if self._looking is not None and not self._looking.done():
            self._look_again = True
            return
        self._looking = asyncio.create_task(self._look(JITTER_SECONDS if soon else 0.0))

    async def _look(self, jitter: float) -> None:
        try:
            while True:
                self._look_again = False
                if jitter:
                    await self._clock.sleep(random.uniform(0.2, 1.0) * jitter)
                await self._claim()
                if not self._look_again or self.draining:
                    return
                jitter = JITTER_SECONDS
        except StoreError as error:
            self._metrics.add(STORE_ERRORS, 1, error.code)
            logger.warning("the store is unavailable: %s", error)
        except Exception:
            logger.exception("a look for work failed; the next one comes")

    @property
    def _room(self) -> int:
        """How many more sessions may be served here."""
        if self._max_runs is None:
            return CLAIMS
        return self._max_runs - sum(task not in self._beside for task in self._tasks)

    async def _claim(self) -> None:
        room = min(self._room, CLAIMS)
        if room <= 0:
            await self._make_room()
            return
        claims = await self._claim_some(room)
        self._has_more = len(claims) >= room
        for taken, row in claims:
            await self._take_up(taken, row)

    async def _claim_some(self, room: int) -> list[tuple[Taken, SessionRow]]:
        claims = await self._leases.claim(limit=room, suspects=0, agents=self._agents, avoid=self._avoid)
        if len(claims) < room and self._has_room_for_suspect():
            suspects = await self._leases.claim(limit=0, suspects=1, agents=self._agents, avoid=self._avoid)
            if not suspects:
                self._suspect = None
            claims += suspects
        return claims

    async def _take_up(self, taken: Taken, row: SessionRow) -> None:
        if self.draining:
            await self._leases.give_back(taken.lease)
            return
        try:
            live = self._find_live(row)
        except AgentNotFoundError:
            await self._leases.give_back(taken.lease)
            return
        run = self.runs.get(row.key)
        if run is not None and run.lease.epoch > taken.lease.epoch:
            return  # this process took it once more meanwhile, for what was appended here
        if run is not None:
            run.lose_lease()  # it ran out unnoticed, and this one has taken its place
        live.claimed = taken
        self._start(live)

    async def _make_room(self) -> None:
        """Let a run that only waits leave memory before its time, if there is work for another one.

        Sessions that others started are served beside the bound: whoever takes up the room may wait for their answers.
        """
        unserved = await self._store.find_unserved(at=self._clock.now(), agents=self._agents, limit=CLAIMS)
        waiting = False
        for key in unserved:
            row = await self._store.find_session(key)
            if row is not None and row.parent is not None and key not in self._avoid:
                self._start(self._find_live(row))
            else:
                waiting = True
        if waiting:
            any(run.leave_if_idle() for run in list(self.runs.values()))

    # --- suspects

    def _has_room_for_suspect(self) -> bool:
        suspect = self._suspect
        if suspect is None or self.runs.get(suspect.key) is not suspect.run or suspect.run.has_settled:
            return True
        return self._clock.monotonic() - suspect.since >= SUSPECT_SECONDS

    # --- serving

    def wake(self, live: LiveSession, appended: Appended | None = None) -> None:
        """See to it that somebody reads what was just appended: this process, or whoever holds the lease."""
        live.arrived.set()
        if live.run_task is not None or not self._serves or self.draining:
            return
        holder = None if appended is None else appended.held_by
        if holder not in (None, self._leases.owner):
            live.arrived.clear()  # that one is told by the store
        elif self._room <= 0 and live.row.parent is None:
            self.look()  # others are told, too
        else:
            self._start(live)

    def _start(self, live: LiveSession) -> None:
        live.arrived.set()
        if live.run_task is None:
            live.run_task = asyncio.create_task(self._serve(live))
            self._tasks.add(live.run_task)
            if live.row.parent is not None:
                self._beside.add(live.run_task)
            live.run_task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._beside.discard(task)
        if self._max_runs is not None:
            self.look()

    async def _serve(self, live: LiveSession) -> None:
        key = live.row.key
        try:
            while live.arrived.is_set() and not self.draining:
                taken = await self._take(live)
                if taken is None:
                    live.arrived.clear()  # whoever holds it is told by the store
                    if not self._store.is_shared and self._room > 0:
                        self.look()  # nobody does: it is a suspect
                    return
                failpoints.reach("lease.acquired")
                run = await self._run(live, taken)
                if run.handed_on:
                    await self._leave_to_others(live)
                if live.arrived.is_set():
                    continue  # the next run answers what this one has left
                # Another process may have closed it, so the store is asked.
                row = await self._store.find_session(key)
                if row is not None and row.status == "closed":
                    await self._on_closed(row)
        except StoreError as error:
            self._metrics.add(STORE_ERRORS, 1, error.code)
            logger.exception("the run of chat %s ended; it is taken up again later", key.chat_id)
        except SessionNotFoundError:
            logger.info("chat %s was deleted", key.chat_id)
        except Exception:
            logger.exception("the run of chat %s broke; it is taken up again later", key.chat_id)
        finally:
            live.run_task = None
            if live.claimed is not None:
                self._leave_claim(live)

    async def _take(self, live: LiveSession) -> Taken | None:
        taken = None if live.claimed is not None else await self._leases.acquire(live.row.key)
        claimed, live.claimed = live.claimed, None
        if claimed is None or (taken is not None and taken.lease.epoch > claimed.lease.epoch):
            return taken
        return claimed

    def _leave_claim(self, live: LiveSession) -> None:
        """Serve what was claimed while a run came to its end, or leave it to others."""
        if not self.draining:
            self._start(live)
            return
        claimed, live.claimed = live.claimed, None
        if claimed is not None:
            task = asyncio.create_task(self._leases.give_back(claimed.lease))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, live: LiveSession, taken: Taken) -> Run:
        lease, key = taken.lease, live.row.key
        run = Run(live, lease, self._flusher, self._ids, self._sessions, leaves_to_others=self._store.is_shared)
        self.runs[key] = run
        self._leases.hold(run, taken.since)
        if lease.deaths >= SUSPECT_DEATHS:
            self._suspect = _Suspect(key, run, self._clock.monotonic())
            logger.warning("chat %s: %d workers have died over its input", key.chat_id, lease.deaths)
        if self.draining:
            run.drain()
        try:
            await run.serve()
        except BaseException:
            self._leases.drop(run)
            await asyncio.shield(self._leases.give_back(lease))
            raise
        else:
            if self.draining:
                await self._leases.give_back(lease)
        finally:
            self._leases.drop(run)
            del self.runs[key]
            live.outbox.leave()
            if live.row.status == "closed" and not live.arrived.is_set():
                live.outbox.end()
        return run

    async def _leave_to_others(self, live: LiveSession) -> None:
        """Give processes of newer code the time to take what was handed on; then it is served here, if nobody did."""
        key = live.row.key
        self._avoid.add(key)
        try:
            await self._clock.sleep(HAND_ON_SECONDS)
        finally:
            self._avoid.discard(key)
        live.arrived.set()
