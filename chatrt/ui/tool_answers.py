"""Says which tool calls a client may advance, and refuses everything else it tries to change (D15)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from chatrt.errors import ForbiddenChangeError
from chatrt.ui.merge import is_advanced, last_tool_parts
from chatrt.ui.messages import UIMessage, UIPart, get_tool_name

_TERMINAL = frozenset({"output-available", "output-error", "output-denied"})


def check_tool_answers(
    stored: UIMessage | None, incoming: UIMessage, *, client_tools: Collection[str]
) -> tuple[str, ...]:
    """Check that an incoming assistant message only answers what is open and the client's to answer.

    Tool parts are matched by toolCallId. Rows are the stored state, columns what comes in:

    ========================  ==============================  ====================  ================
    stored                    output-available, output-error  approval-responded    output-denied
    ========================  ==============================  ====================  ================
    (no such call)            forbidden                       forbidden             forbidden
    input-streaming           forbidden                       forbidden             forbidden
    input-available, client   **advances**                    forbidden             forbidden
    input-available, other    forbidden                       forbidden             forbidden
    approval-requested        forbidden                       **advances** if the   forbidden
                                                              approval id matches,
                                                              else forbidden
    approval-responded        forbidden                       ignored: decided once forbidden
    output-* (finished)       ignored                         ignored               ignored
    ========================  ==============================  ====================  ================

    Whatever else comes in (texts, open calls, preliminary outputs, other parts) is an older or partial copy of what is
    stored and is ignored, also by `overlay_tool_states`. A call that the provider executes is never the client's.

    Args:
        stored: The message as stored, found by `find_answered_message`; None if there is none.
        incoming: What the client sent, after `validate_incoming_message`.
        client_tools: Names of the tools without a body, answered by the client.

    Returns:
        The toolCallIds that advance, in the order they came; empty if nothing does.

    Raises:
        ForbiddenChangeError: For anything forbidden; `path` points at the part.
    """
    calls = _stored_calls(stored, incoming)
    advanced: list[str] = []
    for call_id, (index, answer) in last_tool_parts(incoming).items():
        if not is_advanced(answer):
            continue
        _, call = calls.get(call_id, (0, None))
        if call is None:
            raise ForbiddenChangeError("no such tool call is stored", path=f"/parts/{index}/toolCallId")
        if _is_settled(call, answer):
            continue
        reason = _refusal(call, answer, client_tools)
        if reason:
            raise ForbiddenChangeError(reason, path=f"/parts/{index}/state")
        advanced.append(call_id)
    return tuple(advanced)


def _stored_calls(stored: UIMessage | None, incoming: UIMessage) -> dict[str, tuple[int, UIPart]]:
    if incoming["role"] != "assistant":
        raise ForbiddenChangeError("only an assistant message answers tool calls", path="/role")
    if stored is None:
        raise ForbiddenChangeError("no stored message has these tool calls", path="/id")
    if stored["role"] != "assistant":
        raise ForbiddenChangeError("the message of this id is not an assistant's", path="/role")
    return last_tool_parts(stored)


def _is_settled(call: UIPart, answer: UIPart) -> bool:
    """Whether the answer comes too late to mean anything."""
    return call["state"] in _TERMINAL or (call["state"] == answer["state"] == "approval-responded")


def _refusal(call: UIPart, answer: UIPart, client_tools: Collection[str]) -> str:
    """Why the answer is not the client's to give; empty if it is."""
    match call["state"], answer["state"]:
        case "input-available", "output-available" | "output-error":
            if call.get("providerExecuted") is True or get_tool_name(call) not in client_tools:
                return "this tool is not answered by the client"
        case "approval-requested", "approval-responded":
            asked: dict[str, Any] = call.get("approval") or {}
            given: dict[str, Any] = answer.get("approval") or {}
            if given.get("id") is None or given.get("id") != asked.get("id"):
                return "the approval is not the one that was asked for"
            if not isinstance(given.get("approved"), bool):
                return "the approval is neither given nor denied"
        case state, _:
            return f"a call in state {state} cannot be answered with {answer['state']}"
    return ""
