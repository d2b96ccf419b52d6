"""The writer of the SQLite store: one thread, one connection, one transaction for everything that waits.

Each round takes what is queued, runs it in one transaction and commits once; while the disk syncs, the next round
gathers. Nothing waits for a timer. Callers hear of their requests only after the commit, in one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from chatrt.errors import StoreUnavailableError
from chatrt.stores.sqlite_file import primary_code, to_store_error

GROUP = 256
"""The most requests that share one transaction."""

# What these say is true of the whole file, so running the other requests again one by one would not help.
_FAILS_ALL = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}

# What leaves a transaction in doubt. SQLite's own lack of memory comes as a MemoryError.
_BREAKS = (sqlite3.Error, MemoryError)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Request:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs work on a connection in its own thread, many requests to a transaction.

    A piece of work that raises anything but `sqlite3.Error` must have written nothing: it is one statement, or it
    writes inside `undone_on_error`.
    """

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Request | None] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="chatrt-sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue some work; its future is resolved when what it wrote is durable.

        Work is done in the order of submission. Cancelling the future does not take it back.

        Raises:
            StoreUnavailableError: If the writer is stopping.
        """
        if self._stopping:
            raise StoreUnavailableError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Request(work, future))
        return future

    async def stop(self) -> None:
        """Finish what was submitted and end the thread."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        running = True
        while running:
            group, running = self._next_group()
            if group:
                self._serve(group)
                try:
                    self._loop.call_soon_threadsafe(_resolve, group)
                except RuntimeError:  # the loop is gone, and with it everyone who waited
                    return

    def _next_group(self) -> tuple[list[_Request], bool]:
        """Wait for a request and take along all that stand behind it; the flag says whether to go on."""
        group: list[_Request] = []
        request = self._queue.get()
        while request is not None:
            group.append(request)
            if len(group) == GROUP:
                return group, True
            try:
                request = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _serve(self, group: list[_Request]) -> None:
        try:
            self._transact(group)
        except _BREAKS as error:
            if len(group) > 1 and primary_code(error) not in _FAILS_ALL:
                for request in group:
                    self._serve([request])
                return
            for request in group:
                request.error = to_store_error(error, self._path)

    def _transact(self, group: list[_Request]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for request in group:
                request.error = None
                try:
                    request.result = request.work(connection)
                except _BREAKS:
                    raise
                except Exception as error:
                    request.error = error
            connection.execute("COMMIT")
        except _BREAKS:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def undone_on_error(connection: sqlite3.Connection) -> Generator[None]:
    """Undo what was written inside when it raises, without touching the rest of the transaction."""
    connection.execute("SAVEPOINT request")
    try:
        yield
    except _BREAKS:
        raise  # the writer rolls back the whole transaction; SQLite may have done so already
    except BaseException:
        connection.execute("ROLLBACK TO request")
        connection.execute("RELEASE request")
        raise
    connection.execute("RELEASE request")


def _resolve(group: list[_Request]) -> None:
    for request in group:
        if request.future.done():
            continue
        if request.error is not None:
            request.future.set_exception(request.error)
        else:
            request.future.set_result(request.result)
