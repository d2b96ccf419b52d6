"""Cache breakpoints in a chat-completions request: Anthropic's models take four, so no request has more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

MAX_BREAKPOINTS = 4
"""Of tools, system and messages together; a fifth makes Anthropic refuse the request."""


def limit_breakpoints(rows: Sequence[Row], tools: Sequence[Row]) -> None:
    """Take breakpoints off, in place, until four are left: the oldest on messages, then those of tools and system.

    The newest one on a message is the last to go: it is the one that saves most.

    Args:
        rows: Messages, as `to_litellm` makes them.
        tools: Tool definitions.
    """
    system = [marked for row in rows if row["role"] == "system" for marked in _marked(row)]
    messages = [marked for row in rows if row["role"] != "system" for marked in _marked(row)]
    of_tools = [tool for tool in tools if "cache_control" in tool]
    expendable = [*messages[:-1], *of_tools, *system, *messages[-1:]]
    for marked in expendable[: max(0, len(expendable) - MAX_BREAKPOINTS)]:
        del marked["cache_control"]


def _marked(row: Row) -> Iterable[Row]:
    """Return what carries a breakpoint of a row, in the order in which a model reads it."""
    content: Any = row.get("content")
    parts: list[Row] = [] if content is None or isinstance(content, str) else content
    calls: list[Row] = row.get("tool_calls") or []
    return [holder for holder in (*parts, *calls, row) if "cache_control" in holder]
