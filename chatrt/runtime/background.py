"""Background work of a run: what was deferred, and the messages that it puts into the prompt later.

Lifetimes:

* Deferred work belongs to the run. What is deferred while a turn or an action is served is waited for at its end, up to
  `DEFER_SECONDS`; all else runs in the idle time, and the run stays in memory for it, up to `DEFER_SECONDS` longer
  than it would have. A stop does not cancel it; the end of the run does.
* Injected messages belong to the session. They wait in its durable state until they get a place, right before `run` or
  between two steps, and stand there in every later prompt.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from chatrt.clock import Clock
from chatrt.errors import UsageError
from chatrt.runtime.prompt_layers import Place, checked_rows
from chatrt.runtime.response import enter_answer
from chatrt.runtime.state import DurableState
from chatrt.ui import ModelMessage, UIMessage

logger = logging.getLogger("chatrt.runtime")

DEFER_SECONDS = 5.0
"""How long the end of a turn, and the end of a run, wait for deferred work."""


class Background:
    """The background of one run.

    Args:
        chat_id: For the log.
        state: Where injected messages are kept.
        clock: What to wait by.

    Attributes:
        wake: Called when there is something new to store; the run looks at it when it is idle.
    """

    def __init__(self, chat_id: str, state: DurableState, clock: Clock) -> None:
        self.wake: Callable[[], None] = _nothing
        self._chat_id = chat_id
        self._state = state
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_work: set[asyncio.Task[None]] = set()
        self._over = False

    # --- deferred work

    def defer(self, work: Awaitable[Any] | Callable[[], Any]) -> None:
        """Run something beside the answer; see `RunControl.defer`."""
        if self._over:
            _close(work)
            raise UsageError("the run is over: nothing can be deferred to it")
        task = asyncio.create_task(self._run(work))
        task.add_done_callback(lambda _: _close(work))
        for tasks in (self._tasks, self._of_work):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _run(self, work: Awaitable[Any] | Callable[[], Any]) -> None:
        enter_answer(False)  # the end of the answer is not the end of this
        try:
            result = cast("Any", work() if callable(work) else work)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            logger.warning("chat %s: deferred work awaited something that was cancelled", self._chat_id)
        except Exception:
            logger.exception("chat %s: deferred work failed", self._chat_id)

    def begin_work(self) -> None:
        """Say that a turn or an action begins: what is deferred from now on belongs to it."""
        self._of_work = set()

    async def settle_work(self) -> None:
        """Wait for what the turn or action at hand has deferred, but not for ever."""
        await self._wait_for(self._of_work)

    async def idle(self, seconds: float) -> None:
        """Return after so many seconds; later while deferred work goes on, up to `DEFER_SECONDS` later."""
        await self._clock.sleep(seconds)
        await self._wait_for(self._tasks)

    async def settle(self) -> None:
        """Wait for all deferred work, but not for ever."""
        await self._wait_for(self._tasks)

    async def _wait_for(self, tasks: set[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        timer = asyncio.create_task(self._clock.sleep(DEFER_SECONDS))
        try:
            while tasks and not timer.done():
                await asyncio.wait({*tasks, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    def end(self) -> None:
        """Cancel what still runs, and take nothing more: the run ends here."""
        self._over = True
        for task in self._tasks:
            task.cancel()

    def go_on(self) -> None:
        """Take work again: the run was about to end, and stays."""
        self._over = False

    # --- injected messages

    def inject(self, messages: Sequence[ModelMessage]) -> None:
        """Put messages into the prompt as soon as there is a place for them; see `RunControl.inject`."""
        if self._over:
            raise UsageError("the run is over: nothing can be injected into it")
        rows = checked_rows(messages)
        if rows:
            self._state.layers = self._state.layers.with_waiting(rows)
            self.wake()

    def place_behind(self, message: UIMessage | None, prompt: Sequence[ModelMessage]) -> None:
        """Let what waits stand behind the last message of the history, before `run` is called.

        Not behind a tool row: what comes next there is the model's, or the execution of what was approved.
        """
        if message is not None and not (prompt and prompt[-1]["role"] == "tool"):
            self._state.layers = self._state.layers.with_waiting_placed(Place.behind(message))

    def place_in(self, message_id: str, part_index: int) -> list[ModelMessage]:
        """Let what waits stand in the answer that is being made; returns it."""
        waiting = list(self._state.layers.waiting)
        if waiting:
            self._state.layers = self._state.layers.with_waiting_placed(Place(message_id, part_index))
        return waiting


def _close(work: Any) -> None:
    """A coroutine that nobody came to await would warn about it."""
    if inspect.iscoroutine(work):
        work.close()


def _nothing() -> None:
    return None
