"""From the events of a pydantic-ai run to the chunks of a message.

    PartStart, PartDelta, PartEnd   text, reasoning, streamed tool input; a file; a tool that the provider runs
    a call's PartEnd                tool-input-available, ahead of the call being validated and run
    Function- and OutputToolResult  tool-output-available, tool-output-error (failed, to be tried again), denied
    DeferredToolRequests (output)   tool-approval-request; external calls stay open for the client
    CustomEvent                     data-NAME, unless its class says `ui=False`

A call whose arguments are no JSON is told with the error of its result: tool-input-error.
"""

from __future__ import annotations

import json
from typing import Any, cast

from chatrt.adapters.decisions import Prompt
from chatrt.adapters.missing import missing_extra
from chatrt.adapters.pydantic_ai_messages import metadata_of
from chatrt.adapters.steps import Steps, to_json_value
from chatrt.ids import Ids
from chatrt.ui import UIMessageChunk

try:
    from pydantic_ai import messages as pai
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.tools import DeferredToolRequests
except ImportError as error:
    raise missing_extra("pydantic-ai", error) from error

Chunks = list[UIMessageChunk]

_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_call": "tool-calls",
    "error": "error",
}


class PydanticAIEvents:
    """Turns the events of one run into chunks.

    Attributes:
        finish_reason: Why the answer ended, once it did.

    Args:
        prompt: What the run goes on with; the calls that were decided about are known to the reader.
        ids: Where the ids of texts, reasonings and approvals come from.
        send_reasoning: Whether clients see the model's reasoning.
    """

    def __init__(self, prompt: Prompt, *, ids: Ids, send_reasoning: bool) -> None:
        self.finish_reason: str | None = None
        self._ids = ids
        self._send_reasoning = send_reasoning
        self._decided = prompt.decisions
        self._steps = Steps()
        self._step_is_new = True
        self._text = ""
        self._blocks: dict[int, str] = {}
        self._announced = set(prompt.decisions)
        self._unreadable: dict[str, pai.ToolCallPart] = {}

    def next_node(self) -> None:
        """The events of another model call or of another round of tools follow."""
        self._step_is_new = True

    def take(self, event: pai.AgentStreamEvent) -> Chunks:
        """Return the chunks of an event."""
        match event:
            case pai.PartStartEvent():
                return [*self._begin_step(), *self._start(event)]
            case pai.PartDeltaEvent():
                return self._delta(event.index, event.delta)
            case pai.PartEndEvent():
                return self._end(event)
            case pai.ToolCallEvent():
                return [] if event.part.tool_call_id in self._announced else self._announce(event.part)
            case pai.ToolResultEvent():
                return self._result(event.part)
            case pai.CustomEvent() if type(event).ui and not isinstance(event, pai.UnknownCustomEvent):
                return [_chunk(f"data-{event.name}", data=to_json_value(event.to_payload()))]
            case _:
                return []

    def finish(self, result: AgentRunResult[Any]) -> Chunks:
        """Return what is left to say when the run has ended."""
        output: Any = result.output
        if isinstance(output, DeferredToolRequests):
            self.finish_reason = "tool-calls"
            chunks = [self._approval_request(call, output) for call in output.approvals]
        else:
            self.finish_reason = _FINISH_REASONS.get(result.response.finish_reason or "stop", "other")
            said = output is None or (isinstance(output, str) and self._text.endswith(output))
            chunks = [] if said and not self._steps.has_calls else self._steps.output(output)
        return [*chunks, *self._steps.end(), _chunk("finish", finishReason=self.finish_reason)]

    # --- what the model says ----------------------------------------------------------------------------------------

    def _begin_step(self) -> Chunks:
        if not self._step_is_new:
            return []
        self._step_is_new, self._text = False, ""
        self._blocks.clear()
        return self._steps.begin()

    def _start(self, event: pai.PartStartEvent) -> Chunks:
        part, system = event.part, event.canonical_system
        match part:
            case pai.TextPart():
                return self._start_block("text", event.index, part.content, metadata_of(part, system))
            case pai.ThinkingPart():
                return self._start_block("reasoning", event.index, part.content, metadata_of(part, system))
            case pai.ToolCallPart() | pai.NativeToolCallPart():
                start = _chunk(
                    "tool-input-start",
                    toolCallId=part.tool_call_id,
                    toolName=part.tool_name,
                    **_by_provider(part),
                    **metadata_of(part, system),
                )
                return [start, *_input_delta(part.tool_call_id, part.args)]
            case pai.NativeToolReturnPart():
                return self._result(part)
            case pai.FilePart():
                url, media_type = part.content.data_uri, part.content.media_type
                return [_chunk("file", url=url, mediaType=media_type, **metadata_of(part, system))]
            case _:
                return []

    def _start_block(self, kind: str, index: int, text: str, metadata: dict[str, Any]) -> Chunks:
        if kind == "reasoning" and not self._send_reasoning:
            return []
        self._blocks[index] = block_id = self._ids.new("txt" if kind == "text" else "rsn")
        self._text += text if kind == "text" else ""
        start = _chunk(f"{kind}-start", id=block_id, **metadata)
        return [start, _chunk(f"{kind}-delta", id=block_id, delta=text)] if text else [start]

    def _delta(self, index: int, delta: pai.ModelResponsePartDelta) -> Chunks:
        match delta:
            case pai.ToolCallPartDelta(args_delta=args, tool_call_id=str(call_id)):
                return _input_delta(call_id, args)
            case pai.TextPartDelta(content_delta=text) if text and index in self._blocks:
                self._text += text
                return [_chunk("text-delta", id=self._blocks[index], delta=text)]
            case pai.ThinkingPartDelta(content_delta=str(text)) if text and index in self._blocks:
                return [_chunk("reasoning-delta", id=self._blocks[index], delta=text)]
            case _:
                return []

    def _end(self, event: pai.PartEndEvent) -> Chunks:
        part, system = event.part, event.canonical_system
        match part:
            case pai.ToolCallPart() | pai.NativeToolCallPart():
                return self._announce(part, system)
            case pai.TextPart() | pai.ThinkingPart() if event.index in self._blocks:
                kind = "text" if isinstance(part, pai.TextPart) else "reasoning"
                return [_chunk(f"{kind}-end", id=self._blocks.pop(event.index), **metadata_of(part, system))]
            case _:
                return []

    # --- tools ------------------------------------------------------------------------------------------------------

    def _announce(self, part: pai.ToolCallPart | pai.NativeToolCallPart, system: str | None = None) -> Chunks:
        self._announced.add(part.tool_call_id)
        native = isinstance(part, pai.NativeToolCallPart)
        self._steps.has_calls = self._steps.has_calls or not native
        try:
            args: Any = part.args_as_dict(raise_if_invalid=True)
        except (ValueError, AssertionError):
            if not native:
                self._unreadable[part.tool_call_id] = part
                return []
            args = part.args
        return [
            _chunk(
                "tool-input-available",
                toolCallId=part.tool_call_id,
                toolName=part.tool_name,
                input=to_json_value(args),
                **_by_provider(part),
                **metadata_of(part, system),
            )
        ]

    def _result(self, part: pai.ToolReturnPart | pai.NativeToolReturnPart) -> Chunks:
        call_id = part.tool_call_id
        if part.outcome == "success":
            kind, said = "tool-output-available", {"output": to_json_value(part.content)}
        elif call_id in self._unreadable:
            call = self._unreadable.pop(call_id)
            said = {"toolName": call.tool_name, "input": call.args, "errorText": _error_text(part), **metadata_of(call)}
            return [_chunk("tool-input-error", toolCallId=call_id, **said)]
        elif part.outcome == "denied" and call_id in self._decided:
            return [_chunk("tool-output-denied", toolCallId=call_id)]
        else:
            kind, said = "tool-output-error", {"errorText": _error_text(part)}
        if isinstance(part, pai.NativeToolReturnPart):
            said |= {"providerExecuted": True, **metadata_of(part)}
        return [_chunk(kind, toolCallId=call_id, **said)]

    def _approval_request(self, call: pai.ToolCallPart, requests: DeferredToolRequests) -> UIMessageChunk:
        request = _chunk("tool-approval-request", approvalId=self._ids.new("approval"), toolCallId=call.tool_call_id)
        reason = requests.metadata.get(call.tool_call_id, {}).get("reason")
        return {**request, "reason": reason} if isinstance(reason, str) else request


def _error_text(part: pai.ToolReturnPart | pai.NativeToolReturnPart) -> str:
    return part.model_response_str(wrap_if_error=False)


def _input_delta(call_id: str, args: Any) -> Chunks:
    text = args if isinstance(args, str) or args is None else json.dumps(args, ensure_ascii=False)
    return [_chunk("tool-input-delta", toolCallId=call_id, inputTextDelta=text)] if text else []


def _by_provider(part: pai.ToolCallPart | pai.NativeToolCallPart) -> dict[str, Any]:
    return {"providerExecuted": True} if isinstance(part, pai.NativeToolCallPart) else {}


def _chunk(kind: str, **keys: Any) -> UIMessageChunk:
    return cast("UIMessageChunk", {"type": kind, **keys})
