"""What people decided about tool calls since the last step, and the prompt without the bookkeeping of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from chatrt.generate.files import with_files
from chatrt.turn import Turn
from chatrt.ui import ModelMessage, UIMessage, convert_to_model_messages, repair_model_messages

_APPROVALS = frozenset({"tool-approval-request", "tool-approval-response"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's answer to an approval request."""

    approved: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation to go on with.

    Attributes:
        rows: The model messages, each call with its result but for those that are decided about.
        decisions: By tool call id; only those in the last row count, the others are history.
    """

    rows: list[ModelMessage]
    decisions: dict[str, Decision]


def read_prompt(conversation: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage]) -> Prompt:
    """Read the conversation of a turn, or one given as model messages or as UI messages; it is repaired (D12)."""
    rows = repair_model_messages(_model_messages(conversation))
    decisions = _decisions(rows)
    plain = [_plain(row, {}) for row in rows[:-1]] + [_plain(row, decisions) for row in rows[-1:]]
    return Prompt(rows=[row for row in plain if row is not None], decisions=decisions)


async def read_prompt_with_files(conversation: Turn[Any] | Sequence[ModelMessage] | Sequence[UIMessage]) -> Prompt:
    """Read a conversation as `read_prompt` does, and put in the files of the chat that it names."""
    prompt = read_prompt(conversation)
    return replace(prompt, rows=await with_files(prompt.rows))


def content_of(row: ModelMessage) -> list[dict[str, Any]]:
    """Return the parts of a row; a text is one part."""
    content: Any = row["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _model_messages(conversation: Any) -> list[ModelMessage]:
    if isinstance(conversation, Turn):
        return conversation.messages
    given = list(cast("Sequence[Any]", conversation))
    if given and "parts" in given[0]:
        return convert_to_model_messages(given, ignore_incomplete_tool_calls=True)
    return given


def _decisions(rows: list[ModelMessage]) -> dict[str, Decision]:
    if not rows or rows[-1]["role"] != "tool":
        return {}
    asked = {
        part["approvalId"]: part["toolCallId"]
        for row in rows
        if row["role"] == "assistant"
        for part in content_of(row)
        if part["type"] == "tool-approval-request"
    }
    last = content_of(rows[-1])
    # A denial may stand there with the result the model is to read; any other result says that it is carried out.
    settled = {
        part["toolCallId"]
        for part in last
        if part["type"] == "tool-result" and part["output"]["type"] != "execution-denied"
    }
    decisions: dict[str, Decision] = {}
    for part in last:
        call_id = asked.get(part.get("approvalId", "")) if part["type"] == "tool-approval-response" else None
        if call_id is not None and call_id not in settled:
            decisions.setdefault(call_id, Decision(approved=bool(part["approved"]), reason=part.get("reason")))
    return decisions


def _plain(row: ModelMessage, decisions: dict[str, Decision]) -> ModelMessage | None:
    if row["role"] not in ("assistant", "tool"):
        return row
    kept = [
        part
        for part in content_of(row)
        if part["type"] not in _APPROVALS and not (part["type"] == "tool-result" and part["toolCallId"] in decisions)
    ]
    return {**row, "content": kept} if kept else None
