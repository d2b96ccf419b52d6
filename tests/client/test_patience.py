"""When to try again."""

from __future__ import annotations

from chatrt.client.patience import FIRST_DELAY, LONGEST_DELAY, Patience


class Hands:
    """A clock that sleeping turns."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


async def test_waits_stay_below_a_growing_ceiling():
    """Each wait is random below a ceiling that doubles and has an end."""
    clock = Hands()
    patience = Patience(clock, 1000.0)
    for _ in range(30):
        assert await patience.wait()
    ceilings = [min(LONGEST_DELAY, FIRST_DELAY * 2**n) for n in range(30)]
    assert all(wait <= ceiling for wait, ceiling in zip(clock.waits, ceilings, strict=True))
    assert len(set(clock.waits)) > 25


async def test_the_budget_ends_it():
    """When the next wait would end after the budget, it is refused at once."""
    clock = Hands()
    patience = Patience(clock, 3.0)
    while await patience.wait():
        pass
    assert clock.time <= 3.0


async def test_progress_starts_anew():
    """After progress the first wait is short and the budget whole again."""
    clock = Hands()
    patience = Patience(clock, 3.0)
    while await patience.wait():
        pass
    patience.progress()
    assert await patience.wait()
    assert clock.waits[-1] <= FIRST_DELAY


async def test_what_the_server_asks_is_the_least():
    """A wait is never shorter than what the server asked for."""
    clock = Hands()
    assert await Patience(clock, 60.0).wait(at_least=30.0)
    assert clock.waits == [30.0]
