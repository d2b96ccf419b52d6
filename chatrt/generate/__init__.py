"""stream_text: a model, its tools, and the loop between them."""

from __future__ import annotations

from chatrt.generate.calls import ToolCall, ToolResult
from chatrt.generate.pending_calls import PendingCalls
from chatrt.generate.step import Step
from chatrt.generate.stop import StopCondition, has_tool_call, step_count_is
from chatrt.generate.stream import BeforeStep, StepBoundary, StepPrompt, TextStream, stream_text
from chatrt.generate.summarize import summarize_with

__all__ = [
    "BeforeStep",
    "PendingCalls",
    "Step",
    "StepBoundary",
    "StepPrompt",
    "StopCondition",
    "TextStream",
    "ToolCall",
    "ToolResult",
    "has_tool_call",
    "step_count_is",
    "stream_text",
    "summarize_with",
]
