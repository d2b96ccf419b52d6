"""What an `AgentChat` asks of the way to its session: start it, append to `.in`, read `.out`, load the messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from chatrt.clock import Clock
from chatrt.pending_messages import PendingMessage
from chatrt.ui import UIMessage, UIPart


@dataclass(frozen=True, slots=True)
class OutRecord:
    """A record of `.out`, decoded.

    Attributes:
        seq: Its sequence number: the cursor of who has read it.
        kind: `chunk`, `turn-start`, `turn-complete`, `upgrade` or `gap`.
        body: A chunk, or what the control record says. Shared with other readers: never changed.
    """

    seq: int
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file on its way to a chat: its bytes, its name, and what it is said to be."""

    data: bytes
    filename: str | None
    media_type: str | None


@dataclass(frozen=True, slots=True)
class ChatState:
    """The messages of a session and the cursors they belong to, read in one piece.

    Attributes:
        messages: The active branch.
        cursor: Reading `.out` after it shows what came after these messages.
        in_cursor: The last input that is settled.
        last_in_seq: The newest input.
        status: Whether a turn is running or waiting.
        pending: User messages that wait.
        branches: Message id to the names of what stands at its place, for messages that have alternatives.
    """

    messages: list[UIMessage]
    cursor: int
    in_cursor: int
    last_in_seq: int
    status: Literal["idle", "running", "closed"]
    pending: list[PendingMessage] = field(default_factory=list[PendingMessage])
    branches: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


class Transport(Protocol):
    """One way to sessions; errors are those of `chatrt.errors`, the same ones over every way."""

    @property
    def clock(self) -> Clock:
        """What to wait by."""
        ...

    async def start(self, chat_id: str, agent_id: str, *, client_data: Any) -> bool:
        """Create the session if it is not there; returns whether it is new.

        Raises:
            AgentNotFoundError: If nothing of that id is served.
            AgentMismatchError: If the session belongs to another agent.
        """
        ...

    async def append(self, chat_id: str, body: Mapping[str, Any], *, part_id: str) -> int:
        """Append an input, once for each part id, and return its sequence number when it is durable.

        Args:
            chat_id: Names the session.
            body: `kind` and what belongs to it, as on the native wire.
            part_id: Names this append; a repeat gives the number of the first.

        Raises:
            SessionNotFoundError: If there is no such session.
            SessionClosedError: If it is closed.
            InvalidInputError: If the input is not acceptable.
        """
        ...

    def read(self, chat_id: str, *, after: int) -> AsyncGenerator[Sequence[OutRecord], None]:
        """Yield what stands on `.out` after the cursor and then what comes, in batches, until it is closed.

        Each record comes once and in order; where some are no longer kept a `gap` stands for them. Closing the
        generator detaches the reader and changes nothing else.

        Raises:
            SessionNotFoundError: If there is no such session.
            CursorAheadError: If the log ends before the cursor.
            ServerUnavailableError: If the server cannot be reached for too long.
            MalformedStreamError: If what comes is no stream of records, or one of them is too large.
        """
        ...

    async def load(self, chat_id: str) -> ChatState:
        """Return the messages and cursors.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def upload(self, chat_id: str, file: NewFile) -> UIPart:
        """Attach a file to the session and return the part that names it.

        A repeat after a failure that left in doubt whether it arrived may leave the file there twice.

        Raises:
            SessionNotFoundError: If there is no such session.
            InvalidInputError: If the file is not taken; one of its subclasses says why.
        """
        ...

    async def load_metadata(self, chat_id: str) -> dict[str, Any]:
        """Return the metadata of the session.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def update_metadata(self, chat_id: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Lay a merge patch over the metadata and return what they are now.

        Raises:
            SessionNotFoundError: If there is no such session.
            TooLargeError: If they would be too large.
            ForbiddenError: If the token may not change these keys.
        """
        ...

    async def close_session(self, chat_id: str, *, reason: str | None) -> None:
        """Close the session for good.

        Raises:
            SessionNotFoundError: If there is no such session.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what this transport opened itself."""
        ...
