"""What a reference session consists of: what is on disk, what a run has in memory, and how it waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from tests.machine.history_rules import Failure, Message, has_content
from tests.machine.reference_tree import Tree

Waiting = Generator[None, None, Any]

IDLE_TIMEOUT = 30
TURN_TIMEOUT = 3600

QUESTIONS = ("message", "regenerate")
PASSED = ("stop", "edit", "withdraw")
"""Inputs that take effect when they are read and are never settled by themselves."""

UNANSWERED = (*PASSED, "preload")
"""Inputs that nobody has to wait for."""


class Refused(Exception):
    """An input that was not taken; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Halted(Exception):
    """The answer was told to end."""


@dataclass
class Input:
    """An input; `edited` is the last edit that changed it while it waited, 0 if none did."""

    seq: int
    kind: str
    body: dict[str, Any]
    edited: int = 0

    @property
    def is_user(self) -> bool:
        return self.kind == "message" and self.body["message"]["role"] == "user"


@dataclass
class State:
    """What is stored with every commit beside the messages.

    `stopped` and `withdrawn` are about inputs that wait, `settled` about others beyond the cursor; `fired` is the application's own durable value.
    """

    chat_started: bool = False
    runs: int = 0
    run: str = ""
    run_turns: int = 0
    suspended: tuple[int, str] | None = None
    stop_cursor: int = 0
    stopped: dict[int, str] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    tokens: int = 0
    fired: int = 0

    def after(self, in_cursor: int) -> State:
        """A copy that knows nothing of what is settled."""
        stopped = {seq: reason for seq, reason in self.stopped.items() if seq > in_cursor}
        withdrawn = {seq for seq in self.withdrawn if seq > in_cursor}
        settled = {seq for seq in self.settled if seq > in_cursor}
        return replace(self, stopped=stopped, withdrawn=withdrawn, settled=settled)


@dataclass
class Disk:
    """What survives a crash. `out` has the control records, and after each change of an answer how it looks.

    `deaths` counts the crashes over what is unsettled.
    `shown` is what the run stood on when it began to answer an input, messages and branches; no process reads it there.
    """

    inbox: list[Input] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)
    out: list[dict[str, Any]] = field(default_factory=list)
    settled_out: int = 0
    in_cursor: int = 0
    deaths: int = 0
    tree: Tree = field(default_factory=Tree)
    state: State = field(default_factory=State)
    shown: dict[int, tuple[list[Message], list[Any]]] = field(default_factory=dict)
    closed: bool = False

    @property
    def history(self) -> list[Message]:
        return self.tree.history


@dataclass
class Work:
    """One input being served, and its answer as far as it is said.

    `kept` is whether the answer becomes a message, `again` whether the input is served once more.
    """

    input: Input
    known_id: str | None = None
    merged: bool = False
    new_message: Message | None = None
    awaited: bool = False
    stop: str | None = None
    in_answer: bool = False
    handled: bool = False
    opened: bool = False
    base: Message | None = None
    answer: Message | None = None
    approvals_run: bool = False
    kept: bool = True
    again: bool = False
    stream_failed: bool = False
    finish_reason: str | None = None
    tokens: int = 0
    refused: set[int] = field(default_factory=set)
    injected_ids: list[str] = field(default_factory=list)

    @property
    def is_turn(self) -> bool:
        return self.input.kind in QUESTIONS

    def message(self, *, whole: bool) -> Message | None:
        """The answer as it stands; a broken one without its half-made calls. None while it says nothing."""
        if self.answer is None:
            return None
        parts = [part for part in self.answer["parts"] if whole or part.get("state") != "input-streaming"]
        message = {**self.answer, "parts": parts}
        return message if has_content(message) else None


@dataclass
class Run:
    """What one run has in memory.

    `left` is the input of a turn that a dead run began, and its last edit before that; `grown` are the messages of the
    history that went on in their places since the last commit; `running` is the input whose answer has begun, with the
    messages and branches that stand before it; `planned` is what the application took back, as long as nobody knows.
    """

    history: list[Message]
    tree: Tree
    state: State
    id: str
    previous: str
    continuation: bool
    resumed: bool
    resumes: str | None
    phase: str
    turns: int
    read_cursor: int
    in_cursor: int
    saved_fired: int
    begun: bool = False
    booted: bool = False
    served: bool = False
    preloaded: bool = False
    stirred: bool = False
    queue: list[Input] = field(default_factory=list)
    left: tuple[int, int] = (0, 0)
    at_hand: Work | None = None
    at_hand_seq: int = 0
    work: Work | None = None
    running: tuple[int, list[Message], list[Any]] | None = None
    grown: set[str] = field(default_factory=set)
    injected: list[Input] = field(default_factory=list)
    planned: set[int] = field(default_factory=set)
    known_ids: dict[int, str] = field(default_factory=dict)
    unstored: list[dict[str, Any]] = field(default_factory=list)

    @property
    def has_new_value(self) -> bool:
        """Whether the application's value is not stored as it is."""
        return self.saved_fired != self.state.fired

    @property
    def settled_up_to(self) -> int:
        """The cursor never passes what waits."""
        return self.queue[0].seq - 1 if self.queue else self.read_cursor


class Stepping:
    """Lets a session be told as plain generators that stand still until a condition holds.

    Attributes:
        holding: What the session waits for: "model", "tool", "hook", "stall", "answer", "idle", or "".
        told: The hooks that fired, with what they were told.
        prompts: What the model was shown, call by call.
        effects: The server's tool calls whose bodies began.
        moves: What the model does next.
        faults: What the next firing of a hook does: "raise" or "hold".
        tools: The results of the tool calls that hang, None as long as they do.
        stalled: Whether the store takes no writes of `.out`.
        deaf: Whether the answer of the next commit is late: "armed", "late" or "".
    """

    def __init__(self) -> None:
        self.disk = Disk()
        self.run: Run | None = None
        self.now = 0
        self.holding = ""
        self.told: list[tuple[Any, ...]] = []
        self.prompts: list[list[tuple[Any, ...]]] = []
        self.effects: list[str] = []
        self.moves: deque[tuple[Any, ...]] = deque()
        self.faults: dict[str, str] = {}
        self.held_hook = ""
        self.tools: dict[str, str | None] = {}
        self.stalled = False
        self.deaf = ""
        self._names = 0

    @property
    def live(self) -> Run:
        assert self.run is not None
        return self.run

    def name(self, kind: str) -> str:
        self._names += 1
        return f"«{kind} {self._names}»"

    def until(self, label: str, condition: Callable[[], bool]) -> Waiting:
        """Stand still until the condition holds.

        Raises:
            Halted: If the answer that waits here is told to end.
        """
        while not condition():
            work = self.live.work
            if work is not None and work.in_answer and work.stop is not None:
                raise Halted
            self.holding = label
            yield
        self.holding = ""

    def hook(self, name: str, *facts: Any) -> Waiting:
        """Let a hook fire, and return what it decides.

        Raises:
            Failure: If it is planned that it raises.
        """
        self.live.state.fired += 1
        self.told.append((name, self.live.state.fired, *facts))
        fault = self.faults.pop(name, None)
        if fault == "hold":
            self.held_hook = name
            yield from self.until("hook", lambda: not self.held_hook)
        if fault == "raise":
            raise Failure("internal-error")
        return None if fault == "hold" else fault

    def grow_tree(self) -> None:
        self.live.tree.follow(self.live.history, self.live.grown, lambda: self.name("node"))

    def push(self, kind: str, **facts: Any) -> None:
        """Write a record; it is stored when the store takes writes and everything else waits."""
        self.live.unstored.append({"kind": kind, **facts})

    def stored(self) -> Waiting:
        """Wait until what was pushed is stored."""
        yield from self.until("stall", lambda: not self.stalled)

    def land(self) -> None:
        if self.run is not None and not self.stalled:
            self.disk.out += self.run.unstored
            self.run.unstored = []

    def commit(self, records: list[dict[str, Any]]) -> Waiting:
        """Store records, history, state and cursor as one."""
        run, disk = self.live, self.disk
        self.grow_tree()
        tree, in_cursor = run.tree.copy(), run.settled_up_to
        run.grown.clear()
        state = run.state.after(in_cursor)
        run.saved_fired = state.fired
        yield from self.stored()
        disk.out += [*run.unstored, *deepcopy(records)]
        run.unstored = []
        if records:
            disk.settled_out = len(disk.out)
        if in_cursor > disk.in_cursor:
            disk.deaths = 0
        disk.tree, disk.state, disk.in_cursor = tree, state, in_cursor
        if self.deaf == "armed":
            self.deaf = "late"
            yield from self.until("answer", lambda: not self.deaf)
        run.in_cursor = in_cursor
