"""Arrivals: what came in for a session and waits, read from `.in` by the run that serves it.

Stops act the moment they are read. Edits and withdrawals change what waits. What a head start relays goes to the work
it is for, or waits until that begins. Everything else waits in order, and the `.in` cursor never passes what waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Protocol, get_args

from chatrt.clock import Clock
from chatrt.codec import loads
from chatrt.errors import StoreUnavailableError
from chatrt.metrics import STORE_ERRORS
from chatrt.runtime.in_progress import edited
from chatrt.runtime.session import LiveSession
from chatrt.runtime.state import DurableState
from chatrt.stores import Record
from chatrt.turn import Trigger

logger = logging.getLogger("chatrt.runtime")

READ_AGAIN_SECONDS = 0.5
"""How long inputs are left unread when the store was away."""


class Stoppable(Protocol):
    """The work at hand, as far as what arrives acts on it."""

    def stop(self, reason: str | None) -> None: ...

    def interrupt(self, reason: str) -> None: ...

    def take_write(self, record: Record) -> bool: ...

    def take_relayed(self, record: Record) -> None: ...


class Arrivals:
    """What waits for a run.

    Args:
        live: The session.
        state: Its durable state; keeps what was said about inputs that wait.
        clock: For the time until a store that was away is read again.
        in_cursor: The last settled input.
        arrived: Set when there is something to look at.
        on_received: Told of each message that arrives while work is at hand.
        on_end_run: Told that a client wants the run to end.

    Attributes:
        queue: The inputs that wait, oldest first.
        read_cursor: The last record that was read.
        settled: Up to where everything is settled.
        is_reading: Whether records may have been read from the store that are not taken yet.
    """

    def __init__(
        self,
        live: LiveSession,
        state: DurableState,
        *,
        clock: Clock,
        in_cursor: int,
        arrived: asyncio.Event,
        on_received: Callable[[Record], None],
        on_end_run: Callable[[], None],
    ) -> None:
        self.queue: deque[Record] = deque()
        self.read_cursor = in_cursor
        self.is_reading = False
        self.arrived = arrived
        self._live = live
        self._clock = clock
        self._state = state
        self._on_received = on_received
        self._on_end_run = on_end_run
        self.settled = in_cursor
        self._at_hand: Stoppable | None = None
        self._at_hand_seq = 0
        self._begun_seq = 0
        self._written: list[Record] = []
        self._begun_edit_seq = 0
        self._relayed: dict[int, list[Record]] = {}

    # --- reading

    async def read(self) -> None:
        """Take every record as it arrives, for ever."""
        live = self._live
        while True:
            live.arrived.clear()
            self.is_reading = True
            while records := await self._read_more():
                for record in records:
                    self.read_cursor = record.seq
                    if record.seq not in self._state.settled:
                        self._take(record)
            self.is_reading = False
            self.arrived.set()
            await live.arrived.wait()

    async def _read_more(self) -> list[Record]:
        """Read what comes next. A store that is away for a moment ends no turn: its writes are tried again, too."""
        live = self._live
        while True:
            try:
                return await live.store.read_in(live.row.key, after=self.read_cursor)
            except StoreUnavailableError as error:
                live.metrics.add(STORE_ERRORS, 1, error.code)
                logger.warning("the inputs of chat %s are read again soon: %s", live.row.key.chat_id, error)
                await self._clock.sleep(READ_AGAIN_SECONDS)

    @property
    def settled_up_to(self) -> int:
        """The `.in` cursor once the work at hand is settled: all that was read, up to the first input that waits."""
        return self.queue[0].seq - 1 if self.queue else self.read_cursor

    def _take(self, record: Record) -> None:
        match record.kind:
            case "stop":
                if record.seq > self._state.stop_cursor:
                    self._stop(record)
            case "edit" | "withdraw":
                self._change(record)
            case "write":
                if not self._write(record):
                    self.queue.append(record)
            case "end-run":
                self._on_end_run()
            case "head-chunks" | "handover" | "handover-skip":
                self._relay(record)
            case kind if kind in get_args(Trigger):
                if self._live.agent.when_busy == "interrupt" and kind in ("message", "regenerate"):
                    self._interrupt()
                self.queue.append(record)
                if kind == "message" and self._at_hand is not None:
                    self._on_received(record)
            case kind:
                logger.warning("chat %s: input %d of kind %s is passed", self._live.row.key.chat_id, record.seq, kind)

    def _stop(self, record: Record) -> None:
        body: dict[str, Any] = loads(record.body)
        wanted: int | None = body.get("inSeq")
        self._state.stop_cursor = record.seq
        # What is older than the turn at hand was said to another; whoever goes on with a dead run's reads it again.
        if self.settled < self._at_hand_seq < record.seq and wanted in (None, self._at_hand_seq):
            # Until its turn-complete is stored a turn is the one that people mean, also when it is past being ended.
            if self._at_hand is not None:
                self._at_hand.stop(body.get("reason"))
            else:
                self._state.stopped[self._at_hand_seq] = body.get("reason")  # it may be served once more
            return
        queued = [waiting.seq for waiting in self.queue if waiting.kind != "write"]
        # A person who stops right after sending means that message, although its turn has not begun.
        target = wanted if wanted is not None else queued[0] if queued else None
        if target in queued:
            self._state.stopped[target] = body.get("reason")

    def _interrupt(self) -> None:
        reason = "interrupted by a newer message"
        if self._at_hand is not None:
            self._at_hand.interrupt(reason)
        self._state.stopped.update({w.seq: reason for w in self.queue if w.kind in ("message", "regenerate")})

    def _change(self, record: Record) -> None:
        """Edit or withdraw a user message that waits; one whose turn has begun is past that."""
        body: dict[str, Any] = loads(record.body)
        target: int = body["inSeq"]
        place = next((index for index, waiting in enumerate(self.queue) if waiting.seq == target), None)
        if place is None or (target == self._begun_seq and record.seq > self._begun_edit_seq):
            return
        waiting = self.queue[place]
        if not is_from_user(waiting):
            return
        if record.kind == "withdraw":
            self.withdraw([waiting])
        else:
            self.queue[place] = edited(waiting, body["message"], record.seq)

    def _relay(self, record: Record) -> None:
        target: int = loads(record.body)["inSeq"]
        if self._at_hand is not None and target == self._at_hand_seq:
            self._at_hand.take_relayed(record)
        elif any(waiting.seq == target for waiting in self.queue):
            self._relayed.setdefault(target, []).append(record)

    # --- serving

    def begin(self, record: Record, work: Stoppable) -> None:
        """Say that a record is being served; what was relayed and a stop that came early act now."""
        for relayed in self._relayed.pop(record.seq, ()):
            work.take_relayed(relayed)
        if record.seq in self._state.stopped:
            work.stop(self._state.stopped.pop(record.seq))
        self._at_hand, self._at_hand_seq = work, record.seq
        self._written.clear()

    def take_unfinished(self, seq: int) -> Record | None:
        """Take the input of a turn that a dead run left, and drop the preloads that it had passed on the way.

        A stop that was meant for it is kept: it acts if the input is served once more.
        """
        record = next((waiting for waiting in self.queue if waiting.seq == seq), None)
        if record is not None:
            self.queue = deque(
                waiting
                for waiting in self.queue
                if waiting is not record and not (waiting.kind == "preload" and waiting.seq < seq)
            )
        return record

    def hold(self, seq: int, *, edit_seq: int, at_hand: bool) -> None:
        """Say that this input's turn has begun in a run before this one: edits behind `edit_seq` come too late.

        Args:
            seq: The input.
            edit_seq: The last edit that reached it.
            at_hand: Whether the turn is the first thing to be closed: until then it is the one that a stop means.
        """
        self._begun_seq, self._begun_edit_seq = seq, edit_seq
        if at_hand:
            self._at_hand_seq = seq

    def past_stopping(self) -> None:
        """Say that the work at hand is about to be committed: a stop comes too late."""
        self._at_hand = None

    def end(self) -> None:
        """Say that nothing is at hand."""
        self._at_hand, self._at_hand_seq = None, 0

    def is_withdrawn(self, record: Record) -> bool:
        """Tell whether the message was taken back before its turn began."""
        return record.seq in self._state.withdrawn

    def withdraw(self, records: Iterable[Record]) -> None:
        """Take messages back: instead of a turn they get the status `withdrawn`, also from a later run."""
        self._state.withdrawn.update(record.seq for record in records)

    def put_back(self, records: list[Record]) -> None:
        """Let records that were taken from the front wait again, in their order."""
        self.queue.extendleft(sorted(records, key=lambda record: record.seq, reverse=True))

    # --- writes from elsewhere

    def answer_opened(self) -> None:
        """Put the writes that wait, in whatever place, into the answer that begins."""
        self._take_from_queue(self._write)

    def settle_writes(self, is_shown: Callable[[Record], bool]) -> None:
        """Settle the writes that wait and are part of an answer already."""
        self._take_from_queue(lambda record: is_shown(record) and self._settle_ahead(record))

    def take_writes(self) -> list[Record]:
        """Take the writes from the front of the queue."""
        taken: list[Record] = []
        while self.queue and self.queue[0].kind == "write":
            taken.append(self.queue.popleft())
        return taken

    def take_back_writes(self) -> None:
        """Let the writes wait again that went into an answer which is given up."""
        self.queue = deque(sorted([*self.queue, *self._written], key=lambda record: record.seq))
        again = {record.seq for record in self._written}
        self._state.settled = [seq for seq in self._state.settled if seq not in again]
        self._written.clear()

    def _take_from_queue(self, takes: Callable[[Record], bool]) -> None:
        self.queue = deque(record for record in self.queue if record.kind != "write" or not takes(record))

    def _write(self, record: Record) -> bool:
        if self._at_hand is None or not self._at_hand.take_write(record):
            return False
        self._written.append(record)
        return self._settle_ahead(record)

    def _settle_ahead(self, record: Record) -> bool:
        self._state.settled.append(record.seq)
        return True

    # --- steering

    def injectable(self, accepts: Callable[[dict[str, Any]], bool]) -> list[Record]:
        """Return the messages at the front of the queue that may go into the running turn, up to the first other input.

        Args:
            accepts: Looks at the body of a record.
        """
        batch: list[Record] = []
        for record in self.queue:
            if record.kind != "message" or self._is_taken(record) or not accepts(loads(record.body)):
                break
            batch.append(record)
        return batch

    def is_front(self, batch: list[Record]) -> bool:
        """Tell whether a batch still stands at the front as it did; an edit, a stop or a withdrawal changes that."""
        front = list(islice(self.queue, len(batch)))
        unchanged = len(front) == len(batch) and all(now is then for now, then in zip(front, batch, strict=True))
        return unchanged and not any(self._is_taken(record) for record in batch)

    def take(self, batch: list[Record]) -> None:
        """Take a batch that stands at the front: it waits no more."""
        for _ in batch:
            self.queue.popleft()

    def _is_taken(self, record: Record) -> bool:
        return record.seq in self._state.withdrawn or record.seq in self._state.stopped


def is_from_user(record: Record) -> bool:
    """Tell whether a record is a user message: not a tool answer, and no other input."""
    return record.kind == "message" and loads(record.body)["message"]["role"] == "user"
