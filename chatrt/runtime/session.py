"""A session as this process knows it: a handle for everybody, and one shared live part behind all handles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from chatrt.agent import ChatAgent
from chatrt.clock import Clock
from chatrt.codec import loads
from chatrt.history import History
from chatrt.ids import Ids
from chatrt.pending_messages import PendingMessage
from chatrt.runtime.inbox import Inbox
from chatrt.runtime.outbox import Outbox
from chatrt.stores import Cursors, Node, Record, SessionKey, SessionRow, Snapshot, Store
from chatrt.turn import Trigger
from chatrt.ui import UIMessage

Status = Literal["idle", "running", "closed"]

UNANSWERED = frozenset({"stop", "close", "edit", "withdraw", "preload", "head-chunks", "handover", "handover-skip"})
"""Inputs that may be settled without a record on `.out`; what a preload writes begins with a `turn-start`."""


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """The turn or action that runs in this process now.

    Attributes:
        in_seq: The input it settles.
        trigger: What kind of input that is.
        message_id: The message it makes.
        messages: The history as it began: with the question, without the answer.
        branches: Where these have alternatives, as `History.branches` tells it.
    """

    in_seq: int
    trigger: Trigger
    message_id: str
    messages: list[UIMessage]
    branches: dict[str, list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a session stands.

    Attributes:
        cursor: The `.out` cursor of the last settled input; what is read after it belongs to unsettled ones.
        in_cursor: The last settled `.in` record.
        last_in_seq: The newest `.in` record.
        status: `running` while something is still to come on `.out` after the cursor.
    """

    cursor: int
    in_cursor: int
    last_in_seq: int
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState(Position):
    """The messages, and the position that belongs to them.

    Attributes:
        messages: What the running turn stands on, its question included; when none runs, all that is committed. What is
            read of `.out` after `cursor` came after these messages.
        pending: User messages that wait for their turn.
        branches: Where the messages have alternatives, as `History.branches` tells it. Empty for an agent that
            hydrates: the application owns the tree then.
    """

    messages: list[UIMessage]
    pending: list[PendingMessage]
    branches: dict[str, list[str]]


class LiveSession:
    """What all handles of one session in this process share, and what a run of it fills."""

    def __init__(self, row: SessionRow, agent: ChatAgent, store: Store) -> None:
        self.row = row
        self.agent = agent
        self.store = store
        self.outbox = Outbox(row.key, store)
        self.history = History()
        self.running: RunningTurn | None = None
        self.injected: list[Record] = []
        self.arrived = asyncio.Event()
        self.run_task: asyncio.Task[None] | None = None
        self.last_in_seq = 0

    async def load_nodes(self, snapshot: Snapshot) -> list[Node]:
        """Read what a history is made of: the whole tree where it has branches, unless the application owns them."""
        if snapshot.branched and self.agent.hooks.hydrate_messages is None:
            return await self.store.load_tree(self.row.key)
        return snapshot.nodes


class Session:
    """A handle of a session; cheap to make and to drop.

    Attributes:
        inbox: Where to say something to the session.
        outbox: Where to read what it answers.
    """

    def __init__(self, live: LiveSession, clock: Clock, ids: Ids, wake: Callable[[LiveSession], None]) -> None:
        self._live = live
        self.inbox = Inbox(
            live.row.key, live.store, clock, ids, lambda: wake(live), rejects=live.agent.when_busy == "reject"
        )
        self.outbox = live.outbox

    @property
    def key(self) -> SessionKey:
        """The tenant and the chat id."""
        return self._live.row.key

    @property
    def chat_id(self) -> str:
        """The public id."""
        return self.key.chat_id

    @property
    def agent(self) -> ChatAgent:
        """The agent it belongs to."""
        return self._live.agent

    @property
    def row(self) -> SessionRow:
        """What the store knows of it beside records and messages."""
        return self._live.row

    @property
    def history(self) -> History:
        """The live accumulator while a run serves the session, else what `load` read last. To look at, not to touch."""
        return self._live.history

    @property
    def running(self) -> RunningTurn | None:
        """The turn or action that runs in this process now."""
        return self._live.running

    @property
    def is_served(self) -> bool:
        """Whether a run in this process has it in memory, with a turn or waiting for one."""
        return self._live.run_task is not None

    async def load(self) -> SessionState:
        """Read the messages and the cursors that belong to them."""
        before = self._live.running
        snapshot = await self._live.store.load_snapshot(self.key)
        waiting = await self._waiting(snapshot)
        history = History.from_nodes(await self._live.load_nodes(snapshot), snapshot.leaf_id)
        if self._live.run_task is None:
            self._live.history = history
        messages, branches, taken_up = history.all(), history.branches(), snapshot.in_cursor
        running = self._live.running or before
        if running is not None and running.in_seq > snapshot.in_cursor:
            messages, branches, taken_up = list(running.messages), running.branches, running.in_seq
        position = self._position(snapshot, waiting)
        return SessionState(
            messages=messages,
            branches=branches,
            pending=self._pending(taken_up, snapshot, waiting),
            cursor=position.cursor,
            in_cursor=position.in_cursor,
            last_in_seq=position.last_in_seq,
            status=position.status,
        )

    async def _waiting(self, cursors: Cursors | Snapshot) -> list[Record]:
        """Read the inputs behind the cursor."""
        found: list[Record] = []
        cursor = cursors.in_cursor
        while cursor < cursors.last_in_seq and (page := await self._live.store.read_in(self.key, after=cursor)):
            found += page
            cursor = page[-1].seq
        return found

    def _pending(self, taken_up: int, snapshot: Snapshot, records: list[Record]) -> list[PendingMessage]:
        waiting: dict[int, UIMessage] = {}
        for record in records:
            if record.seq <= taken_up:
                continue
            body: dict[str, Any] = loads(record.body)
            match record.kind:
                case "message" if body["message"]["role"] == "user":
                    waiting[record.seq] = body["message"]
                case "edit" if body["inSeq"] in waiting:
                    waiting[body["inSeq"]] = cast("UIMessage", {**body["message"], "id": waiting[body["inSeq"]]["id"]})
                case "withdraw":
                    waiting.pop(body["inSeq"], None)
                case _:
                    pass
        taken = {record.seq for record in self._live.injected} | set(snapshot.state.get("withdrawn", ()))
        return [PendingMessage(in_seq=seq, message=message) for seq, message in waiting.items() if seq not in taken]

    async def position(self) -> Position:
        """Read where the session stands, without its messages."""
        cursors = await self._live.store.read_cursors(self.key)
        return self._position(cursors, await self._waiting(cursors))

    def _position(self, cursors: Cursors | Snapshot, waiting: list[Record]) -> Position:
        unsettled = (
            cursors.out_last_seq > cursors.settled_seq
            or (self._live.running is not None and self._live.running.in_seq > cursors.in_cursor)
            or any(record.kind not in UNANSWERED for record in waiting)
        )
        status: Status = "running" if unsettled else "closed" if self.row.status == "closed" else "idle"
        return Position(
            cursor=cursors.settled_seq,
            in_cursor=cursors.in_cursor,
            last_in_seq=cursors.last_in_seq,
            status=status,
        )
