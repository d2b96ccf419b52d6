"""The session manager: every session that is live in this process, and what every wire and client goes through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Self
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
from chatrt.metrics import LOST_LEASES, STORE_ERRORS, Metrics
from chatrt.runtime.asks import MAX_DEPTH
from chatrt.runtime.attachments import SessionAttachments
from chatrt.runtime.catalogue import Catalogue, check_chat_id
from chatrt.runtime.flusher import Flusher
from chatrt.runtime.gauges import watch_runs
from chatrt.runtime.retention import Keeper, Retention, is_family_idle
from chatrt.runtime.run import Run
from chatrt.runtime.session import LiveSession, Session
from chatrt.stores import (
    Lease,
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

SWEEPS_PER_TTL = 3
RELEASE_ANYWAY = 2**62


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

    Raises:
        UsageError: If two agents have the same id, or there is none.
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
    ) -> None:
        listed = [agents] if isinstance(agents, ChatAgent) else list(agents)
        self._agents = {agent.id: agent for agent in listed}
        if not listed or len(self._agents) != len(listed):
            raise UsageError("agents are needed, each with an id of its own")
        self.store = open_store(store) if isinstance(store, str) else store
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds()
        self.max_depth = max_depth
        files = find_attachment_store(self.store)
        self.attachments = SessionAttachments(attachments or Attachments(), files, self.clock, self.ids)
        self.metrics = Metrics()
        self._flusher = Flusher(self.store, self.clock, self.metrics)
        self._lease_ttl = lease_ttl
        self._owner = RandomIds().new("worker")
        self._live: WeakValueDictionary[SessionKey, LiveSession] = WeakValueDictionary()
        self._runs: dict[SessionKey, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._starting: asyncio.Lock | None = None
        self._draining = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._looks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._keeper = (
            None if retention is None else Keeper(retention, self.store, self.clock, self.metrics, self._expire_session)
        )
        self._unserved = watch_runs(self.metrics, self._runs, self._live)

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
        """Whether `aclose` was called."""
        return self._draining

    # --- life

    async def start(self) -> None:
        """Open the store and take up the sessions that were left with unsettled inputs; a second call does nothing."""
        if self._sweeper is not None and not self._draining:
            return
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self._sweeper is not None:
                return
            if self._draining:
                raise StoreUnavailableError("the session manager is closed")
            failpoints.read_environment()
            await self.store.open()
            self._unsubscribe = self.store.subscribe(self._on_notice)
            await self._take_up_unserved()
            self._sweeper = asyncio.create_task(self._sweep())
            if self._keeper is not None:
                self._keeping = asyncio.create_task(self._keeper.run())

    async def aclose(self, *, grace: float = 20.0) -> None:
        """Let running turns end for up to `grace` seconds, cancel what is left, close the store.

        A cancelled turn is not lost: the next run closes it with what was said (see `chatrt.runtime.recovery`).
        """
        self._draining = True
        if self._sweeper is None:
            return
        self._unsubscribe()
        self._sweeper.cancel()
        await asyncio.wait({self._sweeper})
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        for run in self._runs.values():
            run.drain()
        failpoints.reach("shutdown.drain")
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
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
        live = self._live.get(row.key)
        if live is None:
            if row.agent not in self._agents:
                raise AgentNotFoundError(row.agent)
            live = self._make_live(row)
        return Session(live, self.clock, self.ids, self._wake)

    def _make_live(self, row: SessionRow) -> LiveSession:
        live = self._live[row.key] = LiveSession(
            row, self._agents[row.agent], self.store, self.attachments, self.metrics
        )
        return live

    # --- runs

    def _wake(self, live: LiveSession) -> None:
        """See to it that somebody reads what was just appended."""
        live = self._live.setdefault(live.row.key, live)  # a handle from before a delete has another one
        live.arrived.set()
        if live.run_task is None and not self._draining:
            live.run_task = asyncio.create_task(self._serve(live))
            self._tasks.add(live.run_task)
            live.run_task.add_done_callback(self._tasks.discard)

    async def _serve(self, live: LiveSession) -> None:
        try:
            while live.arrived.is_set() and not self._draining:
                lease = await self.store.acquire_lease(
                    live.row.key, owner=self._owner, ttl=self._lease_ttl, at=self.clock.now()
                )
                if lease is None:
                    live.arrived.clear()  # whoever holds it is told by the store
                    return
                failpoints.reach("lease.acquired")
                await self._run(live, lease)
                if live.arrived.is_set():
                    continue  # the next run answers what this one has left
                # Another process may have closed it, so the store is asked.
                row = await self.store.find_session(live.row.key)
                if row is not None and row.status == "closed":
                    await self._close_children(row)
        except StoreError as error:
            self.metrics.add(STORE_ERRORS, 1, error.code)
            logger.exception("the run of chat %s ended; it is taken up again later", live.row.key.chat_id)
        except SessionNotFoundError:
            logger.info("chat %s was deleted", live.row.key.chat_id)
        except Exception:
            logger.exception("the run of chat %s broke; it is taken up again later", live.row.key.chat_id)
        finally:
            live.run_task = None

    async def _run(self, live: LiveSession, lease: Lease) -> None:
        run = Run(live, lease, self._flusher, self.ids, self)
        self._runs[live.row.key] = run
        if self._draining:
            run.drain()
        try:
            await run.serve()
        except BaseException:
            await asyncio.shield(self._give_back(lease))
            raise
        else:
            if self._draining:
                await self._give_back(lease)
        finally:
            del self._runs[live.row.key]
            live.outbox.leave()
            if live.row.status == "closed" and not live.arrived.is_set():
                live.outbox.end()

    async def _give_back(self, lease: Lease) -> None:
        try:
            await self.store.release_lease(lease, in_cursor=RELEASE_ANYWAY)
        except (StoreError, SessionNotFoundError) as error:
            logger.info("a lease was not given back: %s", error)

    # --- other processes

    def _on_notice(self, notice: Notice) -> None:
        """Look at what another process has written."""
        if self._draining:
            return
        live = None if notice.key is None else self._live.get(notice.key)
        match notice.kind:
            case "out" if live is not None:
                live.outbox.follow(notice.seq)
                if live.row.status == "closed":
                    self._look(self._refresh(live))  # this may have been the last that it answers
            case "in" if live is not None and live.run_task is not None:
                live.arrived.set()
            case "in" | "free":
                self._look(self._take_up_unserved())
            case "session" if live is not None:
                self._look(self._refresh(live))
            case "all":
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
        for live in list(self._live.values()):
            live.outbox.look_again()
            if live.run_task is not None:
                live.arrived.set()
            else:
                await self._refresh(live)
        await self._take_up_unserved()

    # --- leases

    async def _sweep(self) -> None:
        """Renew the leases and take up what nobody serves, a few times in every lease's life."""
        while True:
            await self.clock.sleep(self._lease_ttl / SWEEPS_PER_TTL)
            try:
                await self._renew()
                await self._take_up_unserved()
                self._unserved.found(await self.store.count_unserved(at=self.clock.now()))
            except StoreError as error:
                self.metrics.add(STORE_ERRORS, 1, error.code)
                logger.warning("the store is unavailable: %s", error)
            except Exception:
                logger.exception("a round over the leases failed; the next one comes")

    async def _renew(self) -> None:
        if not self._runs:
            return
        leases = [run.lease for run in self._runs.values()]
        with failpoints.writing("lease.pre_renew"):
            lost = await self.store.renew_leases(leases, ttl=self._lease_ttl, at=self.clock.now())
        for lease in lost:
            run = self._runs.get(lease.key)
            if run is not None and run.lease.epoch == lease.epoch:
                failpoints.reach("lease.lost")
                run.lose_lease()
                self.metrics.add(LOST_LEASES)

    async def _take_up_unserved(self) -> None:
        keys = await self.store.find_unserved(at=self.clock.now(), agents=list(self._agents))
        for key in keys:
            row = await self.store.find_session(key)
            if row is None or row.agent not in self._agents:
                continue
            self._wake(self._live.get(key) or self._make_live(row))
