"""Rest: lets everything in the event loop run that can, until all of it waits for something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chatrt.errors import UsageError

QUIET_PASSES = 6
"""Rounds of the loop without a task that can go on. What wakes a task may be a few callbacks away, one a round."""

MOST_PASSES = 200_000
"""How patient to be; many more than any turn takes."""

_resting: set[asyncio.Task[Any]] = set()


async def come_to_rest(
    wait_outside: Callable[[], asyncio.Future[None] | None] | None = None,
    *,
    until: Callable[[], bool] | None = None,
    most_passes: int = MOST_PASSES,
) -> None:
    """Return when every other task of the loop waits: for a clock, for an event, for input.

    No time passes in here, and nothing depends on how fast the machine is. Work that is done outside of the loop (a
    thread, a socket) is not seen, unless `wait_outside` tells of it.

    Args:
        wait_outside: Gives what to wait for while work goes on outside of the loop; None when there is none.
        until: Return as soon as this holds, also when tasks still run.
        most_passes: Rounds of the loop after which it is taken to run for ever.

    Raises:
        UsageError: If some task runs on and on.
    """
    me = asyncio.current_task()
    if me is None:
        raise UsageError("only a task can wait for the others")
    _resting.add(me)
    try:
        quiet = 0
        for _ in range(most_passes):
            if quiet == QUIET_PASSES or (until is not None and until()):
                return
            await asyncio.sleep(0)
            outside = None if wait_outside is None else wait_outside()
            if outside is not None:
                await asyncio.wait({outside})  # which does not cancel it, when this is cancelled
                quiet = 0
            else:
                quiet = 0 if any(map(_can_run, asyncio.all_tasks())) else quiet + 1
    finally:
        _resting.discard(me)
    busy = ", ".join(sorted(task.get_name() for task in asyncio.all_tasks() - {me} if _can_run(task)))
    raise UsageError(f"the loop does not come to rest: {busy} runs on and on without waiting for anything")


def _can_run(task: asyncio.Task[Any]) -> bool:
    """Tell whether the loop will run a task in its next rounds.

    What a task waits for is no public fact of asyncio; anyio's `wait_all_tasks_blocked` looks at the same attribute.
    """
    if task in _resting:
        return False
    waits_for: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
    return waits_for is None or waits_for.done()
