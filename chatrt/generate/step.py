"""What one step, a model call and the tools it called, has given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatrt.generate.calls import ToolCall, ToolResult
from chatrt.models.usage import Usage
from chatrt.ui import ModelMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step gave.

    Attributes:
        number: From 0.
        model: The model's name.
        text: The text it answered, all blocks joined.
        reasoning: The same of its reasoning.
        tool_calls: What it called.
        tool_results: What came back before the step ended, in the order of completion; denied calls have none.
        finish_reason: stop, length, content-filter, tool-calls, error or other.
        raw_finish_reason: As the provider says it.
        usage: Tokens of the model call.
        messages: The rows that the next prompt has for it, approval rows included.
        response: What the provider told of its response: `id`, `modelId`.
    """

    number: int
    model: str
    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    tool_results: tuple[ToolResult, ...]
    finish_reason: str
    raw_finish_reason: str | None
    usage: Usage
    messages: tuple[ModelMessage, ...]
    response: Mapping[str, Any]
