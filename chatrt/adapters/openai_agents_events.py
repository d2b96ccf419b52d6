"""From the events of an OpenAI Agents run to the chunks of a message.

raw response events   text, refusals, reasoning summaries, streamed tool input; what was not streamed comes whole
                      with the end of its item or of the response
tool_called           tool-input-available, before the tool runs; the call of a handoff is one too
tool_output           tool-output-available
handoff_occured       its tool-output-available, and a data-handoff part {from, to}
hosted tools          their call and output as one part, executed by the provider; a generated image is a file
"""

from __future__ import annotations

from typing import Any, cast

from chatrt.adapters.decisions import Prompt
from chatrt.adapters.missing import missing_extra
from chatrt.adapters.openai_agents_messages import HANDOFF_KEY, METADATA_KEY
from chatrt.adapters.openai_agents_resume import RESUMED_ID
from chatrt.adapters.steps import Steps, to_json_value
from chatrt.codec import loads
from chatrt.errors import ChatrtError, UsageError
from chatrt.generate.error_texts import provider_text
from chatrt.ids import Ids
from chatrt.ui import UIMessageChunk

try:
    from agents import (
        HandoffCallItem,
        HandoffOutputItem,
        RawResponsesStreamEvent,
        RunItemStreamEvent,
        RunResultStreaming,
        StreamEvent,
        ToolApprovalItem,
        ToolCallItem,
        ToolCallOutputItem,
    )
    from agents.models.fake_id import FAKE_RESPONSES_ID
    from openai.types.responses import ResponseUsage
except ImportError as error:
    raise missing_extra("openai-agents", error) from error

Chunks = list[UIMessageChunk]

_LOCAL = frozenset(
    {"function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call", "apply_patch_call"}
)
"""Calls that the SDK carries out, and tells of by run items."""

_HOSTED = frozenset({"web_search_call", "file_search_call", "code_interpreter_call", "mcp_call"})
_INPUTS = ("arguments", "input", "action", "operation", "code", "queries")


class OpenAIAgentsEvents:
    """Turns the events of one run into chunks.

    Attributes:
        finish_reason: Why the answer ended, once it did.
        step_usage: What the last model call used, if its provider said.

    Args:
        prompt: What the run goes on with; the calls that were decided about are known to the reader.
        ids: Where the ids of texts, reasonings and approvals come from.
        send_reasoning: Whether clients see the model's reasoning.
    """

    def __init__(self, prompt: Prompt, *, ids: Ids, send_reasoning: bool) -> None:
        self.finish_reason: str | None = None
        self.step_usage: ResponseUsage | None = None
        self._ids = ids
        self._send_reasoning = send_reasoning
        self._steps = Steps()
        self._resumed = set(prompt.decisions)
        self._announced = set(prompt.decisions)
        self._new_response()

    def _new_response(self) -> None:
        self._step_is_new = True
        self._is_over = False
        self._text = ""
        self._reasoned = False
        self._finished: set[int] = set()
        self._blocks: dict[tuple[int, str, int], str] = {}
        self._inputs: dict[int, str] = {}

    def take(self, event: StreamEvent) -> Chunks:
        """Return the chunks of an event."""
        match event:
            case RawResponsesStreamEvent():
                chunks = self._raw(event.data)
                return [*self._begin_step(), *chunks] if chunks else []
            case RunItemStreamEvent(item=ToolCallItem() | HandoffCallItem() as item):
                return self._call(item)
            case RunItemStreamEvent(item=ToolCallOutputItem() as item):
                return self._output(item.call_id, item.raw_item, item.output)
            case RunItemStreamEvent(item=HandoffOutputItem() as item):
                raw: Any = item.raw_item
                handoff = {"from": item.source_agent.name, "to": item.target_agent.name}
                return [*self._output(raw["call_id"], raw, raw["output"]), _chunk("data-handoff", data=handoff)]
            case _:
                return []

    def finish(self, result: RunResultStreaming) -> Chunks:
        """Return what is left to say when the run has ended.

        Raises:
            UsageError: If an approval is asked for that a chat cannot answer.
        """
        if result.interruptions:
            self.finish_reason = "tool-calls"
            chunks = [self._approval_request(item) for item in result.interruptions]
        else:
            self.finish_reason = "stop"
            output: Any = result.final_output
            said = output is None or (isinstance(output, str) and self._text.endswith(output))
            chunks = [] if said and not self._steps.has_calls else self._steps.output(output)
        return [*chunks, *self._steps.end(), _chunk("finish", finishReason=self.finish_reason)]

    # --- what the model says ----------------------------------------------------------------------------------------

    def _begin_step(self) -> Chunks:
        if not self._step_is_new:
            return []
        self._step_is_new = False
        return self._steps.begin()

    def _raw(self, data: Any) -> Chunks:
        if self._is_over or data.type == "response.created":
            self._new_response()
        match data.type:
            case "response.output_item.added":
                return self._added(data.output_index, data.item)
            case "response.output_text.delta" | "response.refusal.delta":
                return self._text_delta("text", data.output_index, data.content_index, data.delta)
            case "response.reasoning_summary_text.delta":
                return self._text_delta("summary", data.output_index, data.summary_index, data.delta)
            case "response.reasoning_text.delta":
                return self._text_delta("reasoning", data.output_index, data.content_index, data.delta)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                call_id = self._inputs.get(data.output_index)
                return [] if call_id is None else [_input_delta(call_id, data.delta)]
            case "response.output_item.done":
                return self._done(data.output_index, data.item)
            case "response.completed" if data.response.id != RESUMED_ID:
                self._is_over, self.step_usage = True, data.response.usage
                return [chunk for index, item in enumerate(data.response.output) for chunk in self._done(index, item)]
            case _:
                pass
        return []

    def _added(self, index: int, item: Any) -> Chunks:
        if item.type not in ("function_call", "custom_tool_call"):
            return []
        self._inputs[index] = item.call_id
        return [_chunk("tool-input-start", toolCallId=item.call_id, toolName=item.name)]

    def _text_delta(self, kind: str, index: int, position: int, delta: str) -> Chunks:
        if not delta or (kind != "text" and not self._send_reasoning):
            return []
        shown = "text" if kind == "text" else "reasoning"
        block_id = self._blocks.get((index, kind, position))
        chunks: Chunks = []
        if block_id is None:
            block_id = self._ids.new("txt" if kind == "text" else "rsn")
            self._blocks[index, kind, position] = block_id
            chunks.append(_chunk(f"{shown}-start", id=block_id))
        if kind == "text":
            self._text += delta
        return [*chunks, _chunk(f"{shown}-delta", id=block_id, delta=delta)]

    def _done(self, index: int, item: Any) -> Chunks:
        """End an item of the response: say what of it was not streamed, close what is open."""
        if index in self._finished:
            return []
        self._finished.add(index)
        match item.type:
            case "message":
                texts = [getattr(content, "text", None) or getattr(content, "refusal", "") for content in item.content]
                return [*self._rest("text", index, texts), *self._close(index, "text", _metadata(item, phase="phase"))]
            case "reasoning":
                return self._reasoning(index, item)
            case "image_generation_call" if item.result:
                media_type = f"image/{getattr(item, 'output_format', None) or 'png'}"
                return [_chunk("file", url=f"data:{media_type};base64,{item.result}", mediaType=media_type)]
            case kind if kind in _HOSTED:
                return self._hosted(item)
            case _:
                return []

    def _reasoning(self, index: int, item: Any) -> Chunks:
        self._reasoned = True
        if not self._send_reasoning:
            return []
        chunks = self._rest("summary", index, [part.text for part in item.summary])
        chunks += self._rest("reasoning", index, [part.text for part in item.content or ()])
        metadata = _metadata(item, encrypted_content="reasoningEncryptedContent")
        if "reasoningEncryptedContent" in metadata.get("providerMetadata", {}).get(METADATA_KEY, {}) and not any(
            key[0] == index for key in self._blocks
        ):
            # Nothing to read, but the model wants it back.
            self._blocks[index, "summary", 0] = block_id = self._ids.new("rsn")
            chunks.append(_chunk("reasoning-start", id=block_id))
        return [*chunks, *self._close(index, "reasoning", metadata)]

    def _rest(self, kind: str, index: int, texts: list[str]) -> Chunks:
        chunks: Chunks = []
        for position, text in enumerate(texts):
            if (index, kind, position) not in self._blocks:
                chunks += self._text_delta(kind, index, position, text)
        return chunks

    def _close(self, index: int, shown: str, metadata: dict[str, Any]) -> Chunks:
        closed = [key for key in self._blocks if key[0] == index]
        return [_chunk(f"{shown}-end", id=self._blocks.pop(key), **metadata) for key in closed]

    # --- tools ------------------------------------------------------------------------------------------------------

    def _hosted(self, item: Any) -> Chunks:
        flags: dict[str, Any] = {"toolCallId": item.id, "providerExecuted": True}
        if self._reasoned:
            flags["providerMetadata"] = {METADATA_KEY: {"reasoned": True}}
        name = getattr(item, "name", None) or item.type.removesuffix("_call")
        said = to_json_value(item.model_dump(mode="json", exclude_none=True))
        call = _chunk("tool-input-available", toolName=name, input=_input_of(said), **flags)
        if said.get("error"):
            return [call, _chunk("tool-output-error", errorText=provider_text(said["error"]), **flags)]
        return [call, _chunk("tool-output-available", output=said, **flags)]

    def _call(self, item: ToolCallItem | HandoffCallItem) -> Chunks:
        raw: Any = item.raw_item
        said = cast("dict[str, Any]", raw if isinstance(raw, dict) else raw.model_dump(mode="json", exclude_none=True))
        call_id = said.get("call_id")
        if said.get("type") not in _LOCAL or call_id is None:
            return []
        if call_id in self._resumed:
            self._resumed.remove(call_id)
            return []
        self._announced.add(call_id)
        metadata = {key: said[name] for key, name in (("itemId", "id"), ("namespace", "namespace")) if said.get(name)}
        if metadata.get("itemId") == FAKE_RESPONSES_ID:
            del metadata["itemId"]
        known: dict[str, Any] = {METADATA_KEY: metadata} if metadata else {}
        if isinstance(item, HandoffCallItem):
            known[HANDOFF_KEY] = {"handoff": True}
        chunk = _chunk(
            "tool-input-available",
            toolCallId=call_id,
            toolName=said.get("name") or said["type"].removesuffix("_call"),
            input=_input_of(said),
        )
        begun = self._begin_step()
        self._steps.has_calls = True
        return [*begun, {**chunk, "providerMetadata": known} if known else chunk]

    def _output(self, call_id: str | None, raw: Any, output: Any) -> Chunks:
        if call_id is None or call_id not in self._announced:
            return []
        shown = raw.get("output") if isinstance(raw, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        # Images and files are kept as the SDK sends them to the model, everything else as the tool returned it.
        value: Any = to_json_value(shown if isinstance(shown, list) else output)
        return [_chunk("tool-output-available", toolCallId=call_id, output=value)]

    def _approval_request(self, item: ToolApprovalItem) -> UIMessageChunk:
        kind: Any = item.raw_item.get("type") if isinstance(item.raw_item, dict) else item.raw_item.type
        if kind != "function_call" or item.call_id not in self._announced:
            raise UsageError(
                f"{item.name} asks for an approval that a chat cannot answer: only function tools of the agents of the"
                " conversation can, not those of an agent that is a tool itself, and not tools that OpenAI runs"
            )
        return _chunk("tool-approval-request", approvalId=self._ids.new("approval"), toolCallId=item.call_id)


def _metadata(item: Any, **names: str) -> dict[str, Any]:
    if item.id == FAKE_RESPONSES_ID:
        return {}
    kept = {"itemId": item.id}
    for attribute, name in names.items():
        value = getattr(item, attribute, None)
        if value is not None:
            kept[name] = value
    return {"providerMetadata": {METADATA_KEY: kept}}


def _input_of(said: dict[str, Any]) -> Any:
    """Return the input of a call: its arguments, read if they are JSON."""
    value: Any = next((said[name] for name in _INPUTS if said.get(name) is not None), None)
    if not isinstance(value, str):
        return {} if value is None else value
    try:
        return loads(value.encode()) if value else {}
    except ChatrtError:
        return value


def _input_delta(call_id: str, delta: str) -> UIMessageChunk:
    return _chunk("tool-input-delta", toolCallId=call_id, inputTextDelta=delta)


def _chunk(kind: str, **keys: Any) -> UIMessageChunk:
    return cast("UIMessageChunk", {"type": kind, **keys})
