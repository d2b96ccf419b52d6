"""Says where a history may be cut for a summary: never between a tool call and its result (D9)."""

from __future__ import annotations

from collections.abc import Sequence

from chatrt.ui.messages import UIMessage, UIPart, is_tool_part

_FINISHED = frozenset({"output-available", "output-error", "output-denied"})


def is_compaction_safe(messages: Sequence[UIMessage]) -> bool:
    """Tell whether every tool call has its result, so that a summary can stand for all of these messages.

    Preliminary results are none, and an answered approval whose call was not carried out yet is none either.
    """
    return all(_is_finished(part) for message in messages for part in message["parts"] if is_tool_part(part))


def find_compaction_place(messages: Sequence[UIMessage]) -> tuple[int, int] | None:
    """Find the last place that a summary can stand up to.

    That is behind the last assistant message, or, where calls of it have no result, before the step that made them, or
    behind the assistant message before it. Questions that nobody answered yet are never covered. Open calls in earlier
    messages do not matter: the conversation went on without them.

    Returns:
        The index of the message and how many of its parts come before the place; None if there is no such place.
    """
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    for number, index in enumerate(reversed(answers)):
        parts = messages[index]["parts"]
        if number > 0:
            return index, len(parts)
        for end in (len(parts), *_step_starts(parts)):
            if all(_is_finished(part) for part in parts[:end] if is_tool_part(part)):
                return index, end
    return None


def _step_starts(parts: Sequence[UIPart]) -> list[int]:
    """The indexes at which steps begin, the last one first; not the first step, before which nothing was said."""
    starts = [index for index, part in enumerate(parts) if part["type"] == "step-start"]
    return [start for start in reversed(starts) if start > 0]


def _is_finished(part: UIPart) -> bool:
    return part.get("state") in _FINISHED and part.get("preliminary") is not True
