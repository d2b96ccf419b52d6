"""What an `AgentChat` sends: what a user says, files with it, and answers to tool calls and approvals."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

from chatrt.client.transport import NewFile
from chatrt.errors import UsageError
from chatrt.ids import Ids
from chatrt.ui import UIMessage, UIPart, is_tool_part


def user_message(
    message: str | UIMessage | None,
    ids: Ids,
    *,
    parts: Sequence[UIPart] | None = None,
    message_id: str | None = None,
) -> UIMessage:
    """Return a user message.

    Args:
        message: A text or a whole message.
        ids: Where its id comes from, if nothing says it.
        parts: Its parts, instead of `message`.
        message_id: Its id.

    Raises:
        UsageError: Unless exactly one of `message` and `parts` is given.
    """
    if (message is None) == (parts is None):
        raise UsageError("a message is given as a text, as a message, or as parts=[...]")
    if message is not None and not isinstance(message, str):
        whole = cast("dict[str, Any]", message)
        return cast("UIMessage", {**whole, "id": message_id or whole.get("id") or ids.new("msg")})
    content: list[UIPart] = [*(parts or ())] if message is None else [{"type": "text", "text": message}]
    return {"id": message_id or ids.new("msg"), "role": "user", "parts": content}


def file_part(url: str, media_type: str, filename: str | None) -> UIPart:
    """Return the part of a message that names a file."""
    named = {} if filename is None else {"filename": filename}
    return cast("UIPart", {"type": "file", "mediaType": media_type, "url": url, **named})


async def read_file(source: str | PathLike[str] | bytes, *, filename: str | None, media_type: str | None) -> NewFile:
    """Read a file that is to be attached.

    Args:
        source: Its bytes, or its path.
        filename: Its name; by default that of the path.
        media_type: What it is; by default what its name says.

    Raises:
        OSError: If it cannot be read.
    """
    if isinstance(source, bytes):
        data = source
    else:
        data = await asyncio.to_thread(Path(source).read_bytes)
        filename = Path(source).name if filename is None else filename
    if media_type is None and filename is not None:
        media_type = mimetypes.guess_type(filename)[0]
    return NewFile(data=data, filename=filename, media_type=media_type)


def answer_message(
    messages: Sequence[UIMessage], is_meant: Callable[[UIPart], bool], answer: dict[str, Any], name: str
) -> dict[str, Any]:
    """Return a slim assistant message that answers one call.

    Args:
        messages: What the chat holds.
        is_meant: Picks the tool part of the call.
        answer: What becomes of the part: its new state and what belongs to it.
        name: How the caller named the call.

    Raises:
        UsageError: If there is no such call.
    """
    for message in reversed(messages):
        for part in message["parts"]:
            if is_tool_part(part) and is_meant(part):
                named = {key: part[key] for key in ("type", "toolCallId", "toolName") if key in part}
                return {"id": message["id"], "role": message["role"], "parts": [{**named, **answer}]}
    raise UsageError(f"no tool call of this chat is known by {name!r}")
