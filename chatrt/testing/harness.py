"""The harness: one chat with an agent under test, on the real runtime, without a server, a network or a real clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.clock import ManualClock
from chatrt.errors import AgentNotFoundError, UsageError
from chatrt.history import History
from chatrt.ids import CountingIds, Ids, RandomIds
from chatrt.models import Model
from chatrt.models.resolve import ChooseModel
from chatrt.run_locals import Local
from chatrt.runtime import Session, SessionManager
from chatrt.stores import MemoryStore, SessionKey, Store, open_store
from chatrt.testing.reading import Reader, chunks_of
from chatrt.testing.seeds import Seed, SeedInput, plant
from chatrt.testing.sending import Sending, to_json
from chatrt.testing.watched_store import log_of
from chatrt.testing.worker import Setting, TestersModels, Worker
from chatrt.ui import UIMessage, UIMessageChunk


class ChatHarness(Sending):
    """One chat with an agent under test.

        async with ChatHarness(support, model=ScriptedModel(["Hello."])) as chat:
            result = await chat.send("Hi")
            assert (result.status, result.text) == ("completed", "Hello.")

    It is the real runtime on a memory store: real records with real numbers, real leases, a clock that stands still
    until `advance` moves it, and ids that count. A worker can be killed and another one started.

    The agent runs in a copy of the context in which a worker is started: what a test has set of context variables until
    then is what hooks, `run` and tools find.

    Args:
        agent: The agent, or all the agents that are served.
        agent_id: Whose chat this is, where several agents are served; by default the first one's.
        chat_id: The chat; a fresh one if none is given.
        tenant: Of the session.
        client_data: What the client sends along with everything, JSON-shaped or a pydantic model.
        metadata: Of the session.
        messages: The stored history: earlier runs have served the chat.
        unsettled: Inputs that were acknowledged and not answered before the first worker starts: texts, messages, or
            `{"kind": "regenerate" | "action" | "stop", ...}`.
        unfinished: Chunks that a dead worker had written of its answer to the first of them.
        model: Stands in for every model the agent asks for; see `override_model` for what it may be.
        locals: Values of locals, in every run and in spite of `init` and of what is stored; see `local_values`.
        store: A store or its URL instead of a memory store of its own; it is closed at the end.
        clock: A clock to share.
        ids: Where ids come from; by default they count, and are random on a store that was given.
        lease_ttl: Seconds after which another worker may take over from one that is silent.

    Raises:
        AgentNotFoundError: If `agent_id` is none of the agents.
    """

    __test__ = False  # pytest need not look for tests in it

    def __init__(
        self,
        agent: ChatAgent | Sequence[ChatAgent],
        *,
        agent_id: str | None = None,
        chat_id: str | None = None,
        tenant: str = "",
        client_data: Any = None,
        metadata: dict[str, Any] | None = None,
        messages: Sequence[UIMessage] = (),
        unsettled: Sequence[SeedInput] = (),
        unfinished: Sequence[UIMessageChunk] | None = None,
        model: Model | Mapping[str, Model] | ChooseModel | None = None,
        locals: Mapping[Local[Any], Any] | None = None,  # noqa: A002 - the word of `chatrt.local`
        store: Store | str | None = None,
        clock: ManualClock | None = None,
        ids: Ids | None = None,
        lease_ttl: float = 10.0,
    ) -> None:
        self._agents = _listed(agent)
        self._agent_id = self._agents[0].id if agent_id is None else agent_id
        if all(known.id != self._agent_id for known in self._agents):
            raise AgentNotFoundError(self._agent_id)
        self.clock = clock or ManualClock()
        self.ids: Ids = ids or (CountingIds() if store is None else RandomIds())
        self.store = open_store(store) if isinstance(store, str) else store or MemoryStore()
        setting = Setting(
            key=SessionKey(tenant, self.ids.new("chat") if chat_id is None else chat_id),
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            lease_ttl=lease_ttl,
            client_data=to_json(client_data),
            metadata=metadata or {},
            locals=locals or {},
        )
        super().__init__(setting, log_of(self.store))
        self._seed = Seed(messages=messages, unsettled=unsettled, unfinished=unfinished)
        self._model = model
        self._stored = History()
        self._readers: list[Reader] = []

    # --- life

    async def open(self) -> None:
        """Open the store, plant the seeds, start the first worker. `async with` does it."""
        setting, key = self._setting, self._setting.key
        self._models = TestersModels(self._model)
        await self.store.open()
        try:
            await self.store.create_session(
                key,
                agent=self._agent_id,
                metadata=setting.metadata,
                client_data=setting.client_data,
                at=self.clock.now(),
            )
            if self._seed:
                await plant(self._seed, self.store, key, clock=self.clock, ids=self.ids)
            await self._log.read(self.store, key)
            await self.restart()
        except BaseException:
            await self.store.close()
            raise

    async def aclose(self) -> None:
        """End whatever runs, and close the store."""
        await self.disconnect()
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                self._stored = worker.session.history
                await worker.kill()
                self._log.announce()
        finally:
            await self.store.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def crash(self, *, keep_lease: bool = False) -> None:
        """Drop the worker as a kill does: what is not stored is lost.

        Python code cannot really be killed: a `finally` of the agent still runs, but nothing it writes to the chat gets
        through. What is stored can be looked at meanwhile.

        Args:
            keep_lease: Whether the dead worker's lease lives on until it runs out, as where many processes share a
                database. Otherwise it ends here, as when the one process that has a file comes back.

        Raises:
            UsageError: If no worker is up.
        """
        worker = self._up()
        await worker.kill()
        if not keep_lease:
            await self.store.close()
            await self.store.open()
        await self._ended()

    async def drain(self, *, grace: float = 20.0) -> None:
        """Shut the worker down as a deploy does: the turn at hand may end, what waits is the next worker's.

        Args:
            grace: Real seconds after which a turn that goes on is cut; 0 cuts it at once.

        Raises:
            UsageError: If no worker is up.
        """
        await self._up().drain(grace)
        await self._ended()

    async def restart(self, agent: ChatAgent | Sequence[ChatAgent] | None = None) -> None:
        """Start a worker after a crash or a drain; it takes up what was left.

        Args:
            agent: Newer code of the agent, or of all agents.

        Raises:
            UsageError: If a worker is up.
        """
        if self._worker is not None:
            raise UsageError("a worker is up: crash() or drain() it first")
        if agent is not None:
            self._agents = _listed(agent)
        self._models.look()
        worker = Worker(self._agents, self._agent_id, self._setting, self._models)
        try:
            await worker.start()
        except BaseException:
            await worker.kill()
            raise
        self._worker = worker

    def connect(self, after: int = 0) -> Reader:
        """Return a reader of `.out` that begins behind a cursor."""
        reader = Reader(lambda: self._up().session.outbox, after)
        self._readers.append(reader)
        return reader

    async def disconnect(self) -> None:
        """Disconnect every reader; no turn is touched by it."""
        for reader in self._readers:
            await reader.disconnect()

    # --- time

    async def advance(self, seconds: float) -> None:
        """Let time pass: everything that is due meanwhile happens, each at its own time, with all that follows from it.

        Returns when nothing is left to do at the new time, but for work that waits for something outside of the loop.
        """
        end = self.clock.monotonic() + seconds
        self._models.look()
        await self.settle()
        while (due := self.clock.next_due) is not None and due <= end:
            self.clock.advance_to(due)
            await self.settle()
        self.clock.advance_to(end)
        await self.settle()

    # --- looking

    @property
    def client(self) -> AgentChat:
        """The client through which everything is sent, for what else it can do."""
        return self._up().chat

    @property
    def sessions(self) -> SessionManager:
        """The session manager of the worker that is up."""
        return self._up().sessions

    @property
    def session(self) -> Session:
        """The session, as the worker that is up knows it."""
        return self._up().session

    @property
    def history(self) -> History:
        """The history as the run has it in memory, or had it last; of a worker that is down, as it is stored."""
        return self._stored if self._worker is None else self._worker.session.history

    @property
    def messages(self) -> list[UIMessage]:
        """The messages of the history."""
        return self.history.all()

    @property
    def chunks(self) -> list[UIMessageChunk]:
        """All chunks that `.out` ever had."""
        return chunks_of(self.records(".out"))

    @property
    def is_running(self) -> bool:
        """Whether a turn or an action is being served now."""
        return self._worker is not None and self._worker.session.running is not None

    @property
    def is_in_memory(self) -> bool:
        """Whether a run has the chat in memory, with a turn or waiting for one."""
        return self._worker is not None and self._worker.session.is_served

    # --- inside

    async def _ended(self) -> None:
        self._worker = None
        self._log.announce()
        snapshot = await self.store.load_snapshot(self.key)
        self._stored = History(node.message for node in snapshot.nodes)


def _listed(agent: ChatAgent | Sequence[ChatAgent]) -> list[ChatAgent]:
    agents = [agent] if isinstance(agent, ChatAgent) else list(agent)
    if not agents:
        raise UsageError("a harness needs an agent")
    return agents
