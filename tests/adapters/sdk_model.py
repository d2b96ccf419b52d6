"""A model of the OpenAI Agents SDK that follows a script, with the events that the Responses API streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agents import Agent, Model, ModelResponse, Usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseReasoningSummaryTextDeltaEvent,
    ResponseTextDeltaEvent,
    ResponseUsage,
)
from openai.types.responses.response_reasoning_item import Summary


@dataclass(frozen=True)
class Whole:
    """An item that comes with the end of the response only, without a delta."""

    item: Any


Said = Any
"""One item of an answer: an output item, something to await, or an exception to raise."""


def message(*texts: str, item_id: str = "msg_1") -> ResponseOutputMessage:
    """A message; each text is one delta."""
    content = ResponseOutputText(text="".join(texts), type="output_text", annotations=[])
    made = ResponseOutputMessage(id=item_id, content=[content], role="assistant", status="completed", type="message")
    made.__dict__["deltas"] = list(texts)
    return made


def call(name: str, call_id: str = "call_1", **arguments: Any) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        id=f"fc_{call_id}", call_id=call_id, name=name, arguments=json.dumps(arguments), type="function_call"
    )


def reasoning(text: str, *, item_id: str = "rs_1", encrypted: str | None = None) -> ResponseReasoningItem:
    summary = [Summary(text=text, type="summary_text")] if text else []
    return ResponseReasoningItem(id=item_id, summary=summary, type="reasoning", encrypted_content=encrypted)


class ScriptedSdkModel(Model):
    """Gives one answer after another; `prompts` has the input items it was shown.

    Args:
        answers: Each a list of items. A callable is awaited where it stands; an exception is raised there.
    """

    def __init__(self, *answers: list[Said]) -> None:
        self._answers = list(answers)
        self.prompts: list[list[Any]] = []
        self.closed = 0

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:  # noqa: A002
        """Answer without streaming: what an agent that is a tool does."""
        self.prompts.append(json.loads(json.dumps(input)))
        return ModelResponse(output=self._answers.pop(0), usage=Usage(), response_id=None)

    async def stream_response(self, system: Any, items: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self.prompts.append(json.loads(json.dumps(items)))
        script = self._answers.pop(0)
        output: list[Any] = []
        try:
            yield ResponseCreatedEvent(type="response.created", response=_response([]), sequence_number=0)
            for said in script:
                match said:
                    case Exception():
                        raise said
                    case Callable() | Awaitable():
                        await said()
                    case Whole():
                        output.append(said.item)
                    case _:
                        for event in _events(said, len(output)):
                            yield event
                        output.append(said)
            yield ResponseCompletedEvent(type="response.completed", response=_response(output), sequence_number=0)
        finally:
            self.closed += 1


def agent_of(*answers: list[Said], **options: Any) -> Agent[Any]:
    """An agent whose model follows a script; `agent.model` is it."""
    return Agent(name="Desk", model=ScriptedSdkModel(*answers), **options)


def _response(output: list[Any]) -> Response:
    usage = ResponseUsage.model_validate(
        {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
        }
    )
    return Response(
        id="resp_1",
        created_at=0,
        model="scripted",
        object="response",
        output=output,
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=True,
        usage=usage if output else None,
    )


def _events(item: Any, index: int) -> list[Any]:
    position: dict[str, Any] = {"output_index": index, "sequence_number": 0}
    events: list[Any] = [ResponseOutputItemAddedEvent(type="response.output_item.added", item=item, **position)]
    match item:
        case ResponseOutputMessage():
            events += [
                ResponseTextDeltaEvent(
                    type="response.output_text.delta",
                    delta=text,
                    item_id=item.id,
                    content_index=0,
                    logprobs=[],
                    **position,
                )
                for text in item.__dict__["deltas"]
            ]
        case ResponseFunctionToolCall():
            events.append(
                ResponseFunctionCallArgumentsDeltaEvent(
                    type="response.function_call_arguments.delta", delta=item.arguments, item_id=item.id, **position
                )
            )
        case ResponseReasoningItem():
            events += [
                ResponseReasoningSummaryTextDeltaEvent(
                    type="response.reasoning_summary_text.delta",
                    delta=part.text,
                    item_id=item.id,
                    summary_index=place,
                    **position,
                )
                for place, part in enumerate(item.summary)
            ]
    events.append(ResponseOutputItemDoneEvent(type="response.output_item.done", item=item, **position))
    return events
