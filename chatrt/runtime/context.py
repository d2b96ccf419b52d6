"""What a run lends to the work it serves: its session's history, state, writer and names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.clock import Clock
from chatrt.history import History
from chatrt.ids import Ids
from chatrt.runtime.outbox import OutboxWriter
from chatrt.runtime.state import DurableState
from chatrt.stores import Commit, NewRecord, Node
from chatrt.turn import Trigger


@dataclass(kw_only=True)
class RunContext:
    """One run's view of its session.

    Attributes:
        nodes: The rows of the active branch as they are stored, in step with the saved part of `history`.
        turns: How many turns and actions this run served.
        settled_seq: The last `turn-complete` on `.out`.
        in_cursor: The `.in` cursor as it was committed last.
        settled_up_to: Gives the `.in` cursor that holds once the work at hand is settled.
        on_turn_start: Told when a turn's answer begins.
    """

    chat_id: str
    run_id: str
    agent: ChatAgent
    clock: Clock
    ids: Ids
    history: History
    state: DurableState
    writer: OutboxWriter
    default_client_data: Any
    continuation: bool
    settled_up_to: Callable[[], int]
    on_turn_start: Callable[[int, Trigger, str], None]
    nodes: list[str] = field(default_factory=list[str])
    turns: int = 0
    settled_seq: int = 0
    in_cursor: int = 0

    async def commit(self, records: list[NewRecord], *, trim_to: int = 0) -> int:
        """Write the history's changes, the state, the cursor and these records as one; returns the last `.out` seq."""
        changes = self.history.changes()
        leaf = self.nodes[changes.kept - 1] if changes.kept else None
        written = [
            Node(self.nodes[index], self.nodes[index - 1] if index else None, message)
            for index, message in changes.advanced
        ]
        added: list[str] = []
        in_cursor = self.settled_up_to()
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
        last_seq = await self.writer.commit(commit)
        self.in_cursor = in_cursor
        del self.nodes[changes.kept :]
        self.nodes.extend(added)
        self.history.mark_saved()
        return last_seq
