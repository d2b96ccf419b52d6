"""When the loop of model calls ends, besides a final answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chatrt.generate.step import Step

StopCondition = Callable[[Sequence[Step]], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _StepCount:
    count: int

    def __call__(self, steps: Sequence[Step]) -> bool:
        return len(steps) >= self.count


def step_count_is(count: int) -> StopCondition:
    """Stop after `count` steps; those that a run made which died in the middle of the answer count."""
    return _StepCount(count)


def has_tool_call(*names: str) -> StopCondition:
    """Stop after a step that called one of these tools."""
    return lambda steps: bool(steps) and any(call.tool_name in names for call in steps[-1].tool_calls)


async def is_met(
    stop_when: StopCondition | Sequence[StopCondition], steps: Sequence[Step], *, earlier: int = 0
) -> bool:
    """Tell whether any of the conditions holds.

    Args:
        stop_when: The conditions.
        steps: What the answer has made here.
        earlier: How many steps of it were made before these, of which nothing but their number is known.
    """
    for condition in [stop_when] if callable(stop_when) else stop_when:
        met = earlier + len(steps) >= condition.count if isinstance(condition, _StepCount) else condition(steps)
        if await met if inspect.isawaitable(met) else met:
            return True
    return False
