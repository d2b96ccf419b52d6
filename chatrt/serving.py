"""Serving a session by a loop of one's own: turns come to the code, instead of the code being called for each.

    @agent.serve
    async def serve(session):
        async for turn in session.turns():
            await turn.complete(stream_text("openai/gpt-5", turn.messages))

Everything else is as for a `run` function: what came in is part of the history before the loop sees it, hooks fire, a
stop ends the answer, a turn is committed whole. What the loop keeps in its variables lives as long as the run is in
memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from chatrt.history import History
from chatrt.run_control import RunControl
from chatrt.turn import ClientDataT, Turn, enter_turn
from chatrt.ui import UIMessage


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended: the answer as the history has it, and what failed."""

    message: UIMessage | None
    error: BaseException | None = None


@dataclass(kw_only=True)
class ServedTurn(Turn[ClientDataT]):
    """A turn in the hands of a loop. Going on to the next one without `complete` completes it as it stands.

    Attributes:
        action: What a client asks for, when the trigger is `action` and the agent has no `on_action`.
        data: What came in, when the trigger is `data`.
    """

    action: Any = None
    data: Any = None
    given: asyncio.Future[Any] = field(init=False, repr=False)
    ended: asyncio.Future[TurnEnd] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.given = loop.create_future()
        self.ended = loop.create_future()

    @property
    def stopped(self) -> bool:
        """Whether a person ended the turn."""
        return self.stop_requested

    async def complete(self, answer: Any = None) -> UIMessage | None:
        """Stream an answer, end the turn, and return the answer as the history has it.

        Args:
            answer: What a `run` function may return. Of a turn that is over already it is closed, unread.

        Returns:
            The answer, also when it was stopped; None when nothing was said.

        Raises:
            Exception: What failed. The turn is over and committed as failed, with what was said.
        """
        if not self.given.done():
            self.given.set_result(answer)
        elif hasattr(answer, "aclose"):
            await answer.aclose()
        end = await asyncio.shield(self.ended)
        if end.error is not None:
            raise end.error
        return end.message

    async def done(self) -> UIMessage | None:
        """End the turn with what was written to `response` so far."""
        return await self.complete()


class ServedSession:
    """The session that a `serve` function serves.

    Attributes:
        chat_id: The public id.
        run: The run; see `RunControl`.
        history: The messages of the chat.
    """

    def __init__(self, run: RunControl, history: History) -> None:
        self.chat_id = run.chat_id
        self.run = run
        self.history = history
        self._waiting: asyncio.Queue[ServedTurn[Any] | None] = asyncio.Queue()
        self.open: ServedTurn[Any] | None = None

    def put(self, turn: ServedTurn[Any] | None) -> None:
        """Hand a turn to the loop; None ends it."""
        self._waiting.put_nowait(turn)

    async def turns(self) -> AsyncIterator[ServedTurn[Any]]:
        """Yield the turns of the session as they come; ends when the run leaves memory.

        Leaving the loop ends the run as `end_run` does; the `serve` function is called again for what comes next.
        """
        while True:
            turn = await self._waiting.get()
            if turn is None:
                return
            if turn.ended.done():
                continue  # it was stopped while the loop was busy with something else
            self.open = turn
            enter_turn(turn)
            yield turn
            if not turn.given.done():
                turn.given.set_result(None)
            await asyncio.wait({turn.ended})
            self.open = None
            enter_turn(None)
