"""The handle that application code has of the run it is part of: what it asked for, for the run to honour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from chatrt.agent import ChatAgent
from chatrt.compaction import CompactionLayer, CompactResult, Summarize
from chatrt.errors import UsageError
from chatrt.prompt import Prompt, SystemPrompt, to_system_prompt
from chatrt.run_values import LocalValues
from chatrt.runtime.background import Background
from chatrt.runtime.state import DurableState
from chatrt.stores import SessionRow
from chatrt.ui import ModelMessage


class Compacts(Protocol):
    """Compacts for the work at hand."""

    def current(self) -> CompactionLayer | None: ...

    async def compact(self, summarize: Summarize | None) -> CompactResult: ...


class Control:
    """Implements `RunControl` for one run.

    Args:
        chat_id: The session.
        run_id: The run.
        agent: Whose defaults hold.
        sessions: The session manager.
        state: The session's durable state, which keeps its prompt.
        on_change: Called when a run that waits has to look again.

    Attributes:
        idle_timeout: Seconds to wait in memory; None as long as nobody changed the agent's.
        turn_timeout: Seconds to stay suspended; likewise.
        ending: Whether the run ends when nothing waits any more.
        upgrading: Whether that is because newer code is to go on.
        background: What runs beside the answers; there from the boot of the run on.
        compactor: Of the work at hand, or of the last; None as long as nothing was served.
        locals: The values that locals have in this run.
    """

    def __init__(
        self,
        row: SessionRow,
        run_id: str,
        agent: ChatAgent,
        sessions: Any,
        *,
        state: DurableState,
        on_change: Callable[[], None],
    ) -> None:
        self.chat_id = row.key.chat_id
        self.tenant = row.key.tenant
        self.parent = row.parent
        self.run_id = run_id
        self.agent = agent
        self.sessions = sessions
        self._on_change = on_change
        self.locals = LocalValues(state.locals)
        self._state = state
        self.idle_timeout: float | None = None
        self.turn_timeout: float | None = None
        self.ending = False
        self.upgrading = False
        self.background: Background | None = None
        self.compactor: Compacts | None = None

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

    @property
    def compaction(self) -> CompactionLayer | None:
        return None if self.compactor is None else self.compactor.current()

    async def compact(self, *, summarize: Summarize | None = None) -> CompactResult:
        if self.compactor is None:
            raise UsageError("there is nothing to compact before the first input is served")
        return await self.compactor.compact(summarize)

    def inject(self, messages: Sequence[ModelMessage]) -> None:
        self._get_background().inject(messages)

    def defer(self, work: Awaitable[Any] | Callable[[], Any]) -> None:
        self._get_background().defer(work)

    def _get_background(self) -> Background:
        if self.background is None:
            raise UsageError("the run has not begun")
        return self.background

    @property
    def prompt(self) -> SystemPrompt:
        if self._state.prompt is None:
            raise UsageError("no prompt was set in this session")
        return self._state.prompt

    def find_prompt(self) -> SystemPrompt | None:
        return self._state.prompt

    def set_prompt(
        self,
        prompt: str | Prompt | SystemPrompt,
        /,
        *,
        provider_options: Mapping[str, Any] | None = None,
        cache: bool = False,
        **variables: Any,
    ) -> None:
        self._state.prompt = to_system_prompt(prompt, variables, provider_options=provider_options, cache=cache)
