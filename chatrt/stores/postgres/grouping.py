"""Group commit: what waits while one call to the database is under way goes with the next one, all of it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

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
    """

    def __init__(self, run: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]]) -> None:
        self._run = run
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None
        self._open = False

    def open(self) -> None:
        """Take requests from now on."""
        self._open = True

    async def close(self) -> None:
        """Take no more requests, and serve those that were taken."""
        self._open = False
        if self._task is not None:
            await asyncio.wait({self._task})

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """Take a request; cancelling its future does not take it back.

        Raises:
            StoreUnavailableError: If it is not open.
        """
        if not self._open:
            raise StoreUnavailableError("the store is not open")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        return future

    async def _serve(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                try:
                    results = await self._run([request for request, _ in group])
                except Exception as error:
                    results = [error] * len(group)
                for (_, future), result in zip(group, results, strict=True):
                    _resolve(future, result)
        finally:
            self._task = None


def _resolve(future: asyncio.Future[Result], result: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
