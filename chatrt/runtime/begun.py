"""A turn whose answer was begun by another process: its open calls are carried out here, and then the model goes on."""

from __future__ import annotations

from chatrt.generate import PendingCalls
from chatrt.runtime.response import Response
from chatrt.runtime.turns import TurnWork
from chatrt.ui import overlay_tool_states


class BegunTurnWork(TurnWork):
    """What a head start and a turn that outlived its run have in common."""

    def put_in_place(self, response: Response) -> None:
        """Make what was said so far part of the history, behind what came in."""
        said = response.snapshot()
        if said is None:
            return
        history = self.context.history
        response.kept = history.find_message(said["id"])
        if response.kept is None:
            history.append(said)
            response.kept = said

    async def carry_out_calls(self, response: Response) -> bool:
        """Carry out the calls that were made and not answered, and give the history their results.

        Returns:
            Whether the model can go on: nobody stopped the turn, and no call waits for the client or a person.
        """
        said = response.snapshot()
        parts = [] if said is None else said["parts"]
        before = [message for message in self.context.history.all() if message["id"] != response.message_id]
        pending = PendingCalls(parts, self.tools, self.convert(before), ids=self.context.ids)
        await self.context.writer.confirm()
        await self.answer(pending.chunks)
        if self.stop_signal.is_set() or not pending.all_answered:
            return False
        self._advance(response)
        return True

    def _advance(self, response: Response) -> None:
        """Give the history what was said; what hooks made of the message meanwhile stays (D1)."""
        history, said = self.context.history, response.snapshot()
        stored = history.find_message(response.message_id)
        if stored is None or said is None:
            return
        if stored == response.kept:
            history.advance(said)
            response.kept = said
        else:
            history.advance(overlay_tool_states(stored, said))
