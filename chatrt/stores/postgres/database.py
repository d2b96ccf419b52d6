"""Connections to a PostgreSQL server: a bounded pool, deadlines on everything, and errors in chatrt's words."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from chatrt.errors import ChatrtError, StoreError, StoreUnavailableError, UnreadableRecordError, UsageError

logger = logging.getLogger("chatrt.stores")

asyncpg: Any = importlib.import_module("asyncpg")  # it has no types

MIN_SERVER = 150_000
WRITE_SECONDS = 2.0
"""How long a write may take before its outcome counts as unknown."""

READ_SECONDS = 20.0
"""How long a read may take whose size is that of a history; a small one has as long as a write."""

APPEND_MILLISECONDS = 10
"""How often chunks are stored at most: fewer and larger transactions carry many times the streams."""

NOTIFY_MILLISECONDS = 20
"""How often others are told of new chunks at most; see docs/scale.md."""

CLOCK_NOISE = 0.02
"""Clocks that are so many seconds apart show the same: no two looks at them take equally long."""

INVALID_COMMIT = "CH001"
"""The SQLSTATE of what the functions of the schema refuse to write."""

# Classes of SQLSTATEs (PostgreSQL 15, appendix A) that say: not now. 08 connection, 40 rollback, 53 resources, 55 lock
# not available, 57 operator intervention; 25006 is a server that became a standby.
_NOT_NOW = ("08", "40", "53", "55", "57", "25006")
# An undefined schema, table or function.
_NOT_MIGRATED = ("3F000", "42P01", "42883")

T = TypeVar("T")
Connection = Any
"""An asyncpg connection, from the pool or of its own; asyncpg's types are generic over records nobody here needs."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the database is and how to speak to it.

    Attributes:
        url: For asyncpg, without chatrt's own options.
        pool_size: The most connections of the pool; the listener has one more.
        prepared: Whether statements are prepared and session settings made; not through PgBouncer in transaction mode.
        listen_url: Where notifications come from, when `url` leads through a pooler that drops them.
        timeout: How long a write or a connection may take, in seconds; then its outcome counts as unknown.
        append_every: Seconds between two groups of appended chunks.
        notify_every: Seconds between two notifications of new chunks.
    """

    url: str
    pool_size: int = 10
    prepared: bool = True
    listen_url: str | None = None
    timeout: float = WRITE_SECONDS
    append_every: float = APPEND_MILLISECONDS / 1000
    notify_every: float = NOTIFY_MILLISECONDS / 1000

    @classmethod
    def parse(cls, url: str) -> Target:
        """Read a URL; the options in its query that are named after attributes are chatrt's own.

        Raises:
            UsageError: If an option is not possible.
        """
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        size, prepared = query.pop("pool_size", "10"), query.pop("prepared", "yes")
        listen_url, timeout = query.pop("listen_url", None), query.pop("timeout", f"{WRITE_SECONDS:g}")
        append_every = _read_milliseconds(query, "append_every", 0, APPEND_MILLISECONDS)
        notify_every = _read_milliseconds(query, "notify_every", 1, NOTIFY_MILLISECONDS)
        if not (size.isascii() and size.isdigit() and 1 <= int(size[:4]) <= 1000):
            raise UsageError(f"pool_size is 1 to 1000, not {size!r}")
        if prepared not in ("yes", "no"):
            raise UsageError(f"prepared is yes or no, not {prepared!r}")
        if not (timeout.isascii() and timeout.isdigit() and 1 <= int(timeout[:4]) <= 600):
            raise UsageError(f"timeout is 1 to 600 whole seconds, not {timeout!r}")
        rest = urlunsplit(parts._replace(query=urlencode(query)))
        return cls(rest, int(size), prepared == "yes", listen_url, float(timeout), append_every, notify_every)

    @property
    def shown(self) -> str:
        """The address without the password, for people."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    def for_listening(self) -> Target:
        """Where the listener connects to."""
        return self if self.listen_url is None else replace(self, url=self.listen_url)


def _read_milliseconds(query: dict[str, str], name: str, least: int, default: int) -> float:
    written = query.pop(name, f"{default}")
    if not (written.isascii() and written.isdigit() and least <= int(written[:5]) <= 10_000):
        raise UsageError(f"{name} is {least} to 10000 whole milliseconds, not {written!r}")
    return int(written) / 1000


def to_store_error(error: Exception) -> ChatrtError:
    """Say in chatrt's words what asyncpg or the network said."""
    match error:
        case asyncpg.PostgresError():
            state: str = getattr(error, "sqlstate", None) or ""
            if state == INVALID_COMMIT:
                return UsageError(str(error))
            if state in _NOT_MIGRATED:
                return UnreadableRecordError("the database", f"{error}; run `chatrt migrate`")
            if state.startswith(_NOT_NOW):
                return StoreUnavailableError(f"PostgreSQL: {error} ({state})")
            return StoreError(f"PostgreSQL: {error} ({state})")
        case TimeoutError():
            return StoreUnavailableError("PostgreSQL does not answer in time")
        case _:
            return StoreUnavailableError(f"PostgreSQL: {error or type(error).__name__}")


FAILURES: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection says that broke in the middle of something
    OSError,
    TimeoutError,
)
"""What a call may raise that `to_store_error` understands."""


async def connect(target: Target) -> Connection:
    """Open one connection of its own.

    Raises:
        StoreUnavailableError: If the server cannot be reached.
    """
    try:
        return await asyncpg.connect(
            target.url, timeout=target.timeout, command_timeout=READ_SECONDS, **_settings(target)
        )
    except FAILURES as error:
        raise to_store_error(error) from error
    except ValueError as error:  # what asyncpg says of a URL it cannot read
        raise UsageError(f"{target.shown}: {error}") from error


def _settings(target: Target) -> dict[str, Any]:
    if not target.prepared:
        return {"statement_cache_size": 0}
    return {
        "server_settings": {
            "application_name": "chatrt",
            "synchronous_commit": "on",  # an ack means durable
            "lock_timeout": f"{target.timeout:g}s",
            "idle_in_transaction_session_timeout": f"{READ_SECONDS:g}s",
        }
    }


class Database:
    """A pool of connections. What is written runs to its end although its caller is cancelled.

    Args:
        target: Where it is.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool: Any = None
        self._writes: set[asyncio.Future[Any]] = set()
        self._server_began = 0.0
        self._offset = 0.0

    @property
    def clock_offset(self) -> float:
        """How many seconds the server's clock is ahead of this machine's now, also right after that was set."""
        offset = self._server_began + time.monotonic() - time.time()
        if abs(offset - self._offset) > CLOCK_NOISE:
            self._offset = offset
        return self._offset

    async def open(self) -> None:
        """Connect and look at the server.

        Raises:
            StoreUnavailableError: If it cannot be reached.
            UsageError: If it is too old, or does not keep what it acknowledges.
        """
        connection = await connect(self._target)
        try:
            await _check_server(connection)
            await self.look_at_clock(connection)
        except FAILURES as error:
            raise to_store_error(error) from error
        finally:
            await _close(connection)
        pool: Any = asyncpg.create_pool(
            self._target.url,
            min_size=0,
            max_size=self._target.pool_size,
            timeout=self._target.timeout,
            **_settings(self._target),
        )
        self._pool = await pool

    async def close(self) -> None:
        """Let writes end, then close the connections."""
        while self._writes:
            await asyncio.wait(set(self._writes))
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), WRITE_SECONDS)
            except FAILURES:
                pool.terminate()

    async def look_at_clock(self, connection: Connection) -> None:
        """Compare the server's clock with this machine's: leases of all processes are judged by one clock."""
        before = time.monotonic()
        theirs: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        self._server_began = theirs - (before + time.monotonic()) / 2

    async def read(self, sql: str, *arguments: Any) -> list[Any]:
        """Return rows, any number of them; asked once more if the connection broke meanwhile."""
        return await self._asked_twice(sql, arguments, READ_SECONDS)

    async def look(self, sql: str, *arguments: Any) -> list[Any]:
        """Return a few rows. Requests begin with such a look, so they hear as soon as of a write that it is in vain."""
        return await self._asked_twice(sql, arguments, self._target.timeout)

    async def _asked_twice(self, sql: str, arguments: tuple[Any, ...], seconds: float) -> list[Any]:
        try:
            return await self._fetch(sql, arguments, seconds)
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, ConnectionError):
            return await self._translated(lambda: self._fetch(sql, arguments, seconds))
        except FAILURES as error:
            raise to_store_error(error) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Connection]:
        """Give a connection on which all that is read belongs to one moment."""
        try:
            async with (
                self._connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield connection
        except FAILURES as error:
            raise to_store_error(error) from error

    async def write(self, sql: str, *arguments: Any, seconds: float | None = None) -> list[Any]:
        """Run one statement, which is one transaction, and return its rows.

        Args:
            sql: The statement.
            arguments: What it is given.
            seconds: How long it may take; as long as any write if left out.

        Raises:
            StoreUnavailableError: If it failed, or its outcome is unknown.
        """
        limit = self._target.timeout if seconds is None else seconds
        return await self._to_its_end(lambda: self._fetch(sql, arguments, limit))

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run work in one transaction; what it raises undoes it.

        Raises:
            StoreUnavailableError: If it failed, or its outcome is unknown.
        """

        async def transact() -> T:
            limit = asyncio.timeout(self._target.timeout)
            async with self._connection() as connection, limit, connection.transaction():
                return await work(connection)

        return await self._to_its_end(transact)

    async def _to_its_end(self, call: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.ensure_future(self._translated(call))
        self._writes.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: asyncio.Future[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.debug("a write failed", exc_info=task.exception())

    async def _translated(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except FAILURES as error:
            raise to_store_error(error) from error

    async def _fetch(self, sql: str, arguments: tuple[Any, ...], seconds: float) -> list[Any]:
        async with self._connection() as connection:
            return await connection.fetch(sql, *arguments, timeout=seconds)

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection]:
        pool = self._pool
        if pool is None:
            raise StoreUnavailableError("the store is not open")
        connection = await pool.acquire(timeout=self._target.timeout)
        try:
            yield connection
        except (asyncpg.PostgresError, ChatrtError):
            raise
        except BaseException:
            # It is broken, or it would wait for the server to confirm that the statement was cancelled; a server that
            # hangs never does.
            connection.terminate()
            raise
        finally:
            with suppress(*FAILURES):
                await pool.release(connection)


async def _check_server(connection: Connection) -> None:
    rows = await connection.fetch(
        "SELECT name, setting FROM pg_settings WHERE name IN ('server_version_num', 'fsync', 'full_page_writes')"
    )
    settings = {row["name"]: row["setting"] for row in rows}
    if int(settings["server_version_num"]) < MIN_SERVER:
        raise UsageError("PostgreSQL 15 or later is needed")
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            raise UsageError(f"PostgreSQL runs with {name} = off: what it acknowledges can be lost; set it to on")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise StoreUnavailableError("PostgreSQL: this is a standby; connect to the primary")


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=WRITE_SECONDS)
    except FAILURES:
        connection.terminate()
