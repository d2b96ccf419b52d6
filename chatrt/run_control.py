"""What code inside of a run may ask of the run itself: how long it waits, when it ends, who else is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from chatrt.compaction import CompactionLayer, CompactResult, Summarize
from chatrt.errors import UsageError
from chatrt.prompt import Prompt, SystemPrompt
from chatrt.stores import Parent
from chatrt.ui import ModelMessage


class RunControl(Protocol):
    """The run that serves a session, as application code may handle it.

    Attributes:
        chat_id: The public id of the session.
        tenant: The tenant of the session; empty where an application has none.
        parent: The session that started this one; None for one that began by itself.
        run_id: The run. It stays the same while the chat is suspended and taken up again.
        sessions: The session manager that serves it: what an `AgentChat` without an address of its own talks to.
    """

    @property
    def chat_id(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def parent(self) -> Parent | None: ...

    @property
    def run_id(self) -> str: ...

    @property
    def sessions(self) -> Any: ...

    def end_run(self) -> None:
        """End the run when the turn at hand and the inputs that wait are done; the next input starts another one."""
        ...

    def request_upgrade(self) -> None:
        """Let another run, which may be of newer code, go on.

        Asked for before `run` is called, the turn is not begun here: the next run serves the same input. Later, the
        turn finishes here, and what waits is the next run's. One input is handed on once: who gets it answers it.
        """
        ...

    def set_idle_timeout(self, seconds: float) -> None:
        """Wait so long for more in memory, from now on, until this run ends."""
        ...

    def set_turn_timeout(self, seconds: float) -> None:
        """Stay suspended so long, from now on, until this run ends."""
        ...

    @property
    def compaction(self) -> CompactionLayer | None:
        """The compaction that holds for the chat as it is now, the answer that is being made included."""
        ...

    async def compact(self, *, summarize: Summarize | None = None) -> CompactResult:
        """Summarize the history now: everything up to the last answer that has all its tool results.

        Questions that are not answered yet stay as they are, and so does the answer that is being made; inside of
        `run`, `turn.messages` stand on the summary afterwards. It is committed with the turn or action at hand; what a
        failing action did is undone (D20).

        Args:
            summarize: Gives the summary; by default the `summarize` of the agent's `compaction`.

        Raises:
            UsageError: If there is no way to summarize.
            Exception: What `summarize` raises; nothing has changed then.
        """
        ...

    def inject(self, messages: Sequence[ModelMessage]) -> None:
        """Put messages into the prompt at the next place: right before `run` is called, or between two steps.

        They stand there in every later prompt, also of later runs, and never among the messages that people see. They
        go when their place leaves the active branch, and when a compaction stands for it. At most 64 of them, and
        256 KiB, are kept; the oldest go first. Right before `run` they wait on when the prompt ends with tool results.
        May be called from anywhere in the run, also from tasks that outlive the turn that started them; what was
        injected stays when the turn or action fails.

        Raises:
            UsageError: If they are not model messages, or too large, or the run is over.
        """
        ...

    def defer(self, work: Awaitable[Any] | Callable[[], Any]) -> None:
        """Run something beside the answer; what it raises is logged.

        The end of the turn or action waits for it, up to 5 seconds: behind the answer and before
        `on_before_turn_complete`, but not after a failure. What is deferred outside of a turn or behind its answer
        (`on_boot`, `on_before_turn_complete`, `on_turn_complete`) is not waited for: it runs in the idle time, and the
        run does not leave memory before it has ended, up to 5 seconds longer than the idle time. A stop does not cancel
        it, the end of the run does. `current_turn` and `current_run` are there inside.

        Args:
            work: An awaitable, or a function that gives one.

        Raises:
            UsageError: If the run is over.
        """
        ...

    @property
    def prompt(self) -> SystemPrompt:
        """The system prompt of the session.

        Raises:
            UsageError: If none was set.
        """
        ...

    def find_prompt(self) -> SystemPrompt | None:
        """Return the system prompt of the session, or None."""
        ...

    def set_prompt(
        self,
        prompt: str | Prompt | SystemPrompt,
        /,
        *,
        provider_options: Mapping[str, Any] | None = None,
        cache: bool = False,
        **variables: Any,
    ) -> None:
        """Give the session its system prompt: for this run and all later ones, committed with the turn or action.

        Args:
            prompt: A text, or a prompt, which is rendered now.
            provider_options: What a provider is told about it, instead of what the prompt says itself.
            cache: Short for `provider_options=cache_control()`.
            **variables: The values of a `Prompt`'s variables.

        Raises:
            UsageError: If the variables are not those of the prompt, or something of it is not JSON.
        """
        ...


_current: ContextVar[RunControl | None] = ContextVar("chatrt_run", default=None)


def current_run() -> RunControl:
    """Return the run that the calling code is part of: every hook from `on_boot` on, `run`, tools.

    Raises:
        UsageError: Outside of a run.
    """
    control = find_current_run()
    if control is None:
        raise UsageError("no run is going on here")
    return control


def find_current_run() -> RunControl | None:
    """Return the run that the calling code is part of, or None."""
    return _current.get()


def enter_run(control: RunControl | None) -> None:
    """Make `control` the current run of the calling task and the tasks it starts."""
    _current.set(control)
