"""A session as this process knows it: a handle for everybody, and one shared live part behind all handles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, cast

from chatrt.agent import ChatAgent
from chatrt.clock import Clock
from chatrt.codec import check, loads
from chatrt.errors import SessionNotFoundError
from chatrt.history import History
from chatrt.ids import Ids
from chatrt.metrics import Metrics
from chatrt.pending_messages import PendingMessage
from chatrt.runtime.attachments import SessionAttachments
from chatrt.runtime.in_progress import TurnInProgress, find_turn_in_progress
from chatrt.runtime.inbox import Inbox
from chatrt.runtime.leases import Taken
from chatrt.runtime.outbox import Outbox
from chatrt.runtime.prompt_files import PromptFiles
from chatrt.stores import Appended, Cursors, Node, Record, SessionKey, SessionRow, Snapshot, Store
from chatrt.turn import Trigger
from chatrt.ui import UIMessage

Status = Literal["idle", "running", "closed"]

UNANSWERED = frozenset(
    {"stop", "close", "edit", "withdraw", "preload", "end-run", "head-chunks", "handover", "handover-skip"}
)
"""Inputs that may be settled without a record on `.out`; what a preload writes begins with a `turn-start`."""


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """The turn or action that runs in this process now.

    Attributes:
        in_seq: The input it settles.
        trigger: What kind of input that is.
        message_id: The message it makes.
        settled_seq: The `.out` cursor that it began behind.
        messages: The history as it began: with the question, without the answer.
        branches: Where these have alternatives, as `History.branches` tells it.
    """

    in_seq: int
    trigger: Trigger
    message_id: str
    settled_seq: int
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
            read of `.out` after `cursor` came after these messages. Of a turn that another process runs, what hooks
            made of its question is not among them before it is committed; see `chatrt.runtime.in_progress`.
        pending: User messages that wait for their turn; neither the one that is being answered nor those that were put
            into the running turn.
        branches: Where the messages have alternatives, as `History.branches` tells it. Empty for an agent that
            hydrates: the application owns the tree then.
    """

    messages: list[UIMessage]
    pending: list[PendingMessage]
    branches: dict[str, list[str]]


class LiveSession:
    """What all handles of one session in this process share, and what a run of it fills.

    Attributes:
        running: The turn or action whose answer has begun.
        taken_up: The input at hand, as it is being served: no edit or withdrawal reaches it any more.
        injected: Messages that were put into the running turn.
        claimed: A lease that was taken for it, for the run that comes next.
    """

    def __init__(
        self, row: SessionRow, agent: ChatAgent, store: Store, attachments: SessionAttachments, metrics: Metrics
    ) -> None:
        self.row = row
        self.metrics = metrics
        self.agent = agent
        self.store = store
        self.attachments = attachments
        self.outbox = Outbox(row.key, store)
        self.history = History()
        self.running: RunningTurn | None = None
        self.taken_up: Record | None = None
        self.injected: list[Record] = []
        self.arrived = asyncio.Event()
        self.run_task: asyncio.Task[None] | None = None
        self.claimed: Taken | None = None
        self.last_in_seq = 0

    def nothing_at_hand(self) -> None:
        """Say that what was being served is settled, or was given up."""
        self.running = self.taken_up = None

    def files(self) -> PromptFiles:
        """Return the files of the session, for the prompts of one turn."""
        return PromptFiles(self.row.key, self.attachments)

    def note_row(self, row: SessionRow) -> None:
        """Keep what was read of the row, unless it is older than what is known: closed is for good."""
        if row.status == "closed" or self.row.status == "open":
            self.row = row

    async def load_nodes(self, snapshot: Snapshot) -> list[Node]:
        """Read what a history is made of: the whole tree where it has branches, unless the application owns them."""
        if snapshot.branched and self.agent.hooks.hydrate_messages is None:
            return await self.store.load_tree(self.row.key)
        return snapshot.nodes


Wake = Callable[[LiveSession, Appended], None]
"""Sees to it that somebody reads what was just appended."""


class Session:
    """A handle of a session; cheap to make and to drop.

    Attributes:
        inbox: Where to say something to the session.
        outbox: Where to read what it answers.
    """

    def __init__(self, live: LiveSession, clock: Clock, ids: Ids, wake: Wake) -> None:
        self._live = live
        self._clock = clock
        self.inbox = Inbox(
            live.row.key,
            live.store,
            clock,
            ids,
            lambda appended: wake(live, appended),
            rejects=live.agent.when_busy == "reject",
            file_urls=live.agent.file_urls,
            attachments=live.attachments,
            metrics=live.metrics,
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
        """What the store knows of it beside records and messages, as it was last read; `read_row` reads it anew."""
        return self._live.row

    def note_row(self, row: SessionRow) -> None:
        """Keep what was just read of the row."""
        self._live.note_row(row)

    async def read_row(self) -> SessionRow:
        """Read what the store knows of it now, beside records and messages.

        Raises:
            SessionNotFoundError: If it was deleted.
        """
        row = await self._live.store.find_session(self.key)
        if row is None:
            raise SessionNotFoundError(self.chat_id)
        self._live.note_row(row)
        return row

    async def update_metadata(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Lay a JSON merge patch (RFC 7396) over the metadata and return what they are now.

        Objects are merged, None takes a key away, all else replaces what was there. The session may be closed. A chat
        is renamed by the key `title`.

        Raises:
            SessionNotFoundError: If it was deleted.
            TooLargeError: If the metadata would be larger than 64 KiB.
            InvalidJSONError: If the patch is not JSON-shaped.
        """
        check(patch)
        row = await self._live.store.update_session(self.key, metadata=patch, at=self._clock.now())
        self._live.note_row(row)
        return row.metadata

    @property
    def history(self) -> History:
        """The live accumulator while a run serves the session, else what `load` read last. To look at, not to touch."""
        return self._live.history

    def files(self) -> PromptFiles:
        """Return the files of the session, for a prompt that is made outside of a turn."""
        return self._live.files()

    @property
    def running(self) -> RunningTurn | None:
        """The turn or action that runs in this process now; `find_running` looks for those of other processes too."""
        return self._live.running

    @property
    def is_served(self) -> bool:
        """Whether a run in this process has it in memory, with a turn or waiting for one."""
        return self._live.run_task is not None

    @property
    def is_unread(self) -> bool:
        """Whether it is certain that nobody reads what the session says.

        Each process knows its own readers. Where others may have some too it is never certain.
        """
        return not self._live.store.is_shared and self.outbox.readers == 0

    async def load(self) -> SessionState:
        """Read the messages and the cursors that belong to them; in whatever process, with the turn that runs."""
        live = self._live
        before, taken_up, injected = live.running, live.taken_up, list(live.injected)
        snapshot = await live.store.load_snapshot(self.key)
        waiting = await self._waiting(snapshot)
        history = History.from_nodes(await live.load_nodes(snapshot), snapshot.leaf_id)
        turn = _find_running_on(snapshot.settled_seq, live.running, before)
        told = None
        if turn is None and snapshot.out_last_seq > snapshot.settled_seq:
            told = await find_turn_in_progress(live.store, self.key, snapshot.settled_seq)
        if told is None:
            messages, branches = history.all(), history.branches()
            if turn is not None:
                messages, branches = list(turn.messages), turn.branches
            begun = snapshot.in_cursor if turn is None else turn.in_seq
            pending = _waiting_messages(waiting, live.taken_up or taken_up)
            _leave_out(pending, {record.seq for record in (*injected, *live.injected)})
        else:
            served = told.find_served(waiting)
            if served is not None:
                told.bring_in(history, served, live.agent)
            messages, branches, begun = history.all(), self._branches(history), told.in_seq
            pending = _waiting_messages(waiting, served)
            _leave_out(pending, _find_injected(pending, told))
        if live.run_task is None:
            live.history = history
        _leave_out(pending, (*snapshot.state.get("withdrawn", ()), *snapshot.state.get("settled", ())))
        position = self._position(snapshot, waiting)
        return SessionState(
            messages=messages,
            branches=branches,
            pending=[PendingMessage(in_seq=seq, message=message) for seq, message in pending.items() if seq > begun],
            cursor=position.cursor,
            in_cursor=position.in_cursor,
            last_in_seq=position.last_in_seq,
            status=position.status,
        )

    def _branches(self, history: History) -> dict[str, list[str]]:
        return {} if self.agent.hooks.hydrate_messages is not None else history.branches()

    async def find_running(self) -> int | None:
        """Return the input whose turn or action runs now, in whatever process; None if none does.

        One whose process died counts until it is settled. What was taken up a moment ago may not have begun yet.
        """
        if self._live.running is not None:
            return self._live.running.in_seq
        cursors = await self._live.store.read_cursors(self.key)
        if cursors.out_last_seq <= cursors.settled_seq:
            return None
        told = await find_turn_in_progress(self._live.store, self.key, cursors.settled_seq)
        return None if told is None else told.in_seq

    async def _waiting(self, cursors: Cursors | Snapshot) -> list[Record]:
        """Read the inputs behind the cursor."""
        found: list[Record] = []
        cursor = cursors.in_cursor
        while cursor < cursors.last_in_seq and (page := await self._live.store.read_in(self.key, after=cursor)):
            found += page
            cursor = page[-1].seq
        return found

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


def _find_running_on(settled_seq: int, *turns: RunningTurn | None) -> RunningTurn | None:
    """Return the turn that began right behind a cursor: what it shows belongs to the messages of that cursor."""
    return next((turn for turn in turns if turn is not None and turn.settled_seq == settled_seq), None)


def _find_injected(pending: dict[int, UIMessage], turn: TurnInProgress) -> set[int]:
    """Return which of the waiting messages were put into a turn; ids may come twice, so each is taken in its order."""
    found: set[int] = set()
    for message_id in turn.injected_ids:
        later = (seq for seq, message in pending.items() if seq > turn.in_seq and message["id"] == message_id)
        found.update(islice((seq for seq in later if seq not in found), 1))
    return found


def _leave_out(pending: dict[int, UIMessage], seqs: Iterable[int]) -> None:
    for seq in seqs:
        pending.pop(seq, None)


def _waiting_messages(records: list[Record], taken_up: Record | None) -> dict[int, UIMessage]:
    """Return the user messages among inputs, by their seqs, as they were edited and without those that were withdrawn.

    Args:
        records: The inputs behind the cursor.
        taken_up: The one that is being served, as it is served: what is said about it now comes too late.
    """
    waiting: dict[int, UIMessage] = {}
    fixed = 0 if taken_up is None else taken_up.seq
    for record in records:
        body: dict[str, Any] = loads(record.body if taken_up is None or record.seq != fixed else taken_up.body)
        match record.kind:
            case "message" if body["message"]["role"] == "user":
                waiting[record.seq] = body["message"]
            case "edit" | "withdraw" if body["inSeq"] not in waiting or body["inSeq"] == fixed:
                pass
            case "edit":
                waiting[body["inSeq"]] = cast("UIMessage", {**body["message"], "id": waiting[body["inSeq"]]["id"]})
            case "withdraw":
                del waiting[body["inSeq"]]
            case _:
                pass
    return waiting
