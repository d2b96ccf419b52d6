"""What a tool of an MCP server is called here, and what becomes of its results.

The output that clients see and that is stored is the result as the protocol has it, `{"content": [...],
"structuredContent"?: ...}` (so does the AI SDK). A model is shown the content: texts, images and files; the structured
value only where there is no content, because a server repeats it there as text.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from typing import Any, cast

from mcp.types import CallToolResult, Tool

from chatrt import codec
from chatrt.errors import ToolError, UsageError

logger = logging.getLogger("chatrt.mcp")

RESULT_LIMIT = 8 * 1024 * 1024
MAX_NAME = 64
MAX_PREFIX = 32
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST = 8


def check_prefix(prefix: str) -> str:
    """Return a prefix for names.

    Raises:
        UsageError: If names that begin with it could not be names of tools.
    """
    if _UNFIT.search(prefix) or len(prefix) > MAX_PREFIX:
        raise UsageError(f"{prefix!r} is no prefix for tools: use letters, digits, _ and -, at most {MAX_PREFIX}")
    return prefix


def name_tools(tools: Iterable[Tool], prefix: str) -> dict[str, Tool]:
    """Return tools by the names they have here: those of the server with the prefix, if a model can call them so.

    A name that must be changed for that gets a digest of the server's name at its end. It depends on nothing else, so
    that a tool keeps its name when others come and go: an approval must not end up with another tool.
    """
    named: dict[str, Tool] = {}
    for tool in tools:
        name = prefix + tool.name
        if _UNFIT.search(name) or len(name) > MAX_NAME or not tool.name:
            digest = hashlib.sha256(tool.name.encode()).hexdigest()[:_DIGEST]
            name = f"{_UNFIT.sub('_', name)[: MAX_NAME - _DIGEST - 1]}_{digest}"
        if name in named:
            logger.warning("an MCP server has two tools called %r; the first one counts", tool.name)
        else:
            named[name] = tool
    return named


def to_output(result: CallToolResult) -> dict[str, Any]:
    """Return what a call gave.

    Raises:
        ToolError: If the server says that the tool failed, or the result is larger than 8 MiB.
    """
    if result.is_error:
        texts = [block.text for block in result.content if block.type == "text"]
        raise ToolError("\n".join(texts) or "the tool failed and does not say why")
    output = result.model_dump(mode="json", by_alias=True, exclude_none=True, include={"content", "structured_content"})
    if len(codec.dumps(output)) > RESULT_LIMIT:
        raise ToolError(f"the result is larger than {RESULT_LIMIT // (1024 * 1024)} MiB")
    return output


def to_model_output(tool_call_id: str, input: Any, output: Any) -> dict[str, Any]:  # noqa: A002 - see Tool
    """Return what a model is shown of an output; also of one that was stored long ago."""
    del tool_call_id, input
    result = cast("dict[str, Any]", output) if isinstance(output, dict) else dict[str, Any]()
    content: Any = result.get("content")
    if not isinstance(content, list):
        return {"type": "json", "value": output}
    blocks = [_to_model(block) for block in cast("list[Any]", content)]
    if not blocks and "structuredContent" in result:
        return {"type": "json", "value": result["structuredContent"]}
    if all(block["type"] == "text" for block in blocks):
        return {"type": "text", "value": "\n".join(block["text"] for block in blocks)}
    return {"type": "content", "value": blocks}


def _to_model(block: Any) -> dict[str, Any]:
    match block:
        case {"type": "text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image" | "audio", "data": str(data), "mimeType": str(media_type)}:
            return {"type": "media", "data": data, "mediaType": media_type}
        case {"type": "resource", "resource": {"uri": uri, "text": str(text)}}:
            return {"type": "text", "text": f"{uri}:\n{text}"}
        case {"type": "resource", "resource": {"uri": uri, "blob": str(data), **rest}}:
            media_type = rest.get("mimeType") or "application/octet-stream"
            return {"type": "media", "data": data, "mediaType": media_type, "filename": str(uri).rpartition("/")[2]}
        case {"type": "resource_link", "uri": uri, "name": name}:
            return {"type": "text", "text": f"{name}: {uri}"}
        case _:
            return {"type": "text", "text": codec.dumps(block).decode()}
