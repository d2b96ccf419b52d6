"""What code inside of a run may ask of the run itself: how long it waits, when it ends, who else is there."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from chatrt.errors import UsageError


class RunControl(Protocol):
    """The run that serves a session, as application code may handle it.

    Attributes:
        chat_id: The public id of the session.
        run_id: The run. It stays the same while the chat is suspended and taken up again.
        sessions: The session manager that serves it: what an `AgentChat` without an address of its own talks to.
    """

    @property
    def chat_id(self) -> str: ...

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
