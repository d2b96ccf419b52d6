"""Segments: the history cut at the places where something else stands in the prompt than in the messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.convert import convert_to_model_messages
from chatrt.ui.messages import UIMessage, message_text
from chatrt.ui.model_messages import ModelMessage

INJECTED = "data-pending-message-injected"
"""The part of an assistant message that stands for user messages which came while it was being made (D6)."""


@dataclass(frozen=True, slots=True)
class ModelRows:
    """Rows of a prompt that no UI message stands for."""

    messages: list[ModelMessage]


Segment = UIMessage | ModelRows


def injected_chunk(
    part_id: str, messages: list[UIMessage], model_messages: list[ModelMessage] | None = None
) -> UIMessageChunk:
    """Return the chunk that shows injected user messages, and keeps them in the answer they were injected into.

    Args:
        part_id: Names the part.
        messages: The user messages, oldest first.
        model_messages: What the model is shown of them, when that is not simply the messages. Clients can read it.
    """
    data: dict[str, Any] = {
        "messageIds": [message["id"] for message in messages],
        "messages": [
            {"id": message["id"], "text": message_text(message), "parts": message["parts"]} for message in messages
        ],
    }
    if model_messages is not None:
        data["modelMessages"] = model_messages
    return cast("UIMessageChunk", {"type": INJECTED, "id": part_id, "data": data})


def expand_injected(messages: Iterable[Segment]) -> list[Segment]:
    """Cut assistant messages where user messages were injected, and put these there."""
    segments: list[Segment] = []
    for message in messages:
        if isinstance(message, ModelRows):
            segments.append(message)
        elif message["role"] == "assistant" and any(part["type"] == INJECTED for part in message["parts"]):
            segments.extend(_expand(message))
        else:
            segments.append(message)
    return segments


def convert_segments(segments: Iterable[Segment], *, tools: Mapping[str, Any]) -> list[ModelMessage]:
    """Return the prompt that the segments make; calls without a result are left out."""
    rows: list[ModelMessage] = []
    group: list[UIMessage] = []
    for segment in segments:
        if isinstance(segment, ModelRows):
            rows += convert_to_model_messages(group, tools=tools, ignore_incomplete_tool_calls=True)
            rows += segment.messages
            group = []
        else:
            group.append(segment)
    return rows + convert_to_model_messages(group, tools=tools, ignore_incomplete_tool_calls=True)


def _expand(message: UIMessage) -> Iterator[Segment]:
    before: list[Any] = []
    for part in message["parts"]:
        if part["type"] != INJECTED:
            before.append(part)
            continue
        if before:
            yield {**message, "parts": before}
            before = []
        rows = part["data"].get("modelMessages")
        if rows is not None:
            yield ModelRows(rows)
        else:
            for injected in part["data"]["messages"]:
                yield {"id": injected["id"], "role": "user", "parts": injected["parts"]}
    if before:
        yield {**message, "parts": before}
