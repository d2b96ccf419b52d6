"""Tells whether the last assistant message has all it waited for, so that the conversation can go on (ai 7.0.173)."""

from __future__ import annotations

from collections.abc import Sequence

from chatrt.ui.messages import UIMessage, UIPart, current_step_start, is_tool_part


def last_assistant_message_is_complete_with_tool_calls(messages: Sequence[UIMessage]) -> bool:
    """Whether the last step of a last assistant message has tool calls and each of them has its result.

    Calls that the provider runs do not count. Text behind the last call must have ended. A denied call or an answered
    approval is not a result here; see `last_assistant_message_is_complete_with_approval_responses`.
    """
    parts = _last_step(messages)
    calls = [index for index, part in enumerate(parts) if is_tool_part(part) and not part.get("providerExecuted")]
    if not calls:
        return False
    if any(part["type"] == "text" and part.get("state") != "done" for part in parts[calls[-1] + 1 :]):
        return False
    return all(parts[index].get("state") == "output-error" or _has_output(parts[index]) for index in calls)


def last_assistant_message_is_complete_with_approval_responses(messages: Sequence[UIMessage]) -> bool:
    """Whether the last step of a last assistant message has an answered approval and no tool call is open.

    Every call counts here, also those of the provider: one open call beside the answered approval keeps it incomplete.
    """
    calls = [part for part in _last_step(messages) if is_tool_part(part)]
    return any(part.get("state") == "approval-responded" for part in calls) and all(
        part.get("state") in {"approval-responded", "output-error", "output-denied"} or _has_output(part)
        for part in calls
    )


def _last_step(messages: Sequence[UIMessage]) -> list[UIPart]:
    if not messages or messages[-1]["role"] != "assistant":
        return []
    parts = messages[-1]["parts"]
    return parts[current_step_start(parts) :]


def _has_output(part: UIPart) -> bool:
    return part.get("state") == "output-available" and part.get("preliminary") is not True
