"""How application code is called: sync or async, and without letting it cancel what called it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from chatrt.errors import UsageError


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a hook, sync or async, and return its result.

    Raises:
        UsageError: If it was cancelled by something inside of it, not by the end of the run.
    """
    try:
        result = function(*arguments)
        return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise UsageError("a hook awaited something that was cancelled") from error
