"""Brings messages together: what is stored, what comes in, and what a turn that broke off leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast, overload

from chatrt.ui.messages import UIMessage, UIPart, get_tool_name, is_tool_part

INTERRUPTED = "interrupted"
"""The error text of a tool call whose outcome nobody knows (D8)."""

_ADVANCED = frozenset({"output-available", "output-error", "approval-responded", "output-denied"})
_TERMINAL = frozenset({"output-available", "output-error", "output-denied"})
_CONTENT = {"output-available": "output", "output-error": "errorText"}


def is_advanced(part: UIPart) -> bool:
    """Whether a tool part says more than that the tool was called: it has a result, or its approval an answer."""
    return is_tool_part(part) and part.get("state") in _ADVANCED and part.get("preliminary") is not True


def last_tool_parts(message: UIMessage) -> dict[str, tuple[int, UIPart]]:
    """Return the tool parts by toolCallId with their places; where an id is repeated, the last part counts."""
    return {
        part["toolCallId"]: (index, part)
        for index, part in enumerate(message["parts"])
        if is_tool_part(part) and isinstance(part.get("toolCallId"), str)
    }


# --- what comes in --------------------------------------------------------------------------------------------------


def overlay_tool_states(stored: UIMessage, incoming: UIMessage) -> UIMessage:
    """Return `stored` with the tool calls advanced that `incoming` has advanced.

    Parts are matched by toolCallId. Only the state and what belongs to it is taken over: an output, an error text, or
    the answer to an approval. Inputs, texts, metadata, the order of parts and the rest of an approval stay as stored,
    and a call that is finished in `stored` stays so. Returns `stored` itself if nothing advanced.

    This says what changes, not who may change it; see `check_tool_answers`.
    """
    answers = last_tool_parts(incoming)
    advanced: dict[int, UIPart] = {}
    for call_id, (index, part) in last_tool_parts(stored).items():
        _, answer = answers.get(call_id, (0, None))
        if answer is None or not is_advanced(answer):
            continue
        if part.get("state") not in _TERMINAL and part.get("state") != answer["state"]:
            advanced[index] = _advance(part, answer)
    if not advanced:
        return stored
    parts = [advanced.get(index, part) for index, part in enumerate(stored["parts"])]
    return {**stored, "parts": parts}


def _advance(part: UIPart, answer: UIPart) -> UIPart:
    result = cast("dict[str, Any]", {**part, "state": answer["state"]})
    content = _CONTENT.get(answer["state"])
    if content is not None:
        result[content] = answer.get(content)
    approval = answer.get("approval")
    if isinstance(approval, dict):
        # The request as the server made it, arguments and signature included; only the decision is the client's.
        decision = cast("dict[str, Any]", approval)
        asked: dict[str, Any] = part.get("approval") or {"id": decision.get("id")}
        result["approval"] = {**asked, **{key: decision[key] for key in ("approved", "reason") if key in decision}}
    return cast("UIPart", result)


def find_answered_message(messages: Sequence[UIMessage], incoming: UIMessage) -> UIMessage | None:
    """Return the stored message `incoming` is about: of the same id, else the newest that made one of its tool calls.

    Client libraries sometimes give an assistant message a new id when a tool answer is added to it.
    """
    for message in reversed(messages):
        if message["id"] == incoming["id"]:
            return message
    answered = last_tool_parts(incoming).keys()
    if incoming["role"] != "assistant" or not answered:
        return None
    for message in reversed(messages):
        if message["role"] == "assistant" and not answered.isdisjoint(last_tool_parts(message)):
            return message
    return None


def upsert_incoming_message(
    stored: list[UIMessage], *, trigger: str, incoming_messages: Sequence[UIMessage], **_event: Any
) -> bool:
    """Append the message that came in to `stored`, for a `hydrate_messages` hook that keeps messages itself.

    Only the last incoming message counts, and only when the trigger is a message (`message`, on the AI SDK wire
    `submit-message`). A message whose id is stored already is not appended: tool answers reach it by themselves. A
    message without id always is. The other fields of the hook's event may be passed along; they change nothing.

    Returns:
        Whether `stored` was changed.
    """
    if trigger not in {"message", "submit-message"} or not incoming_messages:
        return False
    incoming = incoming_messages[-1]
    message_id = incoming.get("id")
    if message_id and any(message.get("id") == message_id for message in stored):
        return False
    stored.append(incoming)
    return True


def merge_by_id(first: Sequence[UIMessage], second: Sequence[UIMessage]) -> list[UIMessage]:
    """Return the messages of both lists: those of `first` in their places, what is new in `second` behind them.

    Where both have an id the message of `second` stands in the place of the first; a later one of `second` wins over
    an earlier one. Messages with an empty or missing id are never the same.
    """
    merged = list(first)
    places = {message["id"]: index for index, message in enumerate(merged) if message.get("id")}
    for message in second:
        message_id = message.get("id")
        if message_id and message_id in places:
            merged[places[message_id]] = message
            continue
        if message_id:
            places[message_id] = len(merged)
        merged.append(message)
    return merged


@overload
def slim_message(message: UIMessage) -> UIMessage: ...
@overload
def slim_message(message: None) -> None: ...
def slim_message(message: UIMessage | None) -> UIMessage | None:
    """Return what has to be sent of a message: of an assistant message with advanced tool calls, only these.

    Each keeps its type, id, state, name (dynamic tools) and the output, error text or approval of its state. User
    messages, assistant messages without advanced calls, and None come back as they are.
    """
    if message is None or message["role"] != "assistant":
        return message
    parts = [_slim_part(part) for part in message["parts"] if is_advanced(part)]
    return {"id": message["id"], "role": message["role"], "parts": parts} if parts else message


def _slim_part(part: UIPart) -> UIPart:
    keys = ("type", "toolCallId", "toolName", "state", _CONTENT.get(part["state"], "approval"))
    return cast("UIPart", {key: part[key] for key in keys if key in part})


# --- what a broken turn leaves --------------------------------------------------------------------------------------


def cleanup_aborted_parts(
    message: UIMessage, *, client_tools: Collection[str] = (), approvals_ran: bool = False
) -> UIMessage:
    """Return the message of a stopped or crashed turn as it truthfully is (D8).

    ====================================================  ================================================
    text, reasoning that still stream                     closed as `done`
    `input-streaming`                                     removed: the call was never made
    `input-available` of a client's tool                  kept, it can still be answered (D21)
    `input-available` of other tools                      `output-error` "interrupted", they may have started
    preliminary `output-available`                        `output-error` "interrupted", it is no result yet
    approved `approval-responded`, if `approvals_ran`     `output-error` "interrupted", it may have started
    everything else                                       kept
    ====================================================  ================================================

    Args:
        message: The message as far as it came.
        client_tools: Names of the tools without a body, answered by the client. Calls that the provider executes are
            never the client's.
        approvals_ran: Whether the turn had begun to carry out approved calls. An approved call that is kept as it is
            runs, perhaps once more, when the conversation goes on.

    Returns:
        `message` itself if there is nothing to change.
    """
    parts: list[UIPart] = []
    for part in message["parts"]:
        state = part.get("state")
        if part["type"] in {"text", "reasoning"} and state == "streaming":
            parts.append(cast("UIPart", {**part, "state": "done"}))
        elif not is_tool_part(part):
            parts.append(part)
        elif state != "input-streaming":
            interrupted = _may_have_started(part, client_tools, approvals_ran=approvals_ran)
            parts.append(_interrupt(part) if interrupted else part)
    changed = len(parts) != len(message["parts"]) or any(
        after is not before for after, before in zip(parts, message["parts"], strict=True)
    )
    return {**message, "parts": parts} if changed else message


def _may_have_started(part: UIPart, client_tools: Collection[str], *, approvals_ran: bool) -> bool:
    match part.get("state"):
        case "input-available":
            return part.get("providerExecuted") is True or get_tool_name(part) not in client_tools
        case "output-available":
            return part.get("preliminary") is True
        case "approval-responded":
            approval: dict[str, Any] = part.get("approval") or {}
            return approvals_ran and approval.get("approved") is True
        case _:
            return False


def _interrupt(part: UIPart) -> UIPart:
    kept = {key: value for key, value in part.items() if key not in {"output", "preliminary"}}
    return cast("UIPart", {**kept, "state": "output-error", "errorText": INTERRUPTED})
