"""The answer to a tool call or an approval, as the message that carries it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chatrt.errors import UsageError
from chatrt.ui import UIMessage, UIPart, is_tool_part


def answer_message(
    messages: Sequence[UIMessage], is_meant: Callable[[UIPart], bool], answer: dict[str, Any], name: str
) -> dict[str, Any]:
    """Return a slim assistant message that answers one call.

    Args:
        messages: What the chat holds.
        is_meant: Picks the tool part of the call.
        answer: What becomes of the part: its new state and what belongs to it.
        name: How the caller named the call.

    Raises:
        UsageError: If there is no such call.
    """
    for message in reversed(messages):
        for part in message["parts"]:
            if is_tool_part(part) and is_meant(part):
                named = {key: part[key] for key in ("type", "toolCallId", "toolName") if key in part}
                return {"id": message["id"], "role": message["role"], "parts": [{**named, **answer}]}
    raise UsageError(f"no tool call of this chat is known by {name!r}")
