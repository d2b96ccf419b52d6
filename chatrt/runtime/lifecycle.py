"""The lifecycle of a run: it begins with the first thing it serves, may be suspended and come back, and ends.

A run is suspended when nothing came for its idle time: it leaves memory, and what comes within its `turn_timeout` is
served by the same run again, in whatever process. `on_boot` fires for each new memory, `on_chat_resume` behind it when
the run was there before. A run that died is not resumed: another one begins.
"""

from __future__ import annotations

import logging
from typing import Any

from chatrt.events import BootEvent, Convert, ResumeEvent, SuspendEvent
from chatrt.runtime.calling import call
from chatrt.runtime.context import RunContext
from chatrt.runtime.control import Control
from chatrt.runtime.state import DurableState, Phase, Suspension
from chatrt.runtime.work import Work

logger = logging.getLogger("chatrt.runtime")


class Lifecycle:
    """Where a run stands in its life, and the hooks of that.

    Args:
        context: The run.
        resumed: Whether it was suspended and comes back.
    """

    def __init__(self, context: RunContext, *, resumed: bool) -> None:
        self._context = context
        self._control: Control = context.control
        self._resumed = resumed
        self._begun = False
        self._booted = False
        suspended = context.state.suspended if resumed else None
        self._resumes: Phase | None = None if suspended is None else suspended.phase
        self._phase: Phase = "turn" if suspended is None else suspended.phase
        self._client_data: Any = None
        self._convert: Convert | None = None

    # --- serving

    def begin(self, work: Work) -> None:
        """Say that the run serves something: from the first time on it is the session's last run."""
        context, state = self._context, self._context.state
        preload = work.trigger == "preload"
        if not self._begun:
            self._begun = True
            context.preloaded = preload or self._resumes == "preload"
            if not self._resumed:
                state.runs += 1
                state.run_id, state.run_turns = context.run_id, 0
            if preload and not self._resumed:
                self._phase = "preload"
        if not preload:
            self._phase = "turn"
        state.suspended = None

    async def ensure_booted(self, work: Work) -> None:
        """Fire `on_boot` once for this memory, and `on_chat_resume` when the run was suspended.

        A failure is the failure of the work at hand, and the next work tries again.
        """
        context, hooks = self._context, self._context.agent.hooks
        if not self._booted and hooks.on_boot is not None:
            work.parse_client_data()
            event = BootEvent(
                chat_id=context.chat_id,
                history=context.history,
                client_data=work.client_data,
                run_id=context.run_id,
                continuation=context.continuation,
                preloaded=context.preloaded,
                resumed=self._resumed,
                previous_run_id=context.run_before,
            )
            await call(hooks.on_boot, event)
        self._booted = True
        phase = self._resumes
        if phase is None:
            return
        if hooks.on_chat_resume is not None:
            work.parse_client_data()
            resume = ResumeEvent(
                chat_id=context.chat_id,
                history=context.history,
                client_data=work.client_data,
                convert=work.convert,
                run_id=context.run_id,
                phase=phase,
                turn=context.turns,
            )
            await call(hooks.on_chat_resume, resume)
        self._resumes = None

    @property
    def is_fresh(self) -> bool:
        """Whether the run has served nothing yet."""
        return self._convert is None and not self._resumed

    def served(self, work: Work) -> None:
        """Remember what hooks between the turns are told of the last work."""
        self._client_data, self._convert = work.client_data, work.convert

    # --- waiting

    @property
    def idle_timeout(self) -> float:
        """Seconds to wait in memory."""
        agent, control = self._context.agent, self._control
        if control.ending:
            return 0.0
        if control.idle_timeout is not None:
            return control.idle_timeout
        return agent.preload_idle_timeout if self._phase == "preload" else agent.idle_timeout

    @property
    def is_over(self) -> bool:
        """Whether the run serves nothing more, whatever waits."""
        return self._control.upgrading or self._context.turns >= self._context.agent.max_turns

    @property
    def _ends(self) -> bool:
        preload_unused = self._phase == "preload" and self._context.agent.exit_after_preload_idle
        return self.is_over or self._control.ending or preload_unused

    async def suspend(self, *, closed: bool) -> bool:
        """Get ready to leave memory: for good, or for a while, which has to be stored.

        Returns:
            Whether the durable state has changed.
        """
        if not self._begun:
            # Nothing was served here, but what was suspended before may have been asked to end.
            was_suspended = self._context.state.suspended is not None
            if self._control.ending:
                self._context.state.suspended = None
            return was_suspended and self._control.ending
        context, state = self._context, self._context.state
        if self._ends or closed:
            return False
        if state.suspended is None:
            await self._tell_suspend()
        agent, control = context.agent, self._control
        timeout = agent.preload_timeout if self._phase == "preload" else agent.turn_timeout
        timeout = timeout if control.turn_timeout is None else control.turn_timeout
        state.suspended = Suspension(context.clock.now() + timeout, self._phase)
        # If something arrives before the lease is given back, the run goes on in this memory.
        self._resumes, self._resumed = self._phase, True
        return True

    async def _tell_suspend(self) -> None:
        context, hook = self._context, self._context.agent.hooks.on_chat_suspend
        if hook is None or self._convert is None:
            return
        event = SuspendEvent(
            chat_id=context.chat_id,
            history=context.history,
            client_data=self._client_data,
            convert=self._convert,
            run_id=context.run_id,
            phase=self._phase,
            turn=context.turns,
        )
        try:
            await call(hook, event)
        except Exception:
            logger.exception("on_chat_suspend failed in chat %s", context.chat_id)


def is_resumable(state: DurableState, now: float) -> bool:
    """Tell whether the last run was suspended and may still come back."""
    return state.suspended is not None and now <= state.suspended.until
