"""How application code is called: sync or async, and without letting it cancel what called it."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry import trace

from chatrt.errors import UsageError

_TRACER = trace.get_tracer("chatrt")
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a hook, sync or async, and return its result.

    Raises:
        UsageError: If it was cancelled by something inside of it, not by the end of the run.
    """
    try:
        with _span(*arguments):
            result = function(*arguments)
            return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise UsageError("a hook awaited something that was cancelled") from error


def _span(*arguments: Any) -> AbstractContextManager[Any]:
    """Trace a hook under the name of its event: `hook turn_start` for a `TurnStartEvent`."""
    event = arguments[0] if arguments else None
    chat_id: str | None = getattr(event, "chat_id", None)
    if chat_id is None:
        return nullcontext()
    name = _CAPITAL.sub("_", type(event).__name__.removesuffix("Event")).lower()
    return _TRACER.start_as_current_span(f"hook {name}", attributes={"gen_ai.conversation.id": chat_id})
