"""What an `AgentChat` asks and changes of its session beside saying something: messages, queue, branches, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatrt.client.transport import ChatState, Transport
from chatrt.errors import MessageNotFoundError, SessionNotFoundError
from chatrt.pending_messages import PendingMessage
from chatrt.ui import UIMessage


class SessionCalls:
    """The calls of an `AgentChat` that need no stream."""

    def __init__(self, transport: Transport, chat_id: str) -> None:
        self._transport = transport
        self._chat_id = chat_id

    @property
    def id(self) -> str:
        """The chat id."""
        return self._chat_id

    async def pending(self) -> list[PendingMessage]:
        """Return the user messages that wait while a turn runs."""
        state = await self._find_state()
        return [] if state is None else state.pending

    async def close(self, reason: str | None = None) -> bool:
        """Close the session for good: it takes no more inputs.

        Returns:
            False if there is no session to close.
        """
        try:
            await self._transport.close_session(self._chat_id, reason=reason)
        except SessionNotFoundError:
            return False
        return True

    async def metadata(self) -> dict[str, Any]:
        """Return the metadata of the session; none of a chat that has not begun."""
        try:
            return await self._transport.load_metadata(self._chat_id)
        except SessionNotFoundError:
            return {}

    async def update_metadata(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Change the metadata of the session, and return what they are now.

        Over HTTP this needs the secret key; a session token may change the `title`.

        Args:
            patch: A JSON merge patch (RFC 7396): objects are merged, None takes a key away, all else replaces.

        Raises:
            SessionNotFoundError: If the chat has not begun.
            TooLargeError: If they would be larger than 64 KiB.
            ForbiddenError: If the token may not change these keys.
        """
        return await self._transport.update_metadata(self._chat_id, patch)

    async def rename(self, title: str | None) -> None:
        """Give the chat another title, or none: the key `title` of its metadata.

        Raises:
            SessionNotFoundError: If the chat has not begun.
        """
        await self.update_metadata({"title": title})

    async def messages(self) -> list[UIMessage]:
        """Return the messages of the chat as the server has them; none of a chat that has not begun."""
        state = await self._find_state()
        return [] if state is None else state.messages

    async def siblings(self, message_id: str) -> list[str]:
        """Return the names of what stands at the place of a message of the active branch, in order of creation.

        `switch_to` takes them. The message itself is among them by its own id, alone when it has no alternatives.

        Raises:
            MessageNotFoundError: If the active branch has no such message.
        """
        state = await self._find_state()
        if state is None or all(message["id"] != message_id for message in state.messages):
            raise MessageNotFoundError(message_id)
        return state.branches.get(message_id, [message_id])

    async def _find_state(self) -> ChatState | None:
        try:
            return await self._transport.load(self._chat_id)
        except SessionNotFoundError:
            return None
