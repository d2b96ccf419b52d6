"""The model contract: one call of a language model as a stream of parts.

The parts are those of the AI SDK's `LanguageModelV3` stream (ai 7.0.173), so scripts recorded from there play here:

    {"type": "text-start", "id"}                    {"type": "reasoning-start", "id"}
    {"type": "text-delta", "id", "delta"}           {"type": "reasoning-delta", "id", "delta"}
    {"type": "text-end", "id"}                      {"type": "reasoning-end", "id"}
    {"type": "tool-input-start", "id", "toolName"}  {"type": "tool-input-delta", "id", "delta"}
    {"type": "tool-input-end", "id"}
    {"type": "tool-call", "toolCallId", "toolName", "input": <JSON text>}
    {"type": "tool-result", "toolCallId", "toolName", "result", "isError"?}    of a tool that the provider ran itself
    {"type": "source", "sourceType": "url", "id", "url", "title"?}
    {"type": "source", "sourceType": "document", "id", "mediaType", "title", "filename"?}
    {"type": "file", "mediaType", "data": <base64 text or bytes>}   or "url" instead of "data"; also "reasoning-file"
    {"type": "custom", "kind"}
    {"type": "error", "error": <an exception, a text, or any JSON value>}
    {"type": "response-metadata", "id"?, "modelId"?}
    {"type": "finish", "finishReason": {"unified", "raw"}, "usage": {"inputTokens": {"total"?, "noCache"?, "cacheRead"?,
        "cacheWrite"?}, "outputTokens": {"total"?, "text"?, "reasoning"?}}}

`unified` is one of stop, length, content-filter, tool-calls, error, other. Tools run only after a finish with stop or
tool-calls. Tool parts may carry `providerExecuted: true` (the provider runs the tool) and `dynamic: true`. Any part may
carry `providerMetadata`; what must be replayed to the provider unchanged (signatures of reasoning) is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chatrt.ui import ModelMessage

ModelPart = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as a model sees it: a name, a description, the JSON schema of its input, and options by provider."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    provider_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One model call.

    Attributes:
        messages: The prompt; a system message, if any, comes first.
        tools: What the model may call.
        settings: Settings by their chat-completions names (`temperature`, `max_tokens`, `tool_choice`, ...), passed on
            as they are.
    """

    messages: Sequence[ModelMessage]
    tools: Sequence[ToolSpec] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Model(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """What to call it in logs and traces, for instance `anthropic/claude-sonnet-4-5`."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelPart]:
        """Call the model and yield its parts as they arrive.

        Closing the iterator ends the call upstream; nothing goes on generating behind it.

        Raises:
            ModelError: While iterating, when the call fails; one of its subclasses says how.
        """
        ...
