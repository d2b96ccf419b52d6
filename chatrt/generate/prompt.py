"""The prompt of one model call: what was said, without the bookkeeping of approvals, and mended (D12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatrt.prompt import SystemPrompt
from chatrt.ui import ModelMessage, repair_model_messages

_APPROVALS = frozenset({"tool-approval-request", "tool-approval-response"})


def build_prompt(system: str | SystemPrompt | None, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Return what a model is shown: the system text first, no approval rows, tool rows joined, every call answered."""
    rows: list[ModelMessage] = []
    for message in messages:
        row = _without_approvals(message)
        if row is None:
            continue
        if row["role"] == "tool" and rows and rows[-1]["role"] == "tool":
            before = rows.pop()
            row = _with_content(before, [*before["content"], *row["content"]])
        rows.append(row)
    mended = [*repair_model_messages(rows)]
    if system is not None:
        mended.insert(0, _system_row(system))
    return mended


def _system_row(system: str | SystemPrompt) -> ModelMessage:
    if isinstance(system, str):
        return {"role": "system", "content": system}
    row: ModelMessage = {"role": "system", "content": system.text}
    if system.provider_options:
        row["providerOptions"] = dict(system.provider_options)
    return row


def _without_approvals(message: ModelMessage) -> ModelMessage | None:
    if message["role"] not in {"assistant", "tool"} or isinstance(message["content"], str):
        return message
    content: list[dict[str, Any]] = message["content"]
    kept = [part for part in content if part["type"] not in _APPROVALS or part.get("providerExecuted")]
    if len(kept) == len(content):
        return message
    return _with_content(message, kept) if kept else None


def _with_content(message: ModelMessage, content: list[dict[str, Any]]) -> ModelMessage:
    changed = message.copy()
    changed["content"] = content
    return changed
