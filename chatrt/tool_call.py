"""The tool call that the calling code is part of, for code that is too deep inside a tool to be handed its context."""

from __future__ import annotations

from contextvars import ContextVar

from chatrt.errors import UsageError
from chatrt.tools import ToolContext

_current: ContextVar[ToolContext | None] = ContextVar("chatrt_tool", default=None)


def current_tool() -> ToolContext:
    """Return what may be known of the call that the calling code carries out: in tools, and in what they call.

    A plain function that runs in a thread finds it too.

    Raises:
        UsageError: Outside of a tool.
    """
    context = find_current_tool()
    if context is None:
        raise UsageError("no tool is running here")
    return context


def find_current_tool() -> ToolContext | None:
    """Return what may be known of the call that the calling code carries out, or None."""
    return _current.get()


def enter_tool(context: ToolContext | None) -> None:
    """Make `context` the current call of the calling task and the tasks it starts."""
    _current.set(context)
