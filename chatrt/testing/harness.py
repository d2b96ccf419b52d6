"""The harness: one chat with an agent under test, on the real runtime, without a server, a network or a real clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

from pydantic import TypeAdapter

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat, ChatStream, ToolCall, pending_tool_calls
from chatrt.clock import ManualClock
from chatrt.errors import AgentNotFoundError, UsageError
from chatrt.history import History
from chatrt.ids import CountingIds, Ids, RandomIds
from chatrt.models import Model
from chatrt.models.resolve import ChooseModel
from chatrt.runtime import Session, SessionManager
from chatrt.stores import MemoryStore, SessionKey, Store, open_store
from chatrt.testing.reading import LiveRecords, Reader, SentInput, TurnResult, chunks_of, to_result
from chatrt.testing.rest import come_to_rest
from chatrt.testing.seeds import Seed, SeedInput, plant
from chatrt.testing.watched_store import LogRecord, Stream, log_of
from chatrt.testing.worker import Setting, TestersModels, Worker
from chatrt.ui import UIMessage, UIMessageChunk, UIPart

_json: TypeAdapter[Any] = TypeAdapter(Any)


class ChatHarness:
    """One chat with an agent under test.

        async with ChatHarness(support, model=ScriptedModel(["Hello."])) as chat:
            result = await chat.send("Hi")
            assert (result.status, result.text) == ("completed", "Hello.")

    It is the real runtime on a memory store: real records with real numbers, real leases, a clock that stands still
    until `advance` moves it, and ids that count. A worker can be killed and another one started.

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
        self._log = log_of(self.store)
        self._setting = Setting(
            key=SessionKey(tenant, self.ids.new("chat") if chat_id is None else chat_id),
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            lease_ttl=lease_ttl,
            client_data=_to_json(client_data),
            metadata=metadata or {},
        )
        self._seed = Seed(messages=messages, unsettled=unsettled, unfinished=unfinished)
        self._model = model
        self._models = TestersModels(None)
        self._worker: Worker | None = None
        self._stored = History()
        self._readers: list[Reader] = []

    # --- life

    async def open(self) -> None:
        """Open the store, plant the seeds, start the first worker. `async with` does it."""
        setting, key = self._setting, self._setting.key
        self._models = TestersModels(self._model)
        await self.store.open()
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

    async def aclose(self) -> None:
        """End whatever runs, and close the store."""
        await self.disconnect()
        if self._worker is not None:
            await self.crash(keep_lease=True)
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
        await worker.start()
        self._worker = worker

    # --- inputs that are answered

    async def send(
        self,
        message: str | UIMessage | None = None,
        *,
        parts: Sequence[UIPart] | None = None,
        message_id: str | None = None,
        client_data: Any = None,
    ) -> TurnResult:
        """Send a message and wait for the end of its turn.

        Args:
            message: A text, or a message: a user's, or an assistant's with tool calls that the client answered.
            parts: The parts of a user message, instead of `message`.
            message_id: The id of the user message. One that the history knows makes this an edit.
            client_data: Instead of the chat's own.
        """
        sent = await self.start(message, parts=parts, message_id=message_id, client_data=client_data)
        return await sent.result()

    async def start(
        self,
        message: str | UIMessage | None = None,
        *,
        parts: Sequence[UIPart] | None = None,
        message_id: str | None = None,
        client_data: Any = None,
    ) -> SentInput:
        """Send a message as `send` does, and return as soon as it is durable."""
        data = _given(client_data)
        return await self._start(lambda c: c.send_message(message, parts=parts, message_id=message_id, **data))

    async def regenerate(self, message_id: str | None = None, *, client_data: Any = None) -> TurnResult:
        """Ask for another answer in place of the last one, or of the one with that id."""
        return await (await self.start_regenerate(message_id, client_data=client_data)).result()

    async def start_regenerate(self, message_id: str | None = None, *, client_data: Any = None) -> SentInput:
        """Ask for another answer as `regenerate` does, and return as soon as that is durable."""
        data = _given(client_data)
        return await self._start(lambda c: c.regenerate(message_id, **data))

    async def act(self, action: Any, *, client_data: Any = None) -> TurnResult:
        """Ask for an action, JSON-shaped or a pydantic model. One that is refused gives a result that says `failed`."""
        return await (await self.start_action(action, client_data=client_data)).result()

    async def start_action(self, action: Any, *, client_data: Any = None) -> SentInput:
        """Ask for an action as `act` does, and return as soon as that is durable."""
        data = _given(client_data)
        return await self._start(lambda c: c.send_action(_to_json(action), **data))

    async def approve(
        self,
        call: str | ToolCall,
        approved: bool = True,  # noqa: FBT001, FBT002 - the order is how one says it: approve("refund", False)
        *,
        reason: str | None = None,
        client_data: Any = None,
    ) -> TurnResult:
        """Approve or deny a call that waits for it, and wait for what the agent makes of it.

        Args:
            call: The call, its id, the id of the approval, or the name of its tool if one call of it waits.
            approved: Whether the tool may run.
            reason: Shown to the model.
            client_data: Instead of the chat's own.

        Raises:
            UsageError: If no such call waits, or several do.
        """
        waiting = await self._find_waiting(call, "approval-requested")
        data = _given(client_data)
        approval_id = waiting.approval_id or ""
        return await (
            await self._start(lambda c: c.approve(approval_id, approved, reason=reason, **data))
        ).result()

    async def answer(
        self, call: str | ToolCall, output: Any = None, *, error_text: str | None = None, client_data: Any = None
    ) -> TurnResult:
        """Answer a call of a tool that the client runs, and wait for what the agent makes of it.

        Args:
            call: The call, its id, or the name of its tool if one call of it waits.
            output: What the tool gave.
            error_text: Why it failed, instead of an output.
            client_data: Instead of the chat's own.

        Raises:
            UsageError: If no such call waits, or several do.
        """
        waiting = await self._find_waiting(call, "input-available")
        data = _given(client_data)
        answer = _to_json(output)
        return await (
            await self._start(
                lambda c: c.add_tool_output(waiting.tool_call_id, answer, error_text=error_text, **data)
            )
        ).result()

    def sent(self, in_seq: int) -> SentInput:
        """Return the input of that number, whoever sent it: one of `unsettled`, for instance, which begin with 1."""
        live = LiveRecords(self._log, self.key, lambda: self._worker is not None)
        return SentInput(in_seq, live, self._finish)

    # --- beside the turns

    async def stop(self, reason: str | None = None) -> bool:
        """Stop the turn that runs, without waiting for its end; False if none runs."""
        worker = self._up()
        return await worker.do(worker.chat.stop(reason))

    async def preload(self) -> None:
        """Do what a client does that opens a chat before it has something to say."""
        worker = self._up()
        self._models.look()
        await worker.do(worker.chat.preload())
        await self.settle()

    async def close(self, reason: str | None = None) -> bool:
        """Close the session for good: it takes no more inputs."""
        worker = self._up()
        closed = await worker.do(worker.chat.close(reason))
        await self.settle()
        return closed

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

    async def settle(self) -> None:
        """Let everything run that can, without letting time pass."""
        await come_to_rest(None if self._worker is None else self._worker.store.wait_outside)

    # --- looking

    @property
    def key(self) -> SessionKey:
        """The tenant and the chat id."""
        return self._setting.key

    @property
    def chat_id(self) -> str:
        """The chat id."""
        return self.key.chat_id

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

    def records(self, stream: Stream) -> list[LogRecord]:
        """Return all records that `".in"` or `".out"` ever had, also those that the store has trimmed since."""
        return self._log.records(self.key, stream)

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

    def _up(self) -> Worker:
        if self._worker is None:
            raise UsageError("no worker is up: restart() one")
        return self._worker

    async def _ended(self) -> None:
        self._worker = None
        self._log.announce()
        snapshot = await self.store.load_snapshot(self.key)
        self._stored = History(node.message for node in snapshot.nodes)

    async def _start(self, make: Callable[[AgentChat], ChatStream]) -> SentInput:
        worker = self._up()
        self._models.look()
        stream = make(worker.chat)

        async def send() -> int:
            return (await stream).seq

        return self.sent(await worker.do(send()))

    async def _finish(self, sent: SentInput) -> TurnResult:
        worker = self._up()

        def is_over() -> bool:
            running = worker.session.running
            return running is None or running.in_seq != sent.in_seq

        await come_to_rest(worker.store.wait_outside, until=is_over)
        return await to_result(worker.transport, self.chat_id, sent.in_seq, sent.records)

    async def _find_waiting(self, call: str | ToolCall, state: str) -> ToolCall:
        name = call if isinstance(call, str) else call.tool_call_id
        worker = self._up()
        messages = await worker.do(worker.chat.messages())
        waiting = [w for m in messages for w in pending_tool_calls(m) if w.state == state]
        found = [w for w in waiting if name in (w.tool_call_id, w.approval_id, w.tool_name)]
        if len(found) != 1:
            open_calls = ", ".join(f"{w.tool_name} ({w.tool_call_id})" for w in waiting) or "none"
            raise UsageError(f"{len(found)} calls wait that {name!r} could mean; waiting: {open_calls}")
        return found[0]


def _listed(agent: ChatAgent | Sequence[ChatAgent]) -> list[ChatAgent]:
    agents = [agent] if isinstance(agent, ChatAgent) else list(agent)
    if not agents:
        raise UsageError("a harness needs an agent")
    return agents


def _given(client_data: Any) -> dict[str, Any]:
    return {} if client_data is None else {"client_data": _to_json(client_data)}


def _to_json(value: Any) -> Any:
    return cast("Any", _json.dump_python(value, mode="json", by_alias=True))
