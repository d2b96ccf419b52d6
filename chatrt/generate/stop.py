"""When the loop of model calls ends, besides a final answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence

from chatrt.generate.step import Step

StopCondition = Callable[[Sequence[Step]], bool | Awaitable[bool]]


def step_count_is(count: int) -> StopCondition:
    """Stop after `count` steps."""
    return lambda steps: len(steps) >= count


def has_tool_call(*names: str) -> StopCondition:
    """Stop after a step that called one of these tools."""
    return lambda steps: bool(steps) and any(call.tool_name in names for call in steps[-1].tool_calls)


async def is_met(stop_when: StopCondition | Sequence[StopCondition], steps: Sequence[Step]) -> bool:
    """Tell whether any of the conditions holds."""
    for condition in [stop_when] if callable(stop_when) else stop_when:
        met = condition(steps)
        if await met if inspect.isawaitable(met) else met:
            return True
    return False
