"""Merging what came in into the history: a new message, an edit, an answered tool call, a regenerate."""

from __future__ import annotations

from collections.abc import Collection

from chatrt.errors import ForbiddenChangeError, InvalidMessageError, MessageNotFoundError
from chatrt.history import History
from chatrt.ui import (
    UIMessage,
    check_tool_answers,
    find_answered_message,
    get_tool_name,
    is_tool_part,
    overlay_tool_states,
)


def merge_user_message(history: History, message: UIMessage, replaces: str | None = None) -> None:
    """Append a user message; one whose id is known takes the place of that message, on a new branch (D22).

    Args:
        history: What it is merged into.
        message: The user message.
        replaces: The message it takes the place of, when its own id does not say so.

    Raises:
        MessageNotFoundError: If `replaces` names a message that is not there.
        ForbiddenChangeError: If it would take the place of a message that is not the user's.
    """
    known = history.find_message(message["id"])
    if known is None and replaces is not None:
        known = history.find_message(replaces)
        if known is None:
            raise MessageNotFoundError(replaces)
    if known is None:
        history.append(message)
        return
    if known["role"] != "user":
        raise ForbiddenChangeError("only a user message can be edited", path="/message/id")
    history.rollback_to(known["id"])
    if known != message:
        history.slice(0, -1)
        history.append(message)


def merge_tool_answers(history: History, incoming: UIMessage, server_tools: Collection[str]) -> bool:
    """Overlay the tool calls that a client answered onto the stored message (D15).

    The message is found by its id, or by the calls it answers: clients are known to rename it.

    Args:
        history: What it is merged into.
        incoming: An assistant message, slim or whole.
        server_tools: The tools that the server answers itself.

    Returns:
        Whether anything advanced.

    Raises:
        ForbiddenChangeError: If it answers what is not open, or not the client's to answer.
    """
    stored = find_answered_message(history.all(), incoming)
    names = {get_tool_name(part) for part in stored["parts"] if is_tool_part(part)} if stored else set[str]()
    if not check_tool_answers(stored, incoming, client_tools=names - set(server_tools)) or stored is None:
        return False
    history.advance(overlay_tool_states(stored, incoming))
    return True


def trim_for_regenerate(history: History, message_id: str | None) -> None:
    """Take back the answer that is to be given again: the last one, or that with the id (D22).

    Raises:
        MessageNotFoundError: If no message has that id.
        InvalidMessageError: If no user message is left to answer.
    """
    messages = history.all()
    end = len(messages)
    if message_id is not None:
        found = [index for index, message in enumerate(messages) if message["id"] == message_id]
        if not found:
            raise MessageNotFoundError(message_id)
        end = found[0] + (messages[found[0]]["role"] == "user")
    while end and messages[end - 1]["role"] != "user":
        end -= 1
    if not end:
        raise InvalidMessageError("there is no user message to answer again", path="/messageId")
    if end < len(messages):
        history.slice(0, end)


def waits_for_client(message: UIMessage) -> bool:
    """Tell whether the last step of a message has calls or approvals that only a client can settle."""
    parts = message["parts"]
    start = max((index for index, part in enumerate(parts) if part["type"] == "step-start"), default=0)
    return any(
        is_tool_part(part) and part.get("state") in ("input-available", "approval-requested") for part in parts[start:]
    )


def has_approved_calls(message: UIMessage) -> bool:
    """Tell whether a message has calls that were approved and have no result yet."""
    return any(
        is_tool_part(part)
        and part.get("state") == "approval-responded"
        and part.get("approval", {}).get("approved") is True
        for part in message["parts"]
    )


def has_answers_to_continue(message: UIMessage) -> bool:
    """Tell whether the last step of a message ends with settled calls that the model has not seen yet."""
    parts = message["parts"]
    start = max((index for index, part in enumerate(parts) if part["type"] == "step-start"), default=0)
    calls = [index for index, part in enumerate(parts) if index >= start and is_tool_part(part)]
    return bool(calls) and not any(part["type"] == "text" for part in parts[calls[-1] :])
