"""What came of an input: the answer as a whole, its tool calls and how its turn ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from chatrt.ui import UIMessage, UIPart, get_tool_name, is_tool_part

TurnStatus = Literal["completed", "stopped", "failed", "interrupted", "injected", "withdrawn"]

SETTLED_STATES = frozenset({"output-available", "output-error", "output-denied"})
WAITING_STATES = frozenset({"input-available", "approval-requested"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool in an answer.

    Attributes:
        tool_call_id: Names the call.
        tool_name: The tool.
        input: Its arguments.
        state: The state of its part, for instance `output-available` or `approval-requested`.
        approval_id: What `AgentChat.approve` takes; None for a call that needs no approval.
    """

    tool_call_id: str
    tool_name: str
    input: Any
    state: str
    approval_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call; `error_text` is None unless it failed, and a denied call has neither output nor error."""

    tool_call_id: str
    tool_name: str
    output: Any = None
    error_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """An answer that is over.

    Attributes:
        text: The texts of this turn, joined with nothing between.
        message: The whole message, which may have begun in an earlier turn; None when nothing was answered.
        tool_calls: The calls this turn made.
        tool_results: The calls that were settled in this turn, also those made earlier.
        pending_tool_calls: The calls that wait for the client: for an output, or for an approval.
        finish_reason: What the model gave as its reason, if it did.
        status: How the turn ended; `injected` for a message that became part of the turn it came in for, `withdrawn`
            for one that was taken back before its turn.
        error: `{"code", "message", "id"}` of a failed or interrupted turn.
    """

    text: str
    message: UIMessage | None
    tool_calls: list[ToolCall]
    tool_results: list[ToolResult]
    pending_tool_calls: list[ToolCall]
    finish_reason: str | None
    status: TurnStatus
    error: dict[str, str] | None = None


def to_result(
    message: UIMessage | None,
    base: UIMessage | None,
    *,
    finish_reason: str | None,
    status: TurnStatus,
    error: dict[str, str] | None,
) -> ChatResult:
    """Make the result of a turn.

    Args:
        message: The answer as it is now.
        base: The message that the turn continued, as it was before, if it continued one.
        finish_reason: What the model gave as its reason, if it did.
        status: How the turn ended.
        error: Of a failed or interrupted turn.
    """
    parts = [] if message is None else message["parts"]
    # Parts are only ever added at the end, so those beyond the ones it began with are this turn's.
    begun = {} if base is None else {p["toolCallId"]: p for p in base["parts"] if is_tool_part(p)}
    new = parts[0 if base is None else len(base["parts"]) :]
    settled = [part for part in parts if is_tool_part(part) and part["state"] in SETTLED_STATES]
    return ChatResult(
        text="".join(part["text"] for part in new if part["type"] == "text"),
        message=message,
        tool_calls=[_to_call(part) for part in new if is_tool_part(part)],
        tool_results=[_to_result(part) for part in settled if _state(begun, part) not in SETTLED_STATES],
        pending_tool_calls=pending_tool_calls(message),
        finish_reason=finish_reason,
        status=status,
        error=error,
    )


def pending_tool_calls(message: UIMessage | None) -> list[ToolCall]:
    """Return the calls of a message that wait for an output or an approval from the client."""
    parts = [] if message is None else message["parts"]
    return [_to_call(part) for part in parts if is_tool_part(part) and part["state"] in WAITING_STATES]


def _state(parts: dict[str, UIPart], part: UIPart) -> str:
    begun = parts.get(part["toolCallId"])
    return "" if begun is None else begun["state"]


def _to_call(part: UIPart) -> ToolCall:
    return ToolCall(
        tool_call_id=part["toolCallId"],
        tool_name=get_tool_name(part),
        input=part.get("input"),
        state=part["state"],
        approval_id=part.get("approval", {}).get("id"),
    )


def _to_result(part: UIPart) -> ToolResult:
    return ToolResult(
        tool_call_id=part["toolCallId"],
        tool_name=get_tool_name(part),
        output=part.get("output"),
        error_text=part.get("errorText"),
    )
