"""A data input: JSON for a loop of the application's own, when a session is used as a durable channel."""

from __future__ import annotations

from chatrt.errors import InvalidInputError
from chatrt.runtime.work import Completed, Failed, Outcome, Stopped, Work


class DataWork(Work):
    """A `data` record being served; what is written for it is on `.out` and no message of the history."""

    keeps_answer = False

    async def perform(self) -> Outcome:
        """Hand the data to the agent's loop."""
        loop = self.context.loop
        try:
            await self.resolve_agent_parts()
            if loop is None:
                raise InvalidInputError(f"agent {self.context.agent.id!r} takes no data", path="/kind")
            turn = self.open_response(None)
            await self.answer(lambda: loop.answer(turn))
        except Exception as error:
            return Failed(error)
        return Stopped(self.stop_reason) if self.stop_signal.is_set() else Completed()
