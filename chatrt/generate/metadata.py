"""Message metadata: what an application attaches to a message while it streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from chatrt.ui import UIMessageChunk

MessageMetadata = Callable[[Mapping[str, Any]], Any]


async def with_message_metadata(
    chunks: AsyncGenerator[UIMessageChunk],
    message_metadata: MessageMetadata,
    describe: Callable[[UIMessageChunk], Mapping[str, Any]],
) -> AsyncGenerator[UIMessageChunk]:
    """Ask for metadata at every chunk and send what comes.

    It rides on `start` and `finish`; for other chunks a `message-metadata` chunk follows, which for `finish-step` goes
    ahead, so that it belongs to the step (ai 7.0.173).

    Args:
        chunks: Closed with this generator.
        message_metadata: Gives the metadata for a part, or None for nothing.
        describe: Gives what `message_metadata` is shown of a chunk.
    """
    async with aclosing(chunks):
        async for chunk in chunks:
            metadata = message_metadata(describe(chunk))
            if metadata is None:
                yield chunk
            elif chunk["type"] in {"start", "finish"}:
                yield {**chunk, "messageMetadata": metadata}
            else:
                extra: UIMessageChunk = {"type": "message-metadata", "messageMetadata": metadata}
                first, second = (extra, chunk) if chunk["type"] == "finish-step" else (chunk, extra)
                yield first
                yield second
