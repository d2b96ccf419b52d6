"""The session manager: every session that is live in this process, and what every wire and client goes through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Literal, Self, cast, get_args
from weakref import WeakValueDictionary

from chatrt import failpoints
from chatrt.agent import ChatAgent
from chatrt.attachments import Attachments
from chatrt.clock import Clock, SystemClock
from chatrt.errors import (
    AgentMismatchError,
    AgentNotFoundError,
    SessionNotFoundError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from chatrt.ids import Ids, RandomIds
from chatrt.metrics import Metrics
from chatrt.runtime.asks import MAX_DEPTH
from chatrt.runtime.attachments import SessionAttachments
from chatrt.runtime.catalogue import Catalogue, check_chat_id
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.gauges import watch_runs
from chatrt.runtime.leases import Leases
from chatrt.runtime.retention import Keeper, Retention, is_family_idle
from chatrt.runtime.session import LiveSession, Session
from chatrt.runtime.worker import Worker
from chatrt.stores import (
    Appended,
    Notice,
    Parent,
    SessionKey,
    SessionRow,
    SessionStatus,
    Store,
    find_attachment_store,
    open_store,
)

logger = logging.getLogger("chatrt.runtime")

Role = Literal["all", "web", "worker"]
"""What a process does; see `SessionManager`."""


def check_role(role: str, store: Store) -> Role:
    """Return a role that goes with a store.

    Raises:
        UsageError: If it is none, or needs other processes where there cannot be any.
    """
    if role not in get_args(Role):
        raise UsageError(f"a role is one of {', '.join(get_args(Role))}, not {role!r}")
    if role != "all" and not store.is_shared:
        raise UsageError(
            f"role {role!r} needs a store that several processes share, such as PostgreSQL: one process alone can open "
            f"a {type(store).__name__}, and has to do everything"
        )
    return cast("Role", role)


class SessionManager(Catalogue):
    """Keeps sessions and their runs; usable without HTTP.

    Args:
        agents: The agents that are served.
        store: A store, or its URL.
        clock: For idle times, leases and timestamps.
        ids: For messages, nodes, runs and errors.
        lease_ttl: Seconds after which another worker may take over from one that is silent.
        retention: How long sessions are kept; for ever by default.
        max_depth: How many turns may wait for one another: an agent for its sub-agent, that for its own, and so on.
        attachments: How the files of chats are treated.
        role: What this process does: `web` takes inputs and lets their answers be read, and serves no session itself;
            `worker` serves sessions; `all` does both. The store of `web` and `worker` is one that processes share.
        max_runs: How many sessions are served here at once at most; what is more waits for other processes, or until
            one is through. None for any number.

    Raises:
        UsageError: If two agents have the same id, or there is none, or the store and the role do not go together.
    """

    def __init__(
        self,
        agents: ChatAgent | Sequence[ChatAgent],
        store: Store | str = "memory://",
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        lease_ttl: float = 10.0,
        max_depth: int = MAX_DEPTH,
        retention: Retention | None = None,
        attachments: Attachments | None = None,
        role: Role = "all",
        max_runs: int | None = None,
    ) -> None:
        listed = [agents] if isinstance(agents, ChatAgent) else list(agents)
        self._agents = {agent.id: agent for agent in listed}
        if not listed or len(self._agents) != len(listed):
            raise UsageError("agents are needed, each with an id of its own")
        self.store = open_store(store) if isinstance(store, str) else store
        self.role: Role = check_role(role, self.store)
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds()
        self.max_depth = max_depth
        files = find_attachment_store(self.store)
        self.attachments = SessionAttachments(attachments or Attachments(), files, self.clock, self.ids)
        self.metrics = Metrics()
        self._flusher = Flusher(self.store, self.clock, self.metrics)
        self._live: WeakValueDictionary[SessionKey, LiveSession] = WeakValueDictionary()
        self._worker = self._make_worker(lease_ttl, max_runs)
        self._runs = self._worker.runs
        self._started = False
        self._starting: asyncio.Lock | None = None
        self._is_looking_at_everything = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._looks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._keeper = (
            None if retention is None else Keeper(retention, self.store, self.clock, self.metrics, self._expire_session)
        )
        watch_runs(self.metrics, self._runs, self._live, lambda: self._worker.unserved)

    def _make_worker(self, lease_ttl: float, max_runs: int | None) -> Worker:
        if max_runs is not None and max_runs < 1:
            raise UsageError(f"max_runs is at least 1, not {max_runs}")
        owner = RandomIds().new("worker")
        return Worker(
            self.store,
            Leases(self.store, self.clock, self.metrics, owner=owner, ttl=lease_ttl),
            self._flusher,
            self.ids,
            self,
            agents=list(self._agents),
            find_live=self._find_live,
            on_closed=self._close_children,
            max_runs=max_runs,
            serves=self.role != "web",
        )

    @property
    def agents(self) -> Mapping[str, ChatAgent]:
        """The agents by id."""
        return MappingProxyType(self._agents)

    @property
    def active_runs(self) -> int:
        """How many sessions are served by a run in this process right now."""
        return len(self._runs)

    @property
    def draining(self) -> bool:
        """Whether `drain` or `aclose` was called."""
        return self._worker.draining

    # --- life

    async def start(self) -> None:
        """Open the store and take up the sessions that were left with unsettled inputs; a second call does nothing."""
        if self._started:
            return
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self._started:
                return
            if self._worker.draining:
                raise StoreUnavailableError("the session manager is closed")
            failpoints.read_environment()
            await self.store.open()
            self._unsubscribe = self.store.subscribe(self._on_notice)
            await self._worker.start()
            self._started = True
            if self._keeper is not None:
                self._keeping = asyncio.create_task(self._keeper.run())

    def drain(self) -> None:
        """Serve nothing new: no session is taken up any more, and those that wait for inputs are left to others.

        Turns that run go on, and appends are taken, for whoever serves them later. `aclose` comes next.
        """
        self._worker.drain()

    def hurry(self) -> None:
        """Let an `aclose` that waits for running turns cancel them now."""
        self._worker.hurry()

    async def aclose(self, *, grace: float = 20.0) -> None:
        """Let running turns end for up to `grace` seconds, cancel what is left, close the store.

        A cancelled turn is not lost: another process takes it up at once, or the next one that starts, and closes it
        with what was said (see `chatrt.runtime.recovery`).
        """
        self._worker.drain()
        if not self._started:
            return
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        await self._worker.aclose(grace)
        self._unsubscribe()
        self._unsubscribe = lambda: None
        for task in self._looks:
            task.cancel()
        await self._flusher.aclose()
        for live in self._live.values():
            live.outbox.end()
        await self.attachments.aclose()
        await self.store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose(grace=0.0)

    # --- sessions

    async def start_session(
        self,
        agent_id: str,
        chat_id: str | None = None,
        *,
        tenant: str = "",
        client_data: Any = None,
        metadata: dict[str, Any] | None = None,
        parent: Parent | None = None,
    ) -> Session:
        """Create a session, or return the one that has this chat id.

        Args:
            agent_id: The agent that serves it, for good.
            chat_id: 1 to 256 characters, none of them a control character; made up when missing.
            tenant: Separates the chats of unrelated customers.
            client_data: Holds for every input that brings none of its own.
            metadata: JSON-shaped; kept with the session.
            parent: The session that starts this one, and takes it along when it is closed or deleted.

        Raises:
            AgentNotFoundError: If no such agent is served here.
            AgentMismatchError: If the session exists and is another agent's.
            InvalidInputError: If the chat id is unusable.
        """
        await self.start()
        if agent_id not in self._agents:
            raise AgentNotFoundError(agent_id)
        key = SessionKey(tenant, check_chat_id(self.ids.new("chat") if chat_id is None else chat_id))
        row, _ = await self.store.create_session(
            key,
            agent=agent_id,
            metadata=metadata or {},
            client_data=client_data,
            at=self.clock.now(),
            parent=parent,
        )
        if row.agent != agent_id:
            raise AgentMismatchError(key.chat_id, agent_id)
        session = self._handle(row)
        session.note_row(row)
        return session

    async def get_session(self, chat_id: str, *, tenant: str = "") -> Session:
        """Return a session.

        Raises:
            SessionNotFoundError: If there is none of that id.
        """
        session = await self.find_session(chat_id, tenant=tenant)
        if session is None:
            raise SessionNotFoundError(chat_id)
        return session

    async def find_session(self, chat_id: str, *, tenant: str = "") -> Session | None:
        """Return a session, or None.

        Raises:
            AgentNotFoundError: If it belongs to an agent that is not served here.
        """
        await self.start()
        key = SessionKey(tenant, chat_id)
        live = self._live.get(key)
        if live is not None:
            return Session(live, self.clock, self.ids, self._wake)
        row = await self.store.find_session(key)
        return None if row is None else self._handle(row)

    async def close_session(self, chat_id: str, *, tenant: str = "", reason: str | None = None) -> None:
        """Let a session take no more records, for good. What was acknowledged before is still answered.

        The sessions it started are closed with it: at once, or when it has answered what it still has to.

        Raises:
            SessionNotFoundError: If there is none of that id.
        """
        await self.start()
        key = SessionKey(tenant, chat_id)
        with failpoints.writing("close.pre_commit"):
            row = await self.store.close_session(key, reason=reason, at=self.clock.now())
        failpoints.reach("close.recorded")
        live = self._live.get(key)
        if live is not None:
            live.note_row(row)
            self._wake(live)
        cursors = await self.store.read_cursors(key)
        if cursors.in_cursor >= cursors.last_in_seq:
            await self._close_children(row)

    async def _close_children(self, row: SessionRow) -> None:
        for chat_id in await self._find_children(row.key, status="open"):
            with suppress(SessionNotFoundError):  # deleted meanwhile
                await self.close_session(chat_id, tenant=row.key.tenant, reason=row.closed_reason)

    async def _find_children(self, key: SessionKey, status: SessionStatus | None = None) -> list[str]:
        rows = self.store.iter_sessions(key.tenant, parent=key.chat_id, status=status)
        return [row.key.chat_id async for row in rows]

    async def delete_session(self, chat_id: str, *, tenant: str = "") -> bool:
        """Remove a session with everything in it and the sessions it started; False if there was none."""
        await self.start()
        key = SessionKey(tenant, chat_id)
        live = self._live.get(key)
        if live is not None and live.run_task is not None:
            if key in self._runs:
                self._runs[key].drain()
            live.run_task.cancel()
            await asyncio.wait({live.run_task})
        for child in await self._find_children(key):
            await self.delete_session(child, tenant=tenant)
        await self.attachments.delete_all(key)
        deleted = await self.store.delete_session(key)
        self._let_go(key)
        return deleted

    def _let_go(self, key: SessionKey) -> None:
        live = self._live.pop(key, None)
        if live is not None:
            live.outbox.end()

    async def _expire_session(self, row: SessionRow, before: float) -> bool:
        """Remove a session and those it started if none of them has moved since; a file outlives nothing it is in."""
        if not await is_family_idle(self.store, row.key, before=before):
            return False
        children = await self._find_children(row.key)
        files = await self.attachments.find_in_bucket(row.key)
        if not await self.store.delete_expired(row.key, before=before, at=self.clock.now()):
            return False
        await self.attachments.forget(row.key, files)
        self._let_go(row.key)
        for child in children:
            await self.delete_session(child, tenant=row.key.tenant)
        return True

    def _handle(self, row: SessionRow) -> Session:
        return Session(self._find_live(row), self.clock, self.ids, self._wake)

    def _find_live(self, row: SessionRow) -> LiveSession:
        live = self._live.get(row.key)
        if live is None:
            if row.agent not in self._agents:
                raise AgentNotFoundError(row.agent)
            live = LiveSession(row, self._agents[row.agent], self.store, self.attachments, self.metrics)
            self._live[row.key] = live
        return live

    def _wake(self, live: LiveSession, appended: Appended | None = None) -> None:
        live = self._live.setdefault(live.row.key, live)  # a handle from before a delete has another one
        self._worker.wake(live, appended)

    # --- other processes

    def _on_notice(self, notice: Notice) -> None:
        """Look at what another process has written."""
        live = None if notice.key is None else self._live.get(notice.key)
        match notice.kind:
            case "out" if live is not None:
                live.outbox.follow(notice.seq)
                if live.row.status == "closed":
                    self._look(self._refresh(live))  # this may have been the last that it answers
            case "in" | "free" if live is not None and live.run_task is not None:
                live.arrived.set()
            case "free":
                self._worker.look(soon=True)
            case "session" if live is not None:
                self._look(self._refresh(live))
            case "all" if not self._is_looking_at_everything:
                self._is_looking_at_everything = True
                self._look(self._look_at_everything())
            case _:
                pass

    def _look(self, looking: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._quietly(looking))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _quietly(self, looking: Coroutine[Any, Any, None]) -> None:
        try:
            await looking
        except StoreError as error:
            logger.warning("the store is unavailable: %s", error)
        except Exception:
            logger.exception("what another process wrote was not looked at")

    async def _refresh(self, live: LiveSession) -> None:
        """Take over what is known of a session; readers of one that is closed or gone come to their end."""
        row = await self.store.find_session(live.row.key)
        if row is None:
            live.outbox.end()
            self._live.pop(live.row.key, None)
            return
        live.row = row
        if row.status == "closed":
            live.arrived.set()
            cursors = await self.store.read_cursors(row.key)
            if live.run_task is None and cursors.in_cursor >= cursors.last_in_seq:
                live.outbox.follow(cursors.out_last_seq)
                live.outbox.end()

    async def _look_at_everything(self) -> None:
        self._worker.look(soon=True)
        try:
            for live in list(self._live.values()):
                live.outbox.look_again()
                if live.run_task is not None:
                    live.arrived.set()
                else:
                    await self._refresh(live)
        finally:
            self._is_looking_at_everything = False
