"""The loop of a custom agent, run beside the run: each turn is handed to it, and what it gives is the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from chatrt.clock import Clock
from chatrt.errors import UsageError
from chatrt.run_control import RunControl
from chatrt.runtime.calling import call
from chatrt.runtime.response import enter_answer
from chatrt.serving import ServedSession, ServedTurn, TurnEnd
from chatrt.turn import Turn, enter_turn
from chatrt.ui import UIMessage

logger = logging.getLogger("chatrt.runtime")

END_GRACE_SECONDS = 2.0
"""How long a loop may take to end after the last turn."""


class CustomLoop:
    """Keeps a `serve` function going.

    Args:
        serve: The function.
        make_session: Gives what the function serves.
        control: The run.
        clock: For the time it may take to end.
    """

    def __init__(
        self,
        serve: Callable[[ServedSession], Any],
        make_session: Callable[[], ServedSession],
        control: RunControl,
        clock: Clock,
    ) -> None:
        self._serve = serve
        self._make_session = make_session
        self._control = control
        self._clock = clock
        self._session: ServedSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._handed: ServedTurn[Any] | None = None

    async def answer(self, turn: Turn[Any]) -> Any:
        """Hand a turn to the loop and return what it completes the turn with.

        Raises:
            Exception: What the loop raised instead.
        """
        if not isinstance(turn, ServedTurn):
            raise UsageError("this turn is not for a loop")
        self._handed = turn
        if self._task is None or self._task.done():
            self._session = self._make_session()
            self._task = asyncio.create_task(self._run(self._session))
        session = self._session
        if session is None:
            raise UsageError("there is no loop")
        session.put(turn)
        return await turn.given

    def ended(self, turn: Turn[Any] | None, message: UIMessage | None, error: BaseException | None) -> None:
        """Tell the loop that a turn is over and committed."""
        if isinstance(turn, ServedTurn) and not turn.ended.done():
            turn.ended.set_result(TurnEnd(message, error))

    async def aclose(self) -> None:
        """Let the loop end: its iteration is over, and what it does then has a moment.

        A turn that comes nevertheless is handed to another call of it.
        """
        task, session = self._task, self._session
        self._task = self._session = None
        if task is None or session is None:
            return
        session.put(None)
        grace = asyncio.create_task(self._clock.sleep(END_GRACE_SECONDS))
        try:
            await asyncio.wait({task, grace}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            grace.cancel()
            task.cancel()

    def cancel(self) -> None:
        """End the loop at once."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, session: ServedSession) -> None:
        enter_turn(None)
        enter_answer(True)
        try:
            await call(self._serve, session)
        except Exception as error:
            turn = self._handed if session is self._session else None
            if turn is not None and not turn.given.done():
                turn.given.set_exception(error)
            elif turn is None or not turn.ended.done() or turn.ended.result().error is not error:
                logger.exception("the loop of chat %s failed; the next input starts it again", session.chat_id)
        else:
            if session is not self._session:
                return  # it was told to end
            self._control.end_run()
            if self._handed is not None and not self._handed.given.done():
                self._handed.given.set_result(None)
