"""Writes that found nothing running: their parts go to the last answer, or to a new one behind a question."""

from __future__ import annotations

from collections.abc import Sequence

from chatrt.runtime.context import RunContext
from chatrt.runtime.work import Completed, Outcome, Work
from chatrt.stores import Record


class WriteWork(Work):
    """`write` records that follow one another, being served as one; no hook and no run function is called.

    Args:
        context: The run that serves them.
        records: At least one; the last one names the work on `.out`.
        message_id: The id a new answer has to get; otherwise a fresh one.
    """

    def __init__(self, context: RunContext, records: Sequence[Record], message_id: str | None = None) -> None:
        super().__init__(context, records[-1], message_id)
        self._records = records

    async def perform(self) -> Outcome:
        """Write everything; nothing is awaited, so that all of it is stored with the one commit at the end."""
        last = self.context.history.last
        self.open_response(last if last is not None and last["role"] == "assistant" else None)
        for record in self._records:
            self.take_write(record)
        return Completed()
