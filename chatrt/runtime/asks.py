"""What the input at hand asks of other sessions: stopped along with it, and kept from waiting in a circle.

An answer that is asked for from inside of a run belongs to the turn (or action) that asks:

* When that is stopped or interrupted, a stop goes to each turn it asked for, and to that turn alone. When it fails, to
  those whose answers were being read. So does it when a reader leaves early: cancelled, timed out, closed.
* When the run ends from outside (a shutdown, a crash, a lost lease), nothing is sent: what was asked for goes on, and
  the next run says of the turn that asked that it was interrupted.
* Each input carries the turns that may be waiting for it. Whoever would wait for one of these is told so instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

from chatrt.clock import Clock
from chatrt.errors import ChatrtError, InvalidInputError, SubAgentDepthError
from chatrt.turn import find_current_turn

logger = logging.getLogger("chatrt.runtime")

GRACE_SECONDS = 2.0
"""How long a turn waits at its end for what it has to tell other sessions."""

MAX_DEPTH = 8
"""How many turns may wait for one another, each for the next."""

MAX_ASKERS = 64
"""The most askers that an input may come with."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A turn or action that may wait for the answer to an input."""

    agent_id: str
    chat_id: str
    in_seq: int

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the body of an input."""
        return {"agent": self.agent_id, "chatId": self.chat_id, "inSeq": self.in_seq}


def parse_askers(value: Any) -> list[Asker]:
    """Read what `Asker.to_json` made; nothing at all is an empty list.

    Raises:
        InvalidInputError: If it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list) or len(cast("list[Any]", value)) > MAX_ASKERS:
        raise InvalidInputError(f"a list of at most {MAX_ASKERS}", path="/askers")
    askers: list[Asker] = []
    for index, item in enumerate(cast("list[Any]", value)):
        match item:
            case {"agent": str(agent_id), "chatId": str(chat_id), "inSeq": int(in_seq)} if in_seq is not True:
                askers.append(Asker(agent_id, chat_id, in_seq))
            case _:
                raise InvalidInputError("an agent, a chatId and an inSeq", path=f"/askers/{index}")
    return askers


@dataclass(slots=True, eq=False)
class Ask:
    """One input that was sent to another session.

    Attributes:
        stop: Sends a stop for the turn of this input, once.
        reading: Whether somebody waits for the answer.
        settled: Whether the answer came to its end.
        stopping: Sends the stop.
    """

    stop: Callable[[], Awaitable[Any]]
    reading: bool = False
    settled: bool = False
    stopping: asyncio.Task[None] | None = None


@dataclass(kw_only=True)
class Asks:
    """What one turn or action asks of other sessions.

    Attributes:
        asker: That turn.
        askers: Who may wait for it, the first one first.
        clock: What to wait by.
        is_leaving: Whether the run is being ended from outside, and nobody stopped the turn.
        max_depth: How many turns may wait for one another.
    """

    asker: Asker
    askers: Sequence[Asker]
    clock: Clock
    is_leaving: Callable[[], bool]
    max_depth: int = MAX_DEPTH
    _asks: list[Ask] = field(default_factory=list[Ask])
    _closings: list[Callable[[], Awaitable[Any]]] = field(default_factory=list[Callable[[], Awaitable[Any]]])
    _over: bool = False

    def chain(self) -> list[Asker]:
        """Return who may wait for what is asked from here; the last one is this turn.

        An earlier turn of this session is settled by now, and so is who waited for that one.

        Raises:
            SubAgentDepthError: If too many would wait for one another.
        """
        own = self.asker
        chain: list[Asker] = []
        for asker in self.askers:
            chain.append(asker)
            if (asker.agent_id, asker.chat_id) == (own.agent_id, own.chat_id):
                chain.clear()
        if len(chain) >= self.max_depth:
            raise SubAgentDepthError(own.chat_id, self.max_depth)
        return [*chain, own]

    def find_waiting(self, agent_id: str, chat_id: str) -> Asker | None:
        """Return the turn of that chat which may be waiting for this one; it may be this one."""
        among = [self.asker, *self.askers]
        return next((asker for asker in among if (asker.agent_id, asker.chat_id) == (agent_id, chat_id)), None)

    def add(self, stop: Callable[[], Awaitable[Any]]) -> Ask:
        """Note an input that is being sent."""
        ask = Ask(stop)
        self._asks.append(ask)
        return ask

    def close_at_end(self, close: Callable[[], Awaitable[Any]]) -> None:
        """Call `close` when this turn is settled."""
        self._closings.append(close)

    def leave(self, ask: Ask) -> None:
        """Stop what was asked for, since nobody waits for it any more."""
        if ask.settled or ask.stopping is not None or self._over or self.is_leaving():
            return
        # In a task of its own: whoever leaves may be cancelled, and the stop has to get through all the same.
        ask.stopping = asyncio.create_task(_tried(ask.stop))

    async def wind_up(self, *, stopped: bool, failed: bool) -> None:
        """Stop what this turn asked for, as far as its end demands it, and see the stops through."""
        for ask in self._asks:
            if stopped or (failed and ask.reading):
                self.leave(ask)
        await self.stops_sent()

    async def stops_sent(self) -> None:
        """Wait until the stops that are under way are durable, but not for ever."""
        await self._bounded([ask.stopping for ask in self._asks if ask.stopping is not None])

    async def end(self) -> None:
        """Close what was to be closed with this turn."""
        closings, self._closings = self._closings, []
        await self._bounded([asyncio.create_task(_tried(close)) for close in closings])

    def forget(self) -> None:
        """Let everything be: the turn is over, and what it left running goes on."""
        self._over = True
        enter_asks(None)

    async def _bounded(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        waiting = {task for task in tasks if not task.done()}
        if not waiting:
            return
        grace = asyncio.create_task(self.clock.sleep(GRACE_SECONDS))
        try:
            while waiting and not grace.done():
                _, waiting = await asyncio.wait({*waiting, grace}, return_when=asyncio.FIRST_COMPLETED)
                waiting.discard(grace)
        finally:
            grace.cancel()
        for task in waiting:
            logger.warning("another session could not be told in time: %s", self.asker.chat_id)
            _kept.add(task)
            task.add_done_callback(_kept.discard)


_kept: set[asyncio.Task[None]] = set()
"""Tasks that outlive the turn that began them; a loop alone does not keep its tasks."""

_current: ContextVar[Asks | None] = ContextVar("chatrt_asks", default=None)


def find_asks() -> Asks | None:
    """Return what the turn that the calling code runs in asks of others; None outside of turns and actions.

    A loop of the application's own goes from turn to turn in one task, so the turn itself is asked first.
    """
    turn = find_current_turn()
    return _current.get() if turn is None or turn.asks is None else cast("Asks", turn.asks)


def begin_asks(
    asker: Asker, askers: Sequence[Asker], *, clock: Clock, is_leaving: Callable[[], bool], max_depth: int
) -> Asks:
    """Make the asks of a turn that begins those of the calling task; for the arguments see `Asks`."""
    asks = Asks(asker=asker, askers=askers, clock=clock, is_leaving=is_leaving, max_depth=max_depth)
    enter_asks(asks)
    return asks


def enter_asks(asks: Asks | None) -> None:
    """Make `asks` those of the calling task and the tasks it starts."""
    _current.set(asks)


async def _tried(tell: Callable[[], Awaitable[Any]]) -> None:
    try:
        await tell()
    except ChatrtError as error:
        logger.info("another session could not be told: %s", error)
    except Exception:
        logger.exception("another session could not be told")
