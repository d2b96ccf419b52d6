"""What a run lends to the work it serves: its session's history, state, writer and names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from chatrt.agent import ChatAgent
from chatrt.clock import Clock
from chatrt.codec import dumps
from chatrt.errors import ChatrtError, InvalidMessageError
from chatrt.history import History
from chatrt.ids import Ids
from chatrt.runtime.arrivals import Arrivals
from chatrt.runtime.control import Control
from chatrt.runtime.custom import CustomLoop
from chatrt.runtime.outbox import OutboxWriter
from chatrt.runtime.state import DurableState
from chatrt.stores import Commit, NewRecord, Node, Record
from chatrt.turn import Trigger


@dataclass(kw_only=True)
class RunContext:
    """One run's view of its session.

    Attributes:
        previous_run_id: The session's last run before this one; empty if there was none.
        nodes: The rows of the active branch as they are stored, in step with the saved part of `history`.
        turns: How many turns this run served.
        settled_seq: The last `turn-complete` on `.out`.
        in_cursor: The `.in` cursor as it was committed last.
        load_nodes: Reads the active branch as it is stored.
        arrivals: What waits.
        loop: The application's own loop, if the agent is served by one.
        injected: Messages that were put into the running turn: they are settled with it.
        preloaded: Whether a client asked for this run ahead of its first message.
        on_turn_start: Told when a turn's answer begins.
    """

    chat_id: str
    run_id: str
    previous_run_id: str
    agent: ChatAgent
    clock: Clock
    ids: Ids
    history: History
    state: DurableState
    writer: OutboxWriter
    control: Control
    default_client_data: Any
    continuation: bool
    load_nodes: Callable[[], Awaitable[list[Node]]]
    arrivals: Arrivals
    loop: CustomLoop | None
    on_turn_start: Callable[[int, Trigger, str], None]
    injected: list[Record] = field(default_factory=list[Record])
    preloaded: bool = False
    nodes: list[str] = field(default_factory=list[str])
    turns: int = 0
    settled_seq: int = 0
    in_cursor: int = 0

    def find_unstorable(self) -> Exception | None:
        """Say why the history's changes cannot be stored, if application code left what is no message in it."""
        changes = self.history.changes()
        try:
            for message in (*changes.added, *(message for _, message in changes.advanced)):
                _check_shape(message)
                dumps(message)
        except ChatrtError as error:
            return error
        return None

    async def forget_changes(self) -> None:
        """Make the history what is stored."""
        nodes = await self.load_nodes()
        self.nodes[:] = [node.node_id for node in nodes]
        self.history.set(node.message for node in nodes)
        self.history.mark_saved()

    async def commit(self, records: list[NewRecord], *, trim_to: int = 0) -> int:
        """Write the history's changes, the state, the cursor and these records as one; returns the last `.out` seq."""
        changes = self.history.changes()
        leaf = self.nodes[changes.kept - 1] if changes.kept else None
        written = [
            Node(self.nodes[index], self.nodes[index - 1] if index else None, message)
            for index, message in changes.advanced
        ]
        added: list[str] = []
        in_cursor = self.arrivals.settled_up_to
        self.state.settled = [seq for seq in self.state.settled if seq > in_cursor]
        for message in changes.added:
            node = Node(self.ids.new("node"), leaf, message)
            written.append(node)
            added.append(node.node_id)
            leaf = node.node_id
        commit = Commit(
            records=records,
            nodes=written,
            leaf_id=leaf,
            in_cursor=in_cursor,
            state=self.state.to_json(),
            trim_to=trim_to,
        )
        # Marked before the wait: what changes meanwhile belongs to the next commit. If this one fails the run is over.
        del self.nodes[changes.kept :]
        self.nodes.extend(added)
        self.history.mark_saved()
        last_seq = await self.writer.commit(commit)
        self.in_cursor = self.arrivals.settled = in_cursor
        return last_seq


def _check_shape(message: Any) -> None:
    match message:
        case {"id": str(), "role": "user" | "assistant" | "system", "parts": [*parts]} if all(
            isinstance(part, dict) and isinstance(cast("dict[str, Any]", part).get("type"), str) for part in parts
        ):
            return
        case _:
            raise InvalidMessageError("the history holds something that is no message")
