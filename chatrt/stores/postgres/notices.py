"""Hearing of other processes: one connection that listens, watched, and made anew when it is lost.

Notifications are hints: PostgreSQL keeps none for who was away. Whenever some may have been lost, and every second
while there is no connection, everybody is told to look at everything.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import orjson

from chatrt.errors import StoreError, UsageError
from chatrt.stores.base import Notice, NoticeKind, OnNotice, SessionKey
from chatrt.stores.postgres.database import FAILURES, Connection, Database, Target, connect

logger = logging.getLogger("chatrt.stores")

CHANNEL = "chatrt"
PING_SECONDS = 1.0
"""How often the connection is asked whether it lives, and how long it may take to answer."""

POLL_SECONDS = 0.8
"""How often everybody looks at everything while there is no connection."""


class Listener:
    """Tells subscribers what other processes wrote.

    Args:
        database: Whose clock is looked at on the way.
        target: Where to connect to.
        origin: What the notifications of this process begin with; they are not told.
    """

    def __init__(self, database: Database, target: Target, origin: str) -> None:
        self._database = database
        self._target = target.for_listening()
        self._origin = origin
        self._subscribers: dict[object, OnNotice] = {}
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    def subscribe(self, on_notice: OnNotice) -> Callable[[], None]:
        """Tell this one too, until the result is called."""
        token = object()
        self._subscribers[token] = on_notice
        return lambda: cast("None", self._subscribers.pop(token, None))

    async def open(self) -> None:
        """Listen from when this returns."""
        connection = await self._connect()
        self._task = asyncio.create_task(self._keep(connection))

    async def close(self) -> None:
        """Listen no more."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()  # more than once: what connects may take a cancellation for its own failure
            await asyncio.wait({task}, timeout=PING_SECONDS)

    async def _connect(self) -> Connection:
        connection = await connect(self._target)
        try:
            self._lost = asyncio.Event()
            connection.add_termination_listener(self._on_termination)
            async with asyncio.timeout(self._target.timeout):
                await connection.add_listener(CHANNEL, self._on_payload)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _keep(self, connection: Connection) -> None:
        try:
            while True:
                try:
                    await self._ping(connection)
                except FAILURES as error:
                    logger.warning("notifications of PostgreSQL are lost: %s", error or type(error).__name__)
                    connection.terminate()
                    connection = await self._connect_again()
                    logger.info("notifications of PostgreSQL come again")
                    self._tell(Notice("all"))
        finally:
            connection.terminate()

    async def _ping(self, connection: Connection) -> None:
        # Not wait_for: before Python 3.12 it loses a cancellation that comes together with what it waits for.
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_SECONDS):
                await self._lost.wait()
        async with asyncio.timeout(PING_SECONDS):
            await self._database.look_at_clock(connection)

    async def _connect_again(self) -> Connection:
        # On a slow line it takes longer to connect than anybody should wait for a look.
        telling = asyncio.create_task(self._tell_again_and_again())
        try:
            while True:
                try:
                    return await self._connect()
                except (StoreError, UsageError, *FAILURES):
                    await asyncio.sleep(POLL_SECONDS * random.uniform(0.5, 1.0))
        finally:
            telling.cancel()

    async def _tell_again_and_again(self) -> None:
        while True:
            self._tell(Notice("all"))
            await asyncio.sleep(POLL_SECONDS)

    def _on_termination(self, _connection: Connection) -> None:
        self._lost.set()

    def _on_payload(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        origin, *lines = cast("str", payload).split("\n")
        if origin == self._origin:
            return
        for line in lines:
            kind, seq, tenant, chat_id = cast("tuple[NoticeKind, int, str, str]", orjson.loads(line))
            self._tell(Notice("all") if kind == "all" else Notice(kind, SessionKey(tenant, chat_id), seq))

    def _tell(self, notice: Notice) -> None:
        for on_notice in list(self._subscribers.values()):
            try:
                on_notice(notice)
            except Exception:
                logger.exception("a notice was not taken")
