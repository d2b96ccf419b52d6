"""A run: one worker serving one session for a while, from boot to exit.

boot        load what is stored, close what a dead run left
next        wait for the next record of `.in`
handle      serve it as a turn or an action
idle        nothing came for a while: give the lease back and leave memory
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, get_args

from chatrt.codec import loads
from chatrt.errors import StaleEpochError, StoreError
from chatrt.history import History
from chatrt.hooks import BootEvent
from chatrt.ids import Ids
from chatrt.run_control import enter_run
from chatrt.runtime.actions import ActionWork
from chatrt.runtime.context import RunContext
from chatrt.runtime.control import Control
from chatrt.runtime.finish import finish
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.outbox import OutboxWriter
from chatrt.runtime.recovery import UnfinishedTurn, close_unfinished_turn, find_unfinished_turn
from chatrt.runtime.response import enter_answer
from chatrt.runtime.session import LiveSession, RunningTurn
from chatrt.runtime.state import DurableState
from chatrt.runtime.turns import TurnWork
from chatrt.runtime.work import Failed, Work, call
from chatrt.stores import Lease, Node, Record
from chatrt.turn import Trigger, enter_turn

logger = logging.getLogger("chatrt.runtime")


class Run:
    """Serves one session while it holds the lease.

    Args:
        live: The session.
        lease: The right to serve it.
        flusher: Stores what the run writes.
        ids: For messages, nodes and errors.
        sessions: The session manager, for application code that looks for other sessions.
    """

    def __init__(self, live: LiveSession, lease: Lease, flusher: Flusher, ids: Ids, sessions: Any) -> None:
        self._sessions = sessions
        self.lease = lease
        self._flusher = flusher
        self._live = live
        self._clock = flusher.clock
        self._ids = ids
        self._queue: deque[Record] = deque()
        self._read_cursor = 0
        self._work: Work | None = None
        self._work_seq = 0
        self._is_reading = False
        self._stopped_early: dict[int, str | None] = {}
        self._known_ids: dict[int, str] = {}
        self._arrived = asyncio.Event()
        self._task = asyncio.current_task()
        self._booted = False
        self._draining = False
        self.failure: BaseException | None = None

    async def serve(self) -> None:
        """Serve until nothing is left to do; the lease is given back then.

        Raises:
            StoreError: If the store failed or the lease is lost; what was not committed is another run's to do.
        """
        enter_turn(None)  # whoever appended may be inside of another session's turn
        enter_answer(False)
        unfinished = await self._boot()
        reader = asyncio.create_task(self._read_inbox())
        reader.add_done_callback(self._reader_ended)
        try:
            await self._arrived.wait()
            await self._recover(unfinished)
            while not self._draining:
                record = await self._next()
                if record is not None:
                    await self._handle(record)
                elif not self._draining and await self._leave():
                    return
            if self.failure is not None:
                raise self.failure
        except asyncio.CancelledError:
            if self.failure is not None:
                raise self.failure from None
            raise
        finally:
            reader.cancel()
            self._context.writer.abandon()
            self._live.running = None

    def drain(self) -> None:
        """End after the work at hand; what waits behind it is another run's."""
        self._draining = True
        self._arrived.set()

    def lose_lease(self) -> None:
        """Another worker serves the session now: end here, writing nothing."""
        self._give_up(StaleEpochError(self.lease.key.chat_id, self.lease.epoch))

    # --- boot

    async def _boot(self) -> UnfinishedTurn | None:
        live = self._live
        snapshot = await live.store.load_snapshot(live.row.key)
        live.outbox.resume_from(snapshot.out_last_seq)
        live.history = History(node.message for node in snapshot.nodes)
        state = DurableState.from_json(snapshot.state)
        control = Control(live.row.key.chat_id, self._ids.new("run"), live.agent, self._sessions)
        enter_run(control)
        self._context = RunContext(
            chat_id=control.chat_id,
            run_id=control.run_id,
            control=control,
            agent=live.agent,
            clock=self._clock,
            ids=self._ids,
            history=live.history,
            state=state,
            writer=OutboxWriter(live.outbox, self._flusher, self.lease, self._give_up),
            default_client_data=live.row.client_data,
            continuation=state.runs > 0,
            load_nodes=self._load_nodes,
            settled_up_to=self._settled_up_to,
            on_turn_start=self._on_turn_start,
            nodes=[node.node_id for node in snapshot.nodes],
            settled_seq=snapshot.settled_seq,
            in_cursor=snapshot.in_cursor,
        )
        state.runs += 1
        self._read_cursor = snapshot.in_cursor
        if snapshot.out_last_seq == snapshot.settled_seq:
            return None
        unfinished = await find_unfinished_turn(live.store, live.row.key, snapshot.settled_seq)
        if unfinished is not None and unfinished.is_kept:
            # A stop that was meant for the unfinished turn must not act on a later one.
            state.stop_cursor = max(state.stop_cursor, snapshot.last_in_seq)
        return unfinished

    async def _load_nodes(self) -> list[Node]:
        return (await self._live.store.load_snapshot(self._live.row.key)).nodes

    async def _recover(self, unfinished: UnfinishedTurn | None) -> None:
        if unfinished is None:
            return
        if not unfinished.is_kept:
            self._known_ids[unfinished.in_seq] = unfinished.message_id
            return
        record = await self._next()
        if record is None and self._draining:
            return
        if record is None or record.seq != unfinished.in_seq:
            logger.error("chat %s: the input of an unfinished turn is gone", self._context.chat_id)
            if record is not None:
                self._queue.appendleft(record)
            return
        logger.info("chat %s: closing the turn of input %d", self._context.chat_id, record.seq)
        self._work_seq = record.seq
        work = TurnWork(self._context, record)
        try:
            await self._ensure_booted(work)
        except Exception:
            logger.exception("on_boot failed in chat %s", self._context.chat_id)
        await close_unfinished_turn(work, unfinished)
        self._work_seq = 0
        enter_turn(None)

    async def _ensure_booted(self, work: Work) -> None:
        """Fire `on_boot` once; a failure is the failure of the turn at hand, and the next turn tries again."""
        context, hook = self._context, self._live.agent.hooks.on_boot
        if self._booted or hook is None:
            return
        work.parse_client_data()
        event = BootEvent(
            chat_id=context.chat_id,
            history=context.history,
            client_data=work.client_data,
            run_id=context.run_id,
            continuation=context.continuation,
        )
        await call(hook, event)
        self._booted = True

    # --- next

    async def _next(self) -> Record | None:
        """Return the next input, or None when none came for the agent's idle time."""
        while not self._queue and not self._draining:
            self._arrived.clear()  # before the commit: what arrives meanwhile must be noticed behind it
            await self._settle_strays()
            if not await self._wait_for_arrival():
                return None
        return None if self._draining else self._queue.popleft()

    async def _settle_strays(self) -> None:
        """A stop that had nothing to end makes no turn: the cursor passes it."""
        if self._settled_up_to() > self._context.in_cursor:
            await self._context.commit([])

    async def _wait_for_arrival(self) -> bool:
        closed = self._live.row.status == "closed"
        timeout = 0.0 if closed else self._live.agent.idle_timeout
        arrival = asyncio.create_task(self._arrived.wait())
        timer = asyncio.create_task(self._clock.sleep(timeout))
        try:
            await asyncio.wait({arrival, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
            timer.cancel()
        return self._arrived.is_set()

    async def _read_inbox(self) -> None:
        """Take every record as it arrives: stops act at once, everything else waits its turn."""
        live = self._live
        while True:
            live.arrived.clear()
            self._is_reading = True
            while records := await live.store.read_in(live.row.key, after=self._read_cursor):
                for record in records:
                    self._read_cursor = record.seq
                    self._take(record)
            self._is_reading = False
            self._arrived.set()
            await live.arrived.wait()

    def _take(self, record: Record) -> None:
        if record.kind == "stop":
            if record.seq > self._context.state.stop_cursor:
                self._stop(record)
            return
        if record.kind not in get_args(Trigger):
            logger.warning("chat %s: input %d of kind %s is passed", self._context.chat_id, record.seq, record.kind)
            return
        if self._live.agent.when_busy == "interrupt" and record.kind != "action":
            self._interrupt()
        self._queue.append(record)

    def _stop(self, record: Record) -> None:
        body: dict[str, Any] = loads(record.body)
        wanted: int | None = body.get("inSeq")
        self._context.state.stop_cursor = record.seq
        if self._work_seq > self._context.in_cursor and wanted in (None, self._work_seq):
            # Until its turn-complete is stored a turn is the one that people mean, also when it is past being ended.
            if self._work is not None:
                self._work.stop(body.get("reason"))
            return
        queued = [waiting.seq for waiting in self._queue]
        # A person who stops right after sending means that message, although its turn has not begun.
        target = wanted if wanted is not None else queued[0] if queued else None
        if target in queued:
            self._stopped_early[target] = body.get("reason")

    def _interrupt(self) -> None:
        reason = "interrupted by a newer message"
        if self._work is not None:
            self._work.interrupt(reason)
        self._stopped_early.update({waiting.seq: reason for waiting in self._queue if waiting.kind != "action"})

    # --- handle

    async def _handle(self, record: Record) -> None:
        kind = ActionWork if record.kind == "action" else TurnWork
        work = kind(self._context, record, self._known_ids.pop(record.seq, None))
        if record.seq in self._stopped_early:
            work.stop(self._stopped_early.pop(record.seq))
        self._work, self._work_seq = work, record.seq
        try:
            try:
                await self._ensure_booted(work)
            except Exception as error:
                outcome = Failed(error)
            else:
                outcome = await work.perform()
            self._work = None
            await finish(work, outcome)
        finally:
            self._work = None
            self._work_seq = 0
            self._live.running = None
            enter_turn(None)

    def _settled_up_to(self) -> int:
        """The `.in` cursor once the work at hand is settled: all that was read, up to the first input that waits."""
        return self._queue[0].seq - 1 if self._queue else self._read_cursor

    def _on_turn_start(self, in_seq: int, trigger: Trigger, message_id: str) -> None:
        self._live.running = RunningTurn(in_seq, trigger, message_id, self._context.history.all())

    # --- leave

    async def _leave(self) -> bool:
        """Give the lease back unless something arrived meanwhile."""
        settled = self._settled_up_to()
        if self._queue or self._live.arrived.is_set():
            return False
        await self._settle_strays()
        left = await self._live.store.release_lease(self.lease, in_cursor=settled)
        if not left or self._is_reading or self._read_cursor > settled:
            # Something arrived meanwhile; what was read of it behind the release is the next run's to read again.
            self._live.arrived.set()
        return left

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled() and reader.exception() is not None:
            self._give_up(reader.exception())

    def _give_up(self, error: BaseException | None) -> None:
        """The store refuses or is gone: nothing more can be done here."""
        if self.failure is None and self._task is not None:
            self.failure = error if isinstance(error, StoreError) else StoreError(str(error))
            self.drain()  # in case application code swallows the cancellation
            self._task.cancel()
