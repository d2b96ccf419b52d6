"""What is counted of an input when it is settled: how it ended, and what became of tools and tokens."""

from __future__ import annotations

from typing import Any

from chatrt.metrics import TOKENS, TOOL_CALLS, TURNS, Metrics
from chatrt.runtime.work import Work
from chatrt.ui import UIMessage

_OUTCOMES = {"output-available": "ok", "output-error": "error", "output-denied": "denied"}


def count_work(metrics: Metrics, work: Work, status: str, message: UIMessage | None) -> None:
    """Count an input that is settled.

    Args:
        metrics: Where.
        work: What was done.
        status: How it ended.
        message: The answer, as it is kept.
    """
    agent = work.context.agent.id
    metrics.add(TURNS, 1, agent, str(work.trigger), status)
    before = _ended_calls(work.response.base if work.response is not None else None)
    for call, state in _ended_calls(message).items():
        if call not in before:
            metrics.add(TOOL_CALLS, 1, agent, _OUTCOMES[state])
    if work.usage is not None:
        for kind, tokens in (("input", work.usage.input_tokens), ("output", work.usage.output_tokens)):
            if tokens:
                metrics.add(TOKENS, tokens, agent, kind)


def _ended_calls(message: UIMessage | None) -> dict[str, str]:
    """Return the calls of a message that have an outcome, and which."""
    parts: list[Any] = [] if message is None else list(message["parts"])
    return {
        part["toolCallId"]: part["state"] for part in parts if part.get("state") in _OUTCOMES and "toolCallId" in part
    }
