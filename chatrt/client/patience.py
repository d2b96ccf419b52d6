"""When to try again: exponential backoff with full jitter, within a budget that starts anew with every progress."""

from __future__ import annotations

import random

from chatrt.clock import Clock

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Patience:
    """Counts the failures in a row and waits between them.

    Args:
        clock: What to wait by.
        budget: Seconds from the first failure in a row after which it is enough.
    """

    def __init__(self, clock: Clock, budget: float) -> None:
        self._clock = clock
        self._budget = budget
        self._failures = 0
        self._failing_since = 0.0

    def progress(self) -> None:
        """Forget the failures: something worked."""
        self._failures = 0

    async def wait(self, *, at_least: float = 0.0) -> bool:
        """Wait after a failure; False, at once, when the budget would be spent.

        Args:
            at_least: Seconds the server asked for.
        """
        now = self._clock.monotonic()
        if not self._failures:
            self._failing_since = now
        ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2**self._failures)
        delay = max(at_least, random.uniform(0, ceiling))
        self._failures += 1
        if now + delay - self._failing_since > self._budget:
            return False
        await self._clock.sleep(delay)
        return True
