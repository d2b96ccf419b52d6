"""Grouping: what waits while calls to the database are under way goes with the next one, all of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from chatrt.errors import StoreUnavailableError

GROUP = 256
"""The most requests that share one call."""

Request = TypeVar("Request")
Result = TypeVar("Result")


class Grouping(Generic[Request, Result]):
    """Hands requests to `run` in the order in which they came; there is no timer.

    Args:
        run: Serves a group; gives a result or an error for each request, in their order. What it raises, it says of
            all of them.
        size: The most requests of a group.
        width: How many groups may be under way at once; only one keeps the order.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        *,
        size: int = GROUP,
        width: int = 1,
    ) -> None:
        self._run = run
        self._size = size
        self._width = width
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

    def open(self) -> None:
        """Take requests from now on."""
        self._open = True

    async def close(self) -> None:
        """Take no more requests, and serve those that were taken."""
        self._open = False
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """Take a request; cancelling its future does not take it back.

        Raises:
            StoreUnavailableError: If it is not open.
        """
        if not self._open:
            raise StoreUnavailableError("the store is not open")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        # One that has not begun yet takes along what comes until then.
        if len(self._tasks) < self._width and (not self._tasks or len(self._waiting) == 1):
            self._tasks.add(asyncio.create_task(self._serve()))
        return future

    async def _serve(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                try:
                    results = await self._run([request for request, _ in group])
                except Exception as error:
                    results = [error] * len(group)
                for (_, future), result in zip(group, results, strict=True):
                    _resolve(future, result)
        finally:
            # At once, not when the task is found to be done: who comes in between would wait for nobody.
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))


def _resolve(future: asyncio.Future[Result], result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
