"""Tool calls as a model makes them: parsing, and running several at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from chatrt import codec, failpoints
from chatrt.errors import InvalidInputError, InvalidToolInputError, NoSuchToolError
from chatrt.generate.error_texts import OnError, client_text, model_text
from chatrt.models.base import ModelPart
from chatrt.tool_call import enter_tool
from chatrt.tools import Tool, ToolContext
from chatrt.turn import find_current_turn
from chatrt.ui import ModelMessage, UIMessageChunk

_INPUT_LIMITS = codec.Limits(bytes=8 * 1024 * 1024, nodes=1_000_000)
_MAX_WAITING = 16  # outputs that tools may be ahead of the reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a model made.

    Attributes:
        tool_call_id: Its id.
        tool_name: What was called, whether it exists or not.
        input: The input as the model gave it; its raw text if that is not JSON.
        tool: The tool, if it was offered.
        error: Why the call is invalid, if it is.
        provider_executed: Whether the provider runs it.
        dynamic: What the model's own part said of it.
        provider_metadata: What the provider wants back with the result.
    """

    tool_call_id: str
    tool_name: str
    input: Any
    tool: Tool | None = None
    error: Exception | None = None
    provider_executed: bool = False
    dynamic: bool = False
    provider_metadata: Mapping[str, Any] | None = None

    @property
    def flags(self) -> dict[str, Any]:
        """The chunk keys that its outputs repeat."""
        flags: dict[str, Any] = {}
        if self.provider_executed:
            flags["providerExecuted"] = True
        if self.provider_metadata is not None:
            flags["providerMetadata"] = self.provider_metadata
        if self.tool.dynamic if self.tool else self.dynamic:
            flags["dynamic"] = True
        return flags

    def to_chunk(self, kind: str, **keys: Any) -> UIMessageChunk:
        """Return a chunk about this call."""
        return cast("UIMessageChunk", {"type": kind, "toolCallId": self.tool_call_id, **keys})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call gave: an output, possibly a preliminary one, or an error."""

    call: ToolCall
    output: Any = None
    error: Exception | None = None
    preliminary: bool = False

    def to_chunk(self, on_error: OnError | None) -> UIMessageChunk:
        """Return the chunk a client reads."""
        if self.error is not None:
            text = client_text(self.error, on_error)
            return self.call.to_chunk("tool-output-error", errorText=text, **self.call.flags)
        flags = {**self.call.flags, "preliminary": True} if self.preliminary else self.call.flags
        return self.call.to_chunk("tool-output-available", output=self.output, **flags)

    def to_part(self) -> dict[str, Any]:
        """Return the `tool-result` part a model reads."""
        call = self.call
        to_model_output = call.tool.to_model_output if call.tool else None
        if self.error is not None:
            output: Mapping[str, Any] = {"type": "error-text", "value": model_text(self.error)}
        elif to_model_output is not None:
            output = to_model_output(call.tool_call_id, call.input, self.output)
        else:
            output = {"type": "text" if isinstance(self.output, str) else "json", "value": self.output}
        part = {
            "type": "tool-result",
            "toolCallId": call.tool_call_id,
            "toolName": call.tool_name,
            "output": output,
        }
        if call.provider_metadata is not None:
            part["providerOptions"] = call.provider_metadata
        return part


def parse_call(part: ModelPart, tools: Mapping[str, Tool]) -> ToolCall:
    """Read a `tool-call` part; what is wrong with it is kept in `error`, never raised."""
    name: str = part["toolName"]
    tool = tools.get(name)
    provider_executed = bool(part.get("providerExecuted"))
    error: Exception | None = None
    value: Any = part["input"]
    try:
        value = parse_input(name, value)
        if tool is not None:
            tool.validate_input(value)
    except InvalidToolInputError as problem:
        error = problem
    if tool is None and not provider_executed:
        error = NoSuchToolError(name, list(tools))
    return ToolCall(
        tool_call_id=part["toolCallId"],
        tool_name=name,
        input=value,
        tool=tool,
        error=error,
        provider_executed=provider_executed,
        dynamic=bool(part.get("dynamic")) or error is not None,
        provider_metadata=part.get("providerMetadata"),
    )


def parse_input(tool_name: str, text: str) -> Any:
    """Read the JSON text of an input; no text at all is an empty object, as many models mean it.

    Raises:
        InvalidToolInputError: If it is not JSON that can be stored and shown; with the text the AI SDK has for it.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        codec.check(value, _INPUT_LIMITS)
    except json.JSONDecodeError as error:
        raise _not_json(tool_name, text, _syntax_error(error, text)) from error
    except (ValueError, RecursionError, InvalidInputError) as error:
        raise _not_json(tool_name, text, str(error)) from error
    return value


async def run_calls(calls: Iterable[ToolCall], messages: Sequence[ModelMessage]) -> AsyncGenerator[ToolResult]:
    """Run calls at the same time and yield what they give as it comes.

    Closing the iterator cancels what still runs and waits for it.
    """
    queue: asyncio.Queue[ToolResult] = asyncio.Queue(_MAX_WAITING)
    closing = asyncio.Event()
    tasks = [asyncio.create_task(_run_call(call, messages, queue, closing)) for call in calls]
    left = len(tasks)
    try:
        while left:
            result = await queue.get()
            left -= not result.preliminary
            yield result
    finally:
        closing.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run_call(
    call: ToolCall, messages: Sequence[ModelMessage], queue: asyncio.Queue[ToolResult], closing: asyncio.Event
) -> None:
    async def on_preliminary(output: Any) -> None:
        await queue.put(ToolResult(call=call, output=output, preliminary=True))

    turn = find_current_turn()
    context = ToolContext(
        tool_call_id=call.tool_call_id,
        tool_name=call.tool_name,
        messages=messages,
        idempotency_key=call.tool_call_id if turn is None else turn.idempotency_key(call.tool_call_id, call.input),
        attempt=1 if turn is None else turn.attempt,
    )
    enter_tool(context)  # this task serves this one call
    try:
        if call.tool is None:
            raise NoSuchToolError(call.tool_name, [])
        failpoints.reach("tool.running")
        output = await call.tool.execute(call.input, context, on_preliminary=on_preliminary)
        failpoints.reach("tool.done_pre_record")
        result = ToolResult(call=call, output=output)
    except asyncio.CancelledError as error:
        if closing.is_set():
            raise
        # The body cancelled itself. Its call still needs a result, or the loop would wait for it forever.
        result = ToolResult(call=call, error=RuntimeError(f"the tool was cancelled {error}".strip()))
    except Exception as error:
        result = ToolResult(call=call, error=error)
    await queue.put(result)


def _not_json(tool_name: str, text: str, reason: str) -> InvalidToolInputError:
    message = f"AI_JSONParseError: JSON parsing failed: Text: {text}.\nError message: SyntaxError: {reason}"
    return InvalidToolInputError(tool_name, message)


def _syntax_error(error: json.JSONDecodeError, text: str) -> str:
    rest = text[error.pos :].rstrip()
    if error.msg == "Expecting value" and any(literal.startswith(rest) for literal in ("true", "false", "null")):
        return "Unexpected end of JSON input"
    if error.msg.startswith("Unterminated string"):
        return f"Unterminated string in JSON at position {len(text)}"
    return f"{error.msg} in JSON at position {error.pos}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
