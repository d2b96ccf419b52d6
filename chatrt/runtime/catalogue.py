"""What a session manager tells and changes of sessions that it need not serve for it: their list and their metadata."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any

from chatrt.clock import Clock
from chatrt.runtime.session import Session
from chatrt.stores import Recency, SessionRow, SessionStatus, Store


class Catalogue(ABC):
    """The sessions of a store, as rows.

    Attributes:
        store: Where they are.
        clock: For the times of changes.
    """

    store: Store
    clock: Clock

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
