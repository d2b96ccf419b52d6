"""Chunks in, messages out: one message from all chunks, or a snapshot after each chunk that changes it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable

from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.messages import UIMessage
from chatrt.ui.reducer import MessageReducer


def assemble(chunks: Iterable[UIMessageChunk], message: UIMessage | None = None) -> UIMessage:
    """Return the message that the chunks build. Linear in the number of chunks and the length of their texts.

    Args:
        chunks: The chunks, `start` first. A `start` with another id than the message has begins a new message.
        message: The assistant message to continue, if any; it is not changed.

    Raises:
        UIMessageStreamError: If the chunks contradict each other.
    """
    reducer = _reducer(message)
    for chunk in chunks:
        reducer.apply(chunk)
    return reducer.snapshot()


async def read_ui_message_stream(
    chunks: AsyncIterable[UIMessageChunk], message: UIMessage | None = None
) -> AsyncIterator[UIMessage]:
    """Yield the message as it grows: a snapshot wherever `readUIMessageStream` of ai 7.0.173 gives one.

    An `error` chunk changes nothing and does not end the iteration. Snapshots may be kept: they do not change any more.

    Args:
        chunks: The chunks, `start` first. A `start` with another id than the message has begins a new message.
        message: The assistant message to continue, if any; it is not changed.

    Raises:
        UIMessageStreamError: If the chunks contradict each other, after the snapshots that came before.
    """
    reducer = _reducer(message)
    async for chunk in chunks:
        if reducer.apply(chunk):
            yield reducer.snapshot()


def _reducer(message: UIMessage | None) -> MessageReducer:
    return MessageReducer(message, message_id=message["id"] if message else "", resets=True)
