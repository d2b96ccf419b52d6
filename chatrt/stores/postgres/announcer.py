"""Telling other processes of new records of `.out`: after their commit, many in one notification, at most so often.

NOTIFY takes a lock of the whole database at its commit, and wakes every process. Beside the appends, and some
milliseconds apart, it holds no append up, and what a process costs the others does not grow with its streams.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from chatrt.codec import dumps
from chatrt.errors import ChatrtError
from chatrt.stores.base import SessionKey
from chatrt.stores.postgres import queries

logger = logging.getLogger("chatrt.stores")

AGAIN_SECONDS = 0.5
"""How long to wait after the database was not there; readers elsewhere look for themselves meanwhile."""


class Announcer:
    """Collects what is to be told.

    Args:
        write: Runs a statement.
        origin: What the notifications of this process begin with.
        interval: Seconds between two notifications; the first one of a quiet time is not held back.
    """

    def __init__(self, write: Callable[..., Awaitable[list[Any]]], origin: str, interval: float) -> None:
        self._write = write
        self._origin = origin
        self._interval = interval
        self._news: dict[SessionKey, int] = {}
        self._task: asyncio.Task[None] | None = None

    def tell(self, key: SessionKey, last_seq: int) -> None:
        """Let others know, soon, that the log of a session has come to this record."""
        self._news[key] = max(last_seq, self._news.get(key, 0))
        if self._task is None:
            self._task = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Tell what is left to tell, once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            await self._send_once()

    async def _send(self) -> None:
        try:
            while self._news:
                sent = await self._send_once()
                await asyncio.sleep(self._interval if sent else AGAIN_SECONDS)
        finally:
            self._task = None

    async def _send_once(self) -> bool:
        news, self._news = self._news, {}
        notices = [dumps(["out", seq, key.tenant, key.chat_id]).decode() for key, seq in news.items()]
        try:
            await self._write(queries.TELL, self._origin, notices)
        except ChatrtError as error:
            logger.info("other processes were not told of new records: %s", error)
            for key, seq in news.items():
                self._news[key] = max(seq, self._news.get(key, 0))
            return False
        return True
