"""The frames of an OpenAI-compatible chat-completions stream, byte by byte as a provider sends them."""

from __future__ import annotations

import json
from typing import Any

DONE = b"data: [DONE]\n\n"


def frame(value: Any) -> bytes:
    """Write one server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    """Write a chunk with these fields in its delta."""
    return frame(chunk([{"index": 0, "delta": fields, "finish_reason": finish}]))


def chunk(choices: list[Any], **fields: Any) -> dict[str, Any]:
    """Make the envelope of a chunk."""
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}


def text(value: str) -> bytes:
    """Write a delta of text."""
    return delta(content=value)


def call(index: int, arguments: str | None = None, *, call_id: str | None = None, name: str | None = None) -> bytes:
    """Write a delta of one tool call; what is None is not sent."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    part: dict[str, Any] = {"index": index, "function": function}
    if call_id is not None:
        part |= {"id": call_id, "type": "function"}
    return delta(tool_calls=[part])


def finish(reason: str = "stop", usage: dict[str, Any] | None = None) -> bytes:
    """Write the chunk that says why the model stopped, with the usage on it if given."""
    fields = {} if usage is None else {"usage": usage}
    return frame(chunk([{"index": 0, "delta": {}, "finish_reason": reason}], **fields))


def usage(prompt: int, completion: int, **details: Any) -> dict[str, Any]:
    """Make a usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **details}


def usage_frame(value: dict[str, Any]) -> bytes:
    """Write the usage chunk with no choices in it, as `stream_options.include_usage` asks for."""
    return frame(chunk([], usage=value))
