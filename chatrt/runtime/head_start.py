"""Head start: a turn whose first step another process makes while the run boots, taken over without a seam.

The input is a message like any other, with the id of its answer in `headStart`. What the other process has to say comes
in behind it on `.in`, and goes on with the input after a crash:

    head-chunks     what the step said so far: it goes on to `.out` at once
    handover        the step is whole: its calls are carried out and the answer goes on, or it is the whole answer
    handover-skip   there is nothing to take over: the run answers by itself, from the beginning

Before the last two of these, or a stop, or `head_start_timeout` seconds of silence, nothing of the application is
called but `on_boot`. Then a `handover` record on `.out` says what became of the step, and all hooks of a turn fire:

    continued   its calls are carried out here; when all have their results, `run` goes on with the same message
    final       `run` is not called
    discarded   what was relayed is taken back by a `reset-step`; `run` answers
    stopped     what was relayed is kept
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from chatrt.codec import dumps, loads
from chatrt.errors import ChatrtError, InvalidInputError
from chatrt.models import Usage
from chatrt.runtime.begun import BegunTurnWork
from chatrt.runtime.context import RunContext
from chatrt.runtime.recovery import Seam, UnfinishedTurn
from chatrt.runtime.response import Response
from chatrt.runtime.work import Completed, Failed, HandedOn, Outcome, Stopped
from chatrt.stores import Record
from chatrt.turn import Turn
from chatrt.ui import UIMessage, UIMessageChunk

logger = logging.getLogger("chatrt.runtime")


def has_head_start(record: Record) -> bool:
    """Tell whether the answer to an input is begun by another process."""
    return record.kind == "message" and b'"headStart"' in record.body and "headStart" in loads(record.body)


class HeadStartWork(BegunTurnWork):
    """A `message` record with a head start being served.

    Args:
        context: The run that serves it.
        record: The record.
        left: What another run left of this turn.
    """

    def __init__(self, context: RunContext, record: Record, left: UnfinishedTurn | None = None) -> None:
        super().__init__(context, record)
        self._message_id = self.body["headStart"]["messageId"] if left is None else left.message_id
        self._left = left
        self._said: deque[Record] = deque()
        self._news = asyncio.Event()
        self._relayed = 0
        self._is_behind_seam = False

    def take_relayed(self, record: Record) -> None:
        self._said.append(record)
        self._news.set()

    def take_write(self, record: Record) -> bool:
        """Put a write into the answer, behind the seam: up to there `.out` has what was relayed and no more."""
        return self._is_behind_seam and super().take_write(record)

    # --- before the seam

    def describe_start(self, message_id: str, base: UIMessage | None) -> dict[str, Any]:
        return {**super().describe_start(message_id, base), "headStart": True}

    def messages_to_show(self) -> list[UIMessage]:
        shown = super().messages_to_show()
        return shown if self.merged else [*shown, self.body["message"]]

    def open_response(self, base: UIMessage | None) -> Turn[Any]:
        """Begin the answer, or take it up where its log ends: it was begun once, so there is no second beginning."""
        left = self._left
        if left is None or not left.is_head_start:
            return super().open_response(base)
        turn = self._resume_response(left.message_id, None, left.chunks)
        self._relayed = len(left.chunks)
        self.tell_turn_start()
        return turn

    def open_late(self) -> None:
        """Begin the answer with what a person may have seen of it (D21)."""
        self.open_response(None)
        try:
            self._take_what_was_said(self._writer_of_answer())
        except ChatrtError:
            logger.warning("chat %s: a head start is not kept", self.context.chat_id, exc_info=True)

    async def perform(self) -> Outcome | HandedOn:
        try:
            self.open_response(None)
            response = self._writer_of_answer()
            seam = await self._reach_seam(response)
            await self.resolve_agent_parts()
            await self._accept()
            turn = self._begin_turn(response)
            self.tell_turn_start()
            self.put_in_place(response)
            await self._announce(turn)
            if seam in ("continued", "discarded"):
                if self._is_handed_on():
                    return HandedOn()
                if seam != "continued" or await self.carry_out_calls(response):
                    await self._run(turn)
        except Exception as error:
            return Failed(error)
        return Stopped(self.stop_reason) if self.stop_signal.is_set() else Completed()

    async def _reach_seam(self, response: Response) -> Seam:
        """Relay until the step is over, one way or another, and say on `.out` how; stored when this returns."""
        left = self._left
        known = None if left is None else left.seam
        seam = known if known == "discarded" else await self._relay_all(response)
        if seam in ("discarded", "stopped"):
            response.close_texts()
        if known is None or (left is not None and left.handed_on):
            # Also where the run before this one had said it and handed the turn on: from here on it is in this one.
            record = {"inSeq": self.in_seq, "messageId": response.message_id, "outcome": seam}
            self.context.writer.push("handover", dumps(record))
        if known is None and seam == "discarded":
            response.reset_step()
        self._is_behind_seam = True
        await self.context.writer.flush()
        return seam

    async def _relay_all(self, response: Response) -> Seam:
        if "editSeq" in self.body:
            return "discarded"  # the step answers other words
        while True:
            try:
                seam = self._take_what_was_said(response)
            except ChatrtError as error:
                logger.warning("chat %s: a head start cannot be taken over: %s", self.context.chat_id, error)
                return "discarded"
            if self.stop_signal.is_set() and seam in (None, "discarded"):
                return "stopped"
            if seam is not None:
                return seam
            if self.context.writer.crowded:
                await self.context.writer.flush()
            if not await self._wait_for_more():
                logger.warning("chat %s: nobody goes on with the head start", self.context.chat_id)
                return "discarded"

    def _take_what_was_said(self, response: Response) -> Seam | None:
        while self._said:
            record = self._said.popleft()
            body: dict[str, Any] = loads(record.body)
            match record.kind:
                case "head-chunks":
                    self._relay(response, body["first"], body["chunks"])
                case "handover" if response.snapshot() is not None:
                    usage = body.get("usage")
                    response.end_step(body.get("finish"), None if usage is None else Usage.from_json(usage))
                    return "final" if body["isFinal"] else "continued"
                case _:
                    return "discarded"
        self._news.clear()
        return None

    def _relay(self, response: Response, first: int, chunks: list[UIMessageChunk]) -> None:
        """Write the chunks that are not on `.out` yet: chunk for chunk it has what was relayed, from the first on."""
        if first > self._relayed:
            raise InvalidInputError(f"chunk {self._relayed} is missing", path="/first")
        for chunk in chunks[self._relayed - first :]:
            response.relay(chunk)
            self._relayed += 1

    async def _wait_for_more(self) -> bool:
        """Return whether something was said, or a stop came, in time."""
        waits = [
            asyncio.create_task(self._news.wait()),
            asyncio.create_task(self.stop_signal.wait()),
            asyncio.create_task(self.context.clock.sleep(self.context.agent.head_start_timeout)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        return self._news.is_set() or self.stop_signal.is_set()
