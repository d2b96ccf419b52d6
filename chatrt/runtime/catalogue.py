"""What a session manager does with sessions as they are stored: list them, change metadata, export and import."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from chatrt.agent import ChatAgent
from chatrt.clock import Clock
from chatrt.errors import AgentNotFoundError, InvalidInputError
from chatrt.runtime.export import Lines, export_lines, read_dump
from chatrt.runtime.session import Session
from chatrt.stores import Recency, SessionKey, SessionRow, SessionStatus, Store
from chatrt.stores.portable import as_portable

MAX_CHAT_ID = 256


class Catalogue(ABC):
    """The sessions of a store, as rows.

    Attributes:
        store: Where they are.
        clock: For the times of changes.
    """

    store: Store
    clock: Clock

    @property
    @abstractmethod
    def agents(self) -> Mapping[str, ChatAgent]:
        """The agents by id."""

    @abstractmethod
    async def start(self) -> None:
        """Open the store, if it is not open."""

    @abstractmethod
    async def get_session(self, chat_id: str, *, tenant: str = "") -> Session:
        """Return a session."""

    async def iter_sessions(
        self,
        *,
        tenant: str = "",
        agent: str | None = None,
        status: SessionStatus | None = None,
        parent: str | None = None,
        after: str = "",
        limit: int = 0,
    ) -> AsyncIterator[SessionRow]:
        """Yield what is known of the sessions of a tenant, ordered by chat id.

        Args:
            tenant: The tenant.
            agent: Only those of this agent.
            status: Only those in this status.
            parent: Only those that were started by the session of this chat id.
            after: Only those behind this chat id.
            limit: At most so many; 0 means all.
        """
        await self.start()
        rows = self.store.iter_sessions(tenant, agent=agent, status=status, parent=parent, after=after, limit=limit)
        async for row in rows:
            yield row

    async def iter_recent_sessions(
        self,
        *,
        tenant: str = "",
        agent: str | None = None,
        status: SessionStatus | None = None,
        parent: str | None = None,
        after: Recency | None = None,
        limit: int = 0,
    ) -> AsyncIterator[SessionRow]:
        """Yield what is known of the sessions of a tenant, the one that was updated last first.

        The first ones cost the same however many there are; with `status` those that are passed over cost, too.

        Args:
            tenant: The tenant.
            agent: Only those of this agent.
            status: Only those in this status.
            parent: Only those that were started by the session of this chat id.
            after: Only those behind this place, which is `Recency.of` the last row that was seen. What is updated
                meanwhile moves to the front and does not come again.
            limit: At most so many; 0 means all.
        """
        await self.start()
        rows = self.store.iter_recent_sessions(
            tenant, agent=agent, status=status, parent=parent, after=after, limit=limit
        )
        async for row in rows:
            yield row

    async def update_metadata(self, chat_id: str, patch: Mapping[str, Any], *, tenant: str = "") -> dict[str, Any]:
        """Change the metadata of a session; see `Session.update_metadata`.

        Raises:
            SessionNotFoundError: If there is none of that id.
        """
        session = await self.get_session(chat_id, tenant=tenant)
        return await session.update_metadata(patch)

    async def export_session(self, chat_id: str, *, tenant: str = "") -> AsyncIterator[bytes]:
        """Yield a session as lines of JSON, as it is in this moment, in pieces of whole lines.

        It may be served meanwhile; what waits or runs is not in it. Little of it is in memory at once.

        Raises:
            SessionNotFoundError: If there is none of that id.
            UsageError: If the store cannot do it.
        """
        await self.start()
        async with aclosing(cast("Any", export_lines(as_portable(self.store), SessionKey(tenant, chat_id)))) as pieces:
            async for piece in pieces:
                yield piece

    async def import_session(self, lines: Lines, *, tenant: str = "", chat_id: str | None = None) -> Session:
        """Put a session into the store that was exported from this one or another; all of it is in memory meanwhile.

        It goes on where it was: same messages, same branches, the next sequence numbers. What it is a child of need not
        be here.

        Args:
            lines: What `export_session` gave, in pieces of any size.
            tenant: Where it goes.
            chat_id: Its new chat id, unless it keeps its own.

        Raises:
            InvalidInputError: If this is no such export, or was cut off; nothing was written.
            AgentNotFoundError: If its agent is not served here.
            ConflictError: If there is a session of that chat id.
            UsageError: If the store cannot do it.
        """
        await self.start()
        dump = await read_dump(lines, tenant=tenant, chat_id=chat_id)
        row = dump.head.row
        if row.agent not in self.agents:
            raise AgentNotFoundError(row.agent)
        check_chat_id(row.key.chat_id)
        await as_portable(self.store).import_session(dump)
        return await self.get_session(row.key.chat_id, tenant=tenant)


def check_chat_id(chat_id: str) -> str:
    """Return a chat id if it is one: 1 to 256 characters, none of them a control character.

    Raises:
        InvalidInputError: If it is not.
    """
    if not 1 <= len(chat_id) <= MAX_CHAT_ID or not chat_id.isprintable():
        raise InvalidInputError(f"a chat id has 1 to {MAX_CHAT_ID} printable characters", path="/chatId")
    return chat_id
