"""The real runtime under the machine: one store, workers that are killed and followed by others, always brought to rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from chatrt.clock import ManualClock
from chatrt.errors import (
    ForbiddenChangeError,
    InvalidMessageError,
    MessageNotFoundError,
    ModelResponseError,
    StoreUnavailableError,
)
from chatrt.ids import CountingIds
from chatrt.runtime import Session, SessionManager
from chatrt.stores import Record, Store
from chatrt.testing.rest import come_to_rest
from chatrt.testing.watched_store import LogRecord, WorkerStore, log_of
from tests.machine.stage import Planned, Stage

T = TypeVar("T")

PLANNED = (Planned, ForbiddenChangeError, InvalidMessageError, MessageNotFoundError, ModelResponseError)

CHAT = "chat"
LEASE_TTL = 1e9
"""Who lets a lease go is decided by the machine, not by the clock."""


class HeldStore:
    """One worker's store; its writes of `.out` can be kept waiting, and the answer to a commit can be late."""

    def __init__(self, worker: WorkerStore) -> None:
        self.deaf = False
        self._worker = worker
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._heard = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def hear(self) -> None:
        self._heard.set()

    async def append_out_groups(self, *arguments: Any, **options: Any) -> Any:
        await self._flowing.wait()
        return await self._worker.append_out_groups(*arguments, **options)

    async def commit(self, *arguments: Any, **options: Any) -> Any:
        await self._flowing.wait()
        result = await self._worker.commit(*arguments, **options)
        if self.deaf:
            self.deaf = False
            self._heard.clear()
            await self._heard.wait()
        return result


class Alarm(logging.Handler):
    """Notes what the runtime logs besides failures that were planned."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.unplanned: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, PLANNED) and "have died over" not in record.getMessage():
            self.unplanned.append(f"{record.getMessage()}: {error!r}")


class World:
    """Everything real: the loop, the store, the clock, the agent, and the worker that serves it now."""

    def __init__(self, store: Store, *, watched: bool, **options: Any) -> None:
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.loop.set_exception_handler(self._note_stray)
        self.clock = ManualClock()
        self.ids = CountingIds()
        self.stage = Stage(self.ids, **options)
        self.log = log_of(store)
        self.seen: list[Record] = []
        self.alarm = Alarm()
        self._logger = logging.getLogger("chatrt")
        self._logger.propagate = (
            False  # most of what is logged was planned, and formatting it takes longer than all else
        )
        self._logger.addHandler(self.alarm)
        self._store = store
        self._watched = watched
        self._reader: asyncio.Task[None] | None = None
        self.do(self._open())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, and come to rest."""
        return self.loop.run_until_complete(self._then_rest(work))

    async def _then_rest(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            await come_to_rest(self.worker.wait_outside)

    async def _open(self) -> None:
        self.worker = WorkerStore(self._store, self.log)
        self.store = HeldStore(self.worker)
        self.sessions = self._manager(self.store)
        self.session = await self.sessions.start_session(self.stage.agent.id, CHAT)
        if self._watched:
            self._reader = asyncio.create_task(self._read())

    def _manager(self, store: Any) -> SessionManager:
        return SessionManager(self.stage.agent, store, clock=self.clock, ids=self.ids, lease_ttl=LEASE_TTL)

    async def _read(self) -> None:
        with suppress(StoreUnavailableError):  # the worker was killed
            async for batch in self.session.outbox.read(self.seen[-1].seq if self.seen else 0):
                self.seen += batch

    # --- what happens to it

    def kill(self) -> None:
        """Let the worker die at once; nothing it had not stored survives. Another one starts."""

        async def kill() -> None:
            await self._end()
            await self._store.close()  # opened again it knows of no lease, as after the death of its process
            await self._store.open()
            await self._open()

        self.do(kill())

    def end(self) -> None:
        async def end() -> None:
            await self._end()
            await self._store.close()

        self.do(end())
        self.runner.close()
        self._logger.removeHandler(self.alarm)
        self._logger.propagate = True

    async def _end(self) -> None:
        self.worker.end()
        await self.sessions.aclose(grace=0.0)
        if self._reader is not None:
            await self._reader

    def advance(self, seconds: float) -> None:
        async def advance() -> None:
            self.clock.advance(seconds)

        self.do(advance())

    def touch(self, change: Any) -> None:
        """Change something inside of the loop."""

        async def touch() -> None:
            change()

        self.do(touch())

    # --- what is seen of it

    def records(self, after: int) -> list[LogRecord]:
        """Everything that was stored of `.out` behind a cursor, also what is trimmed by now."""
        return self.log.records(self.session.key, ".out")[after:]

    def load(self) -> Any:
        return self.do(self.session.load())

    def read(self, after: int) -> list[Record]:
        return self.do(read_all(self.session, after))

    def look_from_outside(self, after: int) -> tuple[Any, list[Record]]:
        """What another process sees that serves nothing: the state, and `.out` behind a cursor."""

        async def look() -> tuple[Any, list[Record]]:
            async with self._manager(WorkerStore(self._store, self.log)) as others:
                session = await others.get_session(CHAT)
                return await session.load(), await read_all(session, after)

        return self.do(look())

    def _note_stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.alarm.unplanned.append(f"{context['message']}: {context.get('exception')!r}")


async def read_all(session: Session, after: int) -> list[Record]:
    return [record async for batch in session.outbox.read(after, live=False) for record in batch]
