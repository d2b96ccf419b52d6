"""From the parts of a model's stream to the chunks of a message, where neither needs to know what came before."""

from __future__ import annotations

import base64
from typing import Any, cast

from chatrt.models.base import ModelPart
from chatrt.ui import UIMessageChunk


def with_metadata(chunk: UIMessageChunk, part: ModelPart) -> UIMessageChunk:
    """Put the part's provider metadata on its chunk, if it has any."""
    metadata = part.get("providerMetadata")
    return chunk if metadata is None else {**chunk, "providerMetadata": metadata}


def source_chunk(part: ModelPart) -> UIMessageChunk:
    """Return the chunk of a `source` part."""
    if part["sourceType"] == "url":
        chunk: UIMessageChunk = {"type": "source-url", "sourceId": part["id"], "url": part["url"]}
        return with_metadata(_copy(chunk, part, "title"), part)
    chunk = {
        "type": "source-document",
        "sourceId": part["id"],
        "mediaType": part["mediaType"],
        "title": part["title"],
    }
    return with_metadata(_copy(chunk, part, "filename"), part)


def file_chunk(part: ModelPart) -> UIMessageChunk:
    """Return the chunk of a `file` or `reasoning-file` part, its data in a data URL."""
    return with_metadata({"type": part["type"], "mediaType": part["mediaType"], "url": _file_url(part)}, part)


def file_content(part: ModelPart) -> dict[str, Any]:
    """Return what a later prompt holds of a `file` or `reasoning-file` part."""
    data = {"type": "url", "url": _file_url(part)}
    return with_options({"type": part["type"], "mediaType": part["mediaType"], "data": data}, part)


def tool_input_start_chunk(part: ModelPart, *, known: bool, dynamic: bool) -> UIMessageChunk:
    """Return the chunk of a `tool-input-start` part.

    Args:
        part: The part.
        known: Whether the tool was offered.
        dynamic: Whether the tool is dynamic.
    """
    chunk: UIMessageChunk = {"type": "tool-input-start", "toolCallId": part["id"], "toolName": part["toolName"]}
    chunk = with_metadata(_copy(chunk, part, "inputEncoding", "providerExecuted"), part)
    if dynamic or not known:
        # The AI SDK says false of a tool it does not know; the later tool-input-error says true.
        chunk["dynamic"] = dynamic or bool(part.get("dynamic"))
    return chunk


def with_options(content: dict[str, Any], part: ModelPart) -> dict[str, Any]:
    """Put the part's provider metadata on the content of a later prompt, where it is called provider options."""
    metadata = part.get("providerMetadata")
    return content if metadata is None else {**content, "providerOptions": metadata}


def _copy(chunk: UIMessageChunk, part: ModelPart, *keys: str) -> UIMessageChunk:
    return cast("UIMessageChunk", {**chunk, **{key: part[key] for key in keys if part.get(key) is not None}})


def _file_url(part: ModelPart) -> str:
    if "url" in part:
        return part["url"]
    data: str | bytes = part["data"]
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return f"data:{part['mediaType']};base64,{text}"
