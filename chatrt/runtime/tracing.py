"""Tracing: what a run does as OpenTelemetry spans; without an SDK they cost next to nothing.

    chat turn 1        a turn, counted from 1 in its run
      hook turn_start  a hook, see `chatrt.runtime.calling`
    chat action        an action; likewise `chat switch`, `chat preload` and the other inputs

Every span has `gen_ai.conversation.id` (OpenTelemetry semantic conventions for generative AI). What people and models
say is in none of them.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace

from chatrt.models import Usage
from chatrt.runtime.context import RunContext
from chatrt.runtime.work import Failed, Outcome
from chatrt.stores import Record

_TRACER = trace.get_tracer("chatrt")


@contextmanager
def work_span(context: RunContext, record: Record) -> Generator[trace.Span]:
    """Trace one input that is served."""
    turns = record.kind in ("message", "regenerate")
    attributes: dict[str, Any] = {
        "gen_ai.conversation.id": context.chat_id,
        "gen_ai.agent.id": context.agent.id,
        "chatrt.run.id": context.run_id,
        "chatrt.in_seq": record.seq,
        "chatrt.trigger": record.kind,
    }
    name = f"chat turn {context.turns + 1}" if turns else f"chat {record.kind}"
    with _TRACER.start_as_current_span(name, attributes=attributes) as span:
        yield span


def record_end(span: trace.Span, outcome: Outcome, usage: Usage | None, total: Usage) -> None:
    """Say how the work ended and what the models used."""
    if not span.is_recording():
        return
    span.set_attribute("chatrt.status", type(outcome).__name__.lower())
    for prefix, counted in (("gen_ai.usage", usage), ("chatrt.usage.total", total)):
        for key, tokens in _tokens(counted).items():
            span.set_attribute(f"{prefix}.{key}", tokens)
    if isinstance(outcome, Failed):
        span.record_exception(outcome.error)
        span.set_status(trace.StatusCode.ERROR)


def _tokens(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    counted = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    return {key: tokens for key, tokens in counted.items() if tokens is not None}
