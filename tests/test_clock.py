"""Time that tests can turn."""

from __future__ import annotations

import asyncio

from chatrt.clock import ManualClock, SystemClock


async def test_sleepers_wake_in_order_when_their_time_has_come():
    """advance wakes everyone whose time has come, the earliest first, and nobody else."""
    clock, woken = ManualClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2, 9)]
    await asyncio.sleep(0)

    clock.advance(5)
    await asyncio.gather(*tasks[:3])

    assert (woken, clock.sleepers) == ([1, 2, 3], 1)
    tasks[3].cancel()


async def test_the_next_due_time_is_that_of_the_earliest_sleeper():
    """A clock knows when the next sleeper wakes; one that was cancelled does not count."""
    clock = ManualClock(start=100)
    tasks = [asyncio.create_task(clock.sleep(seconds)) for seconds in (3, 1)]
    await asyncio.sleep(0)
    due = clock.next_due

    tasks[1].cancel()
    await asyncio.wait({tasks[1]})

    assert (due, clock.next_due) == (101, 103)
    tasks[0].cancel()


async def test_the_hands_can_be_set_to_a_time():
    """advance_to wakes who is due by then, exactly, and never turns back."""
    clock = ManualClock(start=0.1)
    task = asyncio.create_task(clock.sleep(0.2))
    await asyncio.sleep(0)

    clock.advance_to(clock.next_due or 0)
    await task
    clock.advance_to(0)

    assert (clock.now(), clock.next_due) == (0.1 + 0.2, None)


async def test_a_cancelled_sleeper_is_forgotten():
    """A sleeper that was cancelled counts no more."""
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait({task})

    assert clock.sleepers == 0


async def test_the_system_clock_goes_on():
    """The monotonic clock never goes back."""
    clock = SystemClock()
    before = clock.monotonic()

    await clock.sleep(0)

    assert clock.monotonic() >= before
