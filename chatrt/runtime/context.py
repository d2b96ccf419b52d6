"""What a run lends to the work it serves: its session's history, state, writer and names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from chatrt.agent import ChatAgent
from chatrt.clock import Clock
from chatrt.codec import dumps
from chatrt.compaction import CompactionLayer
from chatrt.errors import ChatrtError, InvalidMessageError
from chatrt.history import History, HistoryCheckpoint
from chatrt.ids import Ids
from chatrt.prompt import SystemPrompt
from chatrt.run_values import ValuesCheckpoint
from chatrt.runtime.arrivals import Arrivals
from chatrt.runtime.background import Background
from chatrt.runtime.control import Control
from chatrt.runtime.custom import CustomLoop
from chatrt.runtime.outbox_writer import OutboxWriter
from chatrt.runtime.prompt_layers import PromptLayers
from chatrt.runtime.state import DurableState
from chatrt.stores import Commit, NewRecord, Record
from chatrt.turn import Trigger, TurnFiles
from chatrt.ui import UIMessage


@dataclass(frozen=True, slots=True)
class ContextCheckpoint:
    """A moment to return to; made by `RunContext.checkpoint`."""

    history: HistoryCheckpoint
    locals: ValuesCheckpoint
    prompt: SystemPrompt | None
    compactions: tuple[CompactionLayer, ...]


@dataclass(kw_only=True)
class RunContext:
    """One run's view of its session.

    Attributes:
        previous_run_id: The session's last run; empty if there was none, and this one when it was suspended.
        turns: How many turns this run served.
        settled_seq: The last `turn-complete` on `.out`.
        in_cursor: The `.in` cursor as it was committed last.
        forget_changes: Makes the history what is stored.
        arrivals: What waits.
        loop: The application's own loop, if the agent is served by one.
        injected: Messages that were put into the running turn: they are settled with it.
        preloaded: Whether a client asked for this run ahead of its first message.
        files: Gives the chat's files, for a turn.
        on_turn_start: Told when a turn's answer begins: its input, what that is, the answer's id, the messages before.
        background: What runs beside the answers.
        saved_layers: The prompt layers as they were committed last.
        saved_prompt: The system prompt likewise.
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
    forget_changes: Callable[[], Awaitable[None]]
    arrivals: Arrivals
    loop: CustomLoop | None
    on_turn_start: Callable[[int, Trigger, str, list[UIMessage]], None]
    files: Callable[[], TurnFiles]
    injected: list[Record] = field(default_factory=list[Record])
    preloaded: bool = False
    turns: int = 0
    settled_seq: int = 0
    in_cursor: int = 0
    background: Background = field(init=False)
    saved_layers: PromptLayers = field(init=False)
    saved_prompt: SystemPrompt | None = field(init=False)

    def __post_init__(self) -> None:
        self.background = self.control.background = Background(self.chat_id, self.state, self.clock)
        self._mark_saved()

    @property
    def run_before(self) -> str | None:
        """The run before this one, as application code is told it: a run that was suspended is not its own."""
        return None if self.previous_run_id in ("", self.run_id) else self.previous_run_id

    def find_unstorable(self) -> Exception | None:
        """Say why what changed cannot be stored, if application code left what is no message, or a local no JSON."""
        try:
            for node in self.history.changes().nodes:
                _check_shape(node.message)
                dumps(node.message)
        except ChatrtError as error:
            return error
        return self.control.locals.find_unstorable()

    def checkpoint(self) -> ContextCheckpoint:
        """Return the present moment for `restore`."""
        state = self.state
        return ContextCheckpoint(
            self.history.checkpoint(), self.control.locals.checkpoint(), state.prompt, state.layers.compactions
        )

    def restore(self, checkpoint: ContextCheckpoint) -> None:
        """Undo what application code did to the session since `checkpoint`."""
        self.history.restore(checkpoint.history)
        self.control.locals.restore(checkpoint.locals)
        self.state.prompt = checkpoint.prompt
        self.state.layers = self.state.layers.with_compactions(checkpoint.compactions)

    async def take_back(self) -> None:
        """Make the history and the durable values of locals what is stored."""
        self.control.locals.forget_changes()
        await self.forget_changes()

    @property
    def has_new_state(self) -> bool:
        """Whether application code changed what is kept beside the messages: prompt layers, the prompt, locals."""
        state = self.state
        changed = self.saved_layers is not state.layers or self.saved_prompt is not state.prompt
        return changed or self.control.locals.have_changed

    def _mark_saved(self) -> None:
        self.saved_layers, self.saved_prompt = self.state.layers, self.state.prompt
        self.control.locals.mark_saved(self.state.locals)

    async def commit(self, records: list[NewRecord], *, trim_to: int = 0) -> int:
        """Write the history's changes, the state, the cursor and these records as one; returns the last `.out` seq."""
        changes = self.history.changes()
        in_cursor = self.arrivals.settled_up_to
        self.state.forget(in_cursor)
        if self.state.layers.injected:
            self.state.layers = self.state.layers.pruned(self.history.all())
        self.state.locals = self.control.locals.to_json()
        self._mark_saved()
        commit = Commit(
            records=records,
            nodes=changes.nodes,
            leaf_id=changes.leaf_id,
            in_cursor=in_cursor,
            state=self.state.to_json(),
            trim_to=trim_to,
        )
        # Marked before the wait: what changes meanwhile belongs to the next commit. If this one fails the run is over.
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
