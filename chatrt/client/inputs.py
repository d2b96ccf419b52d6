"""The messages that an `AgentChat` sends: what a user says, and answers to tool calls and approvals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from chatrt.errors import UsageError
from chatrt.ids import Ids
from chatrt.ui import UIMessage, UIPart, is_tool_part


def user_message(
    message: str | UIMessage | None,
    ids: Ids,
    *,
    parts: Sequence[UIPart] | None = None,
    message_id: str | None = None,
) -> UIMessage:
    """Return a user message.

    Args:
        message: A text or a whole message.
        ids: Where its id comes from, if nothing says it.
        parts: Its parts, instead of `message`.
        message_id: Its id.

    Raises:
        UsageError: Unless exactly one of `message` and `parts` is given.
    """
    if (message is None) == (parts is None):
        raise UsageError("a message is given as a text, as a message, or as parts=[...]")
    if message is not None and not isinstance(message, str):
        whole = cast("dict[str, Any]", message)
        return cast("UIMessage", {**whole, "id": message_id or whole.get("id") or ids.new("msg")})
    content: list[UIPart] = [*(parts or ())] if message is None else [{"type": "text", "text": message}]
    return {"id": message_id or ids.new("msg"), "role": "user", "parts": content}


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
