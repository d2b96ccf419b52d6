"""The frames of an Anthropic messages stream, byte by byte as a provider sends them."""

from __future__ import annotations

import json
from typing import Any


def event(kind: str, **fields: Any) -> bytes:
    """Write one named server-sent event."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(input_tokens: int = 10, **usage: Any) -> bytes:
    """Write the start of a message."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 1, **usage},
    }
    return event("message_start", message=message)


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    """Write a whole content block: its start, its deltas, its stop."""
    frames = [event("content_block_start", index=index, content_block=content)]
    frames += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return b"".join([*frames, event("content_block_stop", index=index)])


def text(index: int, *pieces: str) -> bytes:
    """Write a block of text."""
    return block(index, {"type": "text", "text": ""}, *[{"type": "text_delta", "text": piece} for piece in pieces])


def thinking(index: int, *pieces: str, signature: str) -> bytes:
    """Write a block of thinking; the signature comes last, on a delta of its own."""
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        *deltas,
        {"type": "signature_delta", "signature": signature},
    )


def redacted(index: int, data: str) -> bytes:
    """Write a block of redacted thinking."""
    return block(index, {"type": "redacted_thinking", "data": data})


def tool(index: int, call_id: str, name: str, *pieces: str) -> bytes:
    """Write a tool call whose input arrives in these pieces."""
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, {"type": "tool_use", "id": call_id, "name": name, "input": {}}, *deltas)


def end(reason: str = "end_turn", output_tokens: int = 5) -> bytes:
    """Write the end of a message."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": output_tokens}) + event("message_stop")
