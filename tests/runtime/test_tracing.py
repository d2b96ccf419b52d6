"""Spans: what a team sees of its chats in its own tracing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from tests.runtime.driver import House

PROVIDER = TracerProvider()
EXPORTER = InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What was traced in this test; a process has one provider for good."""
    if trace.get_tracer_provider() is not PROVIDER:
        trace.set_tracer_provider(PROVIDER)
    EXPORTER.clear()
    yield EXPORTER
    EXPORTER.clear()


def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in spans.get_finished_spans() if span.name == name]
    return span


async def test_a_turn_is_a_span_with_its_hooks_inside(house: House, spans: InMemorySpanExporter):
    """Turns are counted from 1 in their run; hooks are spans within, and all name the conversation."""
    agent = ChatAgent("a", run=lambda turn: "ok")
    agent.on_turn_start(lambda event: None)
    chat = await house.open(agent)
    await chat.send("one")
    await chat.send("two")
    await house.crash()

    turn, hooks = named(spans, "chat turn 2"), [s for s in spans.get_finished_spans() if s.name == "hook turn_start"]
    assert turn.attributes is not None
    assert (turn.attributes["gen_ai.conversation.id"], turn.attributes["gen_ai.agent.id"]) == ("chat", "a")
    assert turn.attributes["chatrt.status"] == "completed"
    assert hooks[1].parent is not None
    assert hooks[1].parent.span_id == turn.context.span_id


async def test_usage_is_on_the_span(house: House, spans: InMemorySpanExporter):
    """A turn's span has the tokens of the turn, and those of the session so far."""
    model = ScriptedModel([_said(7), _said(5)])
    chat = await house.open(ChatAgent("a", run=lambda turn: stream_text(model, turn.messages)))
    await chat.send("one")
    await chat.send("two")
    await house.crash()
    second = named(spans, "chat turn 2").attributes
    assert second is not None
    assert (second["gen_ai.usage.input_tokens"], second["chatrt.usage.total.input_tokens"]) == (5, 12)


def _said(tokens: int) -> list[dict]:
    usage = {"inputTokens": {"total": tokens}, "outputTokens": {"total": 1}}
    return [
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": "x"},
        {"type": "text-end", "id": "t"},
        {"type": "finish", "finishReason": {"unified": "stop"}, "usage": usage},
    ]


async def test_a_failure_is_on_the_span(house: House, spans: InMemorySpanExporter):
    """A failed turn is an error in the trace, with its exception; nothing that was said is in there."""

    def run(turn):
        raise RuntimeError("boom")

    chat = await house.open(ChatAgent("a", run=run))
    await chat.send("a secret")
    await house.crash()
    span = named(spans, "chat turn 1")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.events[0].name == "exception"
    assert "a secret" not in span.to_json()


async def test_an_action_is_a_span_of_its_own(house: House, spans: InMemorySpanExporter):
    """An action is traced as `chat action`, and is no turn."""
    agent = ChatAgent("a", run=lambda turn: "ok", on_action=lambda event: None)
    chat = await house.open(agent)
    await chat.act({})
    await house.crash()
    assert [span.name for span in spans.get_finished_spans()] == ["hook action", "chat action"]
