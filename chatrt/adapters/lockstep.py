"""A producer in a task of its own that goes on only when its reader comes back for more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")


async def in_lockstep(
    produce: Callable[[Callable[[ItemT], Awaitable[None]]], Coroutine[Any, Any, None]],
) -> AsyncGenerator[ItemT]:
    """Run `produce(emit)` as a task and yield what it emits, one item at a time.

    `emit` returns when the reader asks for the next item: whatever the producer does afterwards happens after the
    reader has dealt with this one. Closing the iterator cancels the task and waits until it is over.

    Raises:
        BaseException: What `produce` raised, behind the last item.
    """
    items: asyncio.Queue[tuple[ItemT, asyncio.Event] | None] = asyncio.Queue()
    closing = False

    async def emit(item: ItemT) -> None:
        if closing:  # a producer that swallowed its cancellation would wait for a reader who is gone
            raise asyncio.CancelledError("nobody reads any more")
        dealt_with = asyncio.Event()
        items.put_nowait((item, dealt_with))
        await dealt_with.wait()

    task = asyncio.create_task(produce(emit))
    task.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (entry := await items.get()) is not None:
            item, dealt_with = entry
            yield item
            dealt_with.set()
        await task
    finally:
        closing = True
        await end_task(task)


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over; what it raises meanwhile is not raised here."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
