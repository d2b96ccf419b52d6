"""An input that is sent from inside of a run: not where nobody could answer it, and stopped when nobody waits for it.

Outside of runs all of this does nothing, and an input is just sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from chatrt.client.transport import Transport
from chatrt.errors import SessionNotFoundError, SubAgentDeadlockError
from chatrt.runtime.asks import Ask, Asks, find_asks

REASON = "nobody waits for the answer"


class Asking:
    """What the turn that asks knows of one answer.

    Args:
        transport: The way to the session that is asked.
        agent_id: Its agent.
        chat_id: Its chat id.
        part_id: Names the input; empty when none is sent, as by somebody who only looks on.
    """

    def __init__(self, transport: Transport, agent_id: str, chat_id: str, part_id: str = "") -> None:
        self._transport = transport
        self._agent_id = agent_id
        self._chat_id = chat_id
        self._part_id = part_id
        self._asks: Asks | None = None
        self._ask: Ask | None = None
        self._reading = False

    def check_depth(self) -> None:
        """Look whether one more turn may wait, before anything is begun.

        Raises:
            SubAgentDepthError: If too many turns would wait for one another.
        """
        asks = find_asks()
        if asks is not None:
            asks.chain()

    async def begin_reading(self) -> None:
        """Wait for the answer from here on, if it can come.

        Raises:
            SubAgentDeadlockError: If the turn that would give it waits for this one.
        """
        self._reading = True
        if self._ask is not None:
            self._ask.reading = True
        asks = find_asks()
        asker = None if asks is None else asks.find_waiting(self._agent_id, self._chat_id)
        if asker is None:
            return
        try:
            state = await self._transport.load(self._chat_id)
        except SessionNotFoundError:
            return
        if state.in_cursor < asker.in_seq:
            raise SubAgentDeadlockError(self._chat_id)

    async def append(self, body: Mapping[str, Any]) -> int:
        """Send the input and return its number when it is durable.

        Raises:
            ChatrtError: What `Transport.append` raises.
        """
        asks = find_asks()
        if asks is None:
            return await self._transport.append(self._chat_id, body, part_id=self._part_id)
        whole = {**body, "askers": [asker.to_json() for asker in asks.chain()]}

        async def send() -> int:
            return await self._transport.append(self._chat_id, whole, part_id=self._part_id)

        # In a task of its own: a turn that is stopped right here has to know whether there is anything to stop.
        sending = asyncio.create_task(send())
        self._asks = asks
        ask = self._ask = asks.add(lambda: self._stop(sending))
        ask.reading = self._reading
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            sending.add_done_callback(_forget_result)
            asks.leave(ask)
            raise
        except Exception:
            ask.settled = True  # nothing was sent
            raise

    def end_reading(self, *, settled: bool) -> None:
        """Say that nobody reads the answer any more, and whether it came to its end."""
        if self._asks is None or self._ask is None:
            return
        self._ask.settled = self._ask.settled or settled
        self._asks.leave(self._ask)

    async def _stop(self, sending: asyncio.Task[int]) -> None:
        body = {"kind": "stop", "inSeq": await sending, "reason": REASON}
        await self._transport.append(self._chat_id, body, part_id=f"{self._part_id}-stop")


def _forget_result(task: asyncio.Task[int]) -> None:
    if not task.cancelled():
        task.exception()
