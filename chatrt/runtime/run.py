"""A run: one worker serving one session for a while, from boot to exit.

boot        load what is stored, close what a dead run left
next        wait for the next record of `.in`
handle      serve it as a turn, an action, a switch or a preload
idle        nothing came for a while: the run is suspended, gives the lease back and leaves memory
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from chatrt import failpoints
from chatrt.codec import dumps
from chatrt.errors import StaleEpochError, StoreError
from chatrt.events import RecoveryPlan
from chatrt.ids import Ids
from chatrt.metrics import TAKEOVERS, TURN_SECONDS
from chatrt.run_control import enter_run
from chatrt.run_values import enter_values
from chatrt.runtime.after_answer import after_answer
from chatrt.runtime.asks import Asker, begin_asks, enter_asks, parse_askers
from chatrt.runtime.boot import Signals, boot
from chatrt.runtime.finish import finish, settle
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.kinds import work_for
from chatrt.runtime.leases import RELEASE_ANYWAY
from chatrt.runtime.outbox_writer import OutboxWriter
from chatrt.runtime.preload import PreloadWork
from chatrt.runtime.quarantine import QUARANTINE_DEATHS, quarantine, quarantined_work
from chatrt.runtime.recovery import UnfinishedTurn, close_unfinished_turn, take_up_unfinished_turn
from chatrt.runtime.response import enter_answer
from chatrt.runtime.resumed import ResumedWork
from chatrt.runtime.session import LiveSession, RunningTurn
from chatrt.runtime.steering import tell_received
from chatrt.runtime.tracing import record_end, work_span
from chatrt.runtime.work import Failed, HandedOn, Outcome, Stopped, Work
from chatrt.runtime.write_work import WriteWork
from chatrt.runtime.writes import is_shown
from chatrt.stores import Lease, Record
from chatrt.tool_call import enter_tool
from chatrt.turn import Trigger, enter_turn
from chatrt.ui import UIMessage

logger = logging.getLogger("chatrt.runtime")


class Run:
    """Serves one session while it holds the lease.

    Args:
        live: The session.
        lease: The right to serve it.
        flusher: Stores what the run writes.
        ids: For messages, nodes and errors.
        sessions: The session manager, for application code that looks for other sessions.
        leaves_to_others: Whether other processes may go on when an upgrade was asked for.

    Attributes:
        handed_on: Whether something waits that was left to processes of newer code.
        has_settled: Whether it has settled anything yet.
    """

    def __init__(
        self,
        live: LiveSession,
        lease: Lease,
        flusher: Flusher,
        ids: Ids,
        sessions: Any,
        *,
        leaves_to_others: bool = False,
    ) -> None:
        self.handed_on = False
        self._leaves_to_others = leaves_to_others
        self._idling: asyncio.Task[None] | None = None
        self._began_at: int | None = None
        self._writer: OutboxWriter | None = None
        self._sessions = sessions
        self.lease = lease
        self._is_deadly = lease.deaths >= QUARANTINE_DEATHS
        self._flusher = flusher
        self._live = live
        self._ids = ids
        self._left: UnfinishedTurn | None = None
        self._closed = 0
        self._task = asyncio.current_task()
        self._arrived = asyncio.Event()
        self._told: set[asyncio.Task[None]] = set()
        self._draining = False
        self.failure: BaseException | None = None

    async def serve(self) -> None:
        """Serve until nothing is left to do; the lease is given back then.

        Raises:
            StoreError: If the store failed or the lease is lost; what was not committed is another run's to do.
        """
        enter_turn(None)  # whoever appended may be inside of another session's turn
        enter_asks(None)
        enter_tool(None)
        enter_answer(False)
        unfinished = await self._boot()
        if unfinished is not None:
            self._flusher.metrics.add(TAKEOVERS)
        reader = asyncio.create_task(self._arrivals.read())
        reader.add_done_callback(self._reader_ended)
        try:
            await self._arrivals.arrived.wait()
            await self._recover(unfinished)
            while not self._draining:
                if self._lifecycle.is_over:
                    await self._end()
                    return
                record = await self._next()
                if record is not None:
                    if not await self._handle(record):
                        return
                elif not self._draining and await self._leave():
                    return
            if self.failure is not None:
                raise self.failure
            await self._context.background.settle()
            await self._settle_strays()
        except asyncio.CancelledError:
            if self.failure is not None:
                raise self.failure from None
            raise
        finally:
            reader.cancel()
            for task in self._told:
                task.cancel()
            if self._context.loop is not None:
                self._context.loop.cancel()
            self._context.background.end()
            self._context.writer.abandon()
            self._live.nothing_at_hand()
            enter_run(None)
            enter_values(None)

    @property
    def waiting(self) -> int:
        """How many inputs it has read and not settled, the one at hand included."""
        return len(self._arrivals.queue) + (self._live.taken_up is not None)

    def drain(self) -> None:
        """End after the work at hand; what waits behind it is another run's."""
        self._draining = True
        self._arrived.set()

    @property
    def has_settled(self) -> bool:
        return self._began_at is not None and self._context.in_cursor > self._began_at

    def leave_if_idle(self) -> bool:
        """Leave memory now, as after the idle time; False if there is something to do."""
        if self._idling is None or self._arrivals.arrived.is_set():
            return False
        self._idling.cancel()
        return True

    def lose_lease(self) -> None:
        """Another worker serves the session now: end here, writing nothing."""
        self.give_up(StaleEpochError(self.lease.key.chat_id, self.lease.epoch))

    def give_up(self, error: StoreError) -> None:
        """End here, writing nothing: the store refuses, is gone, or may have given the session to somebody else."""
        self._give_up(error)

    # --- boot

    async def _boot(self) -> UnfinishedTurn | None:
        signals = Signals(
            arrived=self._arrived,
            on_received=self._on_received,
            on_turn_start=self._on_turn_start,
            on_failure=self._give_up,
        )
        booted = await boot(self._live, self.lease, self._flusher, self._ids, sessions=self._sessions, signals=signals)
        self._context, self._lifecycle, self._arrivals = booted.context, booted.lifecycle, booted.context.arrivals
        self._began_at, self._writer = booted.context.in_cursor, booted.context.writer
        return booted.unfinished

    async def _recover(self, unfinished: UnfinishedTurn | None) -> None:
        if self._is_deadly and unfinished is not None:
            record = self._arrivals.take_unfinished(unfinished.in_seq)
            if record is not None:
                await self._quarantine(record, unfinished)
            return
        if unfinished is None or not unfinished.is_kept:
            self._left = unfinished
            return
        if self._draining:
            return
        record = self._arrivals.take_unfinished(unfinished.in_seq)
        if record is None:
            logger.error("chat %s: the input of an unfinished turn is gone", self._context.chat_id)
            self._arrivals.end()
            return
        self._closed = record.seq
        self._live.taken_up = record
        work = ResumedWork(self._context, record, unfinished)
        self._lifecycle.begin(work)
        try:
            await self._lifecycle.ensure_booted(work)
        except Exception:
            logger.exception("on_boot failed in chat %s", self._context.chat_id)
        self._arrivals.settle_writes(lambda write: is_shown(write, unfinished.chunks))
        plan = await take_up_unfinished_turn(work, unfinished)
        failpoints.reach("recover.spliced")
        if plan is None and work.can_go_on:
            logger.info("chat %s: going on with the turn of input %d", self._context.chat_id, record.seq)
            await self._serve_input(record, work)
            return
        logger.info("chat %s: closing the turn of input %d", self._context.chat_id, record.seq)
        await close_unfinished_turn(work, record, plan or RecoveryPlan())
        failpoints.reach("recover.dispatched")
        self._lifecycle.served(work)
        self._arrivals.end()
        self._live.nothing_at_hand()
        enter_turn(None)

    async def _quarantine(self, record: Record, left: UnfinishedTurn | None) -> None:
        """Settle the input over which worker after worker has died; nothing of the application is called before."""
        self._is_deadly = False
        self._live.taken_up = record
        work = quarantined_work(self._context, record, left)
        self._lifecycle.begin(work)
        self._arrivals.begin(record, work)
        self._arrivals.past_stopping()
        try:
            await quarantine(work, left, self.lease.deaths)
        finally:
            self._arrivals.end()
            self._live.nothing_at_hand()
            enter_turn(None)
        self._lifecycle.served(work)

    # --- next

    async def _next(self) -> Record | None:
        """Return the next input, or None when none came for the agent's idle time."""
        arrivals = self._arrivals
        while not arrivals.queue and not self._draining:
            arrivals.arrived.clear()  # before the commit: what arrives meanwhile must be noticed behind it
            await self._settle_strays()
            if not await self._wait_for_arrival():
                return None
        return None if self._draining else arrivals.queue.popleft()

    async def _settle_strays(self) -> None:
        """Commit what no turn does: that a stop had nothing to end, and what the background has left."""
        if self._arrivals.settled_up_to > self._context.in_cursor or self._context.has_new_state:
            await self._context.commit([])

    async def _wait_for_arrival(self) -> bool:
        closed = self._live.row.status == "closed"
        arrival = asyncio.create_task(self._arrivals.arrived.wait())
        idle = self._context.background.idle(0.0 if closed else self._lifecycle.idle_timeout)
        timer = self._idling = asyncio.create_task(idle)
        try:
            await asyncio.wait({arrival, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._idling = None
            arrival.cancel()
            timer.cancel()
        return self._arrivals.arrived.is_set()

    def _on_received(self, record: Record) -> None:
        policy = self._live.agent.pending_messages
        if policy is not None and policy.on_received is not None:
            task = asyncio.create_task(tell_received(self._context, record))
            self._told.add(task)
            task.add_done_callback(self._told.discard)

    # --- handle

    async def _handle(self, record: Record) -> bool:
        """Serve a record; False if the run ended in the middle, for the next one to go on."""
        if record.kind == "write":
            await self._serve_writes(record)
            return True
        if self._arrivals.is_withdrawn(record):
            await settle(self._context, {"inSeq": record.seq, "trigger": record.kind, "status": "withdrawn"})
            return True
        if self._is_deadly:
            await self._quarantine(record, None)
            return True
        work = work_for(self._context, record, self._left_of(record), anew=record.seq == self._closed)
        self._lifecycle.begin(work)
        if isinstance(work, PreloadWork) and not (self._live.agent.hooks.on_preload and self._lifecycle.is_fresh):
            await self._warm_up(work)
            return True
        return await self._serve_input(record, work)

    async def _serve_input(self, record: Record, work: Work) -> bool:
        self._arrivals.begin(record, work)
        self._live.taken_up = record
        failpoints.reach("turn.claimed")
        began = time.perf_counter()
        asks = begin_asks(
            Asker(self._live.agent.id, self._context.chat_id, work.in_seq),
            parse_askers(work.body.get("askers")),
            clock=self._flusher.clock,
            is_leaving=lambda: self._draining and not work.stop_signal.is_set(),
            max_depth=self._sessions.max_depth,
        )
        try:
            with work_span(self._context, record) as span:
                outcome = await self._serve(work)
                if isinstance(outcome, HandedOn):
                    await self._hand_on(record)
                    return False
                await asks.wind_up(stopped=isinstance(outcome, Stopped), failed=isinstance(outcome, Failed))
                message = await finish(work, outcome)
                record_end(span, outcome, work.usage, self._context.state.total_usage)
            self._flusher.metrics.record(TURN_SECONDS, time.perf_counter() - began, self._live.agent.id)
            if self._context.loop is not None:
                self._context.loop.ended(work.turn, message, outcome.error if isinstance(outcome, Failed) else None)
            await asks.end()
            self._lifecycle.served(work)
        finally:
            asks.forget()
            self._arrivals.end()
            self._live.nothing_at_hand()
            enter_turn(None)
        return True

    async def _serve(self, work: Work) -> Outcome | HandedOn:
        try:
            await self._lifecycle.ensure_booted(work)
        except Exception as error:
            outcome: Outcome | HandedOn = Failed(error)
        else:
            self._context.background.begin_work()
            outcome = await after_answer(work, await work.perform())
        self._arrivals.past_stopping()
        return outcome

    async def _serve_writes(self, record: Record) -> None:
        """Serve the writes that wait in a row; they neither begin nor resume the run, and no hook is told of them."""
        records = [record, *self._arrivals.take_writes()]
        left = self._left_of(*records)
        work = WriteWork(self._context, records, None if left is None else left.message_id)
        try:
            await finish(work, await work.perform())
        finally:
            self._live.nothing_at_hand()
            enter_turn(None)

    def _left_of(self, *records: Record) -> UnfinishedTurn | None:
        """Return what another run left of one of these inputs."""
        left = self._left
        return left if left is not None and any(record.seq == left.in_seq for record in records) else None

    async def _warm_up(self, work: Work) -> None:
        """Be there, ahead of the first message, with nothing to say."""
        try:
            await self._lifecycle.ensure_booted(work)
        except Exception:
            logger.exception("on_boot failed in chat %s", self._context.chat_id)
        self._lifecycle.served(work)

    async def _hand_on(self, record: Record) -> None:
        """Leave an input to the next run; readers are told, and read on."""
        context = self._context
        self._arrivals.take_back_writes()
        self._arrivals.put_back([record])
        await context.forget_changes()
        context.state.handed_on = record.seq
        context.writer.push("upgrade", dumps({"inSeq": record.seq}))
        await context.writer.flush()
        await context.commit([])
        await self._end()

    def _on_turn_start(self, in_seq: int, trigger: Trigger, message_id: str, messages: list[UIMessage]) -> None:
        context = self._context
        branches = context.history.branches()
        self._live.running = RunningTurn(in_seq, trigger, message_id, context.settled_seq, messages, branches)
        self._arrivals.answer_opened()

    # --- leave

    async def _end(self) -> None:
        """End for good; what waits is the next run's, which may begin here at once."""
        await self._context.background.settle()
        self._context.background.end()
        await self._settle_strays()
        settled = self._arrivals.settled_up_to
        if self._arrivals.queue and self._leaves_to_others and self._context.control.upgrading:
            await self._close_loop()
            await self._live.store.release_lease(self.lease, in_cursor=RELEASE_ANYWAY)
            self.handed_on = True
        elif self._arrivals.queue or not await self._release(settled):
            self._live.arrived.set()

    async def _leave(self) -> bool:
        """Suspend the run and give the lease back, unless something arrived meanwhile."""
        self._context.background.begin_work()
        changed = await self._lifecycle.suspend(closed=self._live.row.status == "closed")
        await self._context.background.settle_work()
        settled = self._arrivals.settled_up_to
        if self._arrivals.queue or self._live.arrived.is_set():
            return False
        self._context.background.end()
        if changed or settled > self._context.in_cursor or self._context.has_new_state:
            await self._context.commit([])
        return await self._release(settled)

    async def _close_loop(self) -> None:
        if self._context.loop is not None:
            await self._context.loop.aclose()

    async def _release(self, settled: int) -> bool:
        await self._close_loop()
        with failpoints.writing("lease.pre_release"):
            left = await self._live.store.release_lease(self.lease, in_cursor=settled)
        if not left or self._arrivals.is_reading or self._arrivals.read_cursor > settled:
            # Something arrived meanwhile; what was read of it behind the release is the next run's to read again.
            self._live.arrived.set()
        if not left:
            self._context.background.go_on()
        return left

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled() and reader.exception() is not None:
            self._give_up(reader.exception())

    def _give_up(self, error: BaseException | None) -> None:
        """The store refuses or is gone: nothing more can be done here."""
        if self.failure is None and self._task is not None:
            self.failure = error if isinstance(error, StoreError) else StoreError(str(error))
            if self._writer is not None:
                self._writer.abandon()  # what its code still says while it ends is not stored
            self.drain()  # in case application code swallows the cancellation
            self._task.cancel()
