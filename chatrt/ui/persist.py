"""What a server keeps of a response while it streams it (persistence mode of `createUIMessageStream`, ai 7.0.173)."""

from __future__ import annotations

from collections.abc import Sequence

from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.messages import UIMessage
from chatrt.ui.reducer import MessageReducer


class ResponseCollector:
    """Names the response, passes its chunks on, and builds the message that is to be kept.

    A conversation that ends with an assistant message is continued: the response has the id of that message and grows
    from it. A `start` chunk with an id of its own wins over both, and then the response is a message of its own that
    holds a copy of the old parts; unlike a reading client, a collector never begins anew.

    Args:
        messages: The conversation the response answers; not changed.
        message_id: A fresh id, used if the response does not continue a message.

    Attributes:
        is_aborted: Whether an `abort` chunk came.
    """

    def __init__(self, messages: Sequence[UIMessage] = (), *, message_id: str) -> None:
        last = messages[-1] if messages else None
        self._messages = messages
        self._continued_id = last["id"] if last is not None and last["role"] == "assistant" else None
        self._assigned_id = message_id if self._continued_id is None else self._continued_id
        self._reducer = MessageReducer(last, message_id=self._assigned_id)
        self.is_aborted = False

    def feed(self, chunk: UIMessageChunk) -> UIMessageChunk:
        """Take a chunk of the response and return the one to send: a `start` without an id gets one.

        Raises:
            UIMessageStreamError: If the chunk contradicts the ones before it; it should not be sent then.
        """
        if chunk["type"] == "start" and chunk.get("messageId") is None:
            chunk = {**chunk, "messageId": self._assigned_id}
        elif chunk["type"] == "abort":
            self.is_aborted = True
        self._reducer.apply(chunk)
        return chunk

    @property
    def reducer(self) -> MessageReducer:
        """The reducer behind, for what is open and what the message is at any moment."""
        return self._reducer

    @property
    def response_message(self) -> UIMessage:
        """The response as it stands now; a snapshot."""
        return self._reducer.snapshot()

    @property
    def is_continuation(self) -> bool:
        """Whether the response is a continuation of the last message."""
        return self._continued_id is not None and self._reducer.message_id == self._continued_id

    @property
    def finish_reason(self) -> str | None:
        """What the `finish` chunk gave as the reason, if one came."""
        return self._reducer.finish_reason

    @property
    def messages(self) -> list[UIMessage]:
        """The conversation with the response: in place of the message it continues, or after all."""
        kept = self._messages[:-1] if self.is_continuation else self._messages
        return [*kept, self.response_message]
