"""The handle that application code has of the run it is part of: what it asked for, for the run to honour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatrt.agent import ChatAgent


class Control:
    """Implements `RunControl` for one run.

    Args:
        chat_id: The session.
        run_id: The run.
        agent: Whose defaults hold.
        sessions: The session manager.
        on_change: Called when a run that waits has to look again.

    Attributes:
        idle_timeout: Seconds to wait in memory; None as long as nobody changed the agent's.
        turn_timeout: Seconds to stay suspended; likewise.
        ending: Whether the run ends when nothing waits any more.
        upgrading: Whether that is because newer code is to go on.
    """

    def __init__(
        self, chat_id: str, run_id: str, agent: ChatAgent, sessions: Any, on_change: Callable[[], None]
    ) -> None:
        self.chat_id = chat_id
        self.run_id = run_id
        self.agent = agent
        self.sessions = sessions
        self._on_change = on_change
        self.idle_timeout: float | None = None
        self.turn_timeout: float | None = None
        self.ending = False
        self.upgrading = False

    def end_run(self) -> None:
        self.ending = True
        self._on_change()

    def request_upgrade(self) -> None:
        self.ending = self.upgrading = True
        self._on_change()

    def set_idle_timeout(self, seconds: float) -> None:
        self.idle_timeout = seconds
        self._on_change()

    def set_turn_timeout(self, seconds: float) -> None:
        self.turn_timeout = seconds
