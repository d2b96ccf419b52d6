"""A turn that outlived its run: this one carries out its open calls once more, where that does no harm, and goes on.

That a call may have started is known from `.out`: its chunk is stored, under the lease, before its tool starts. Which
calls may be carried out again the tools say (`Effect`). Before any of them is, a `resumed` record is stored, so that a
turn which kills its runs is not taken up for ever (D33).
"""

from __future__ import annotations

from typing import cast

from chatrt import failpoints
from chatrt.codec import dumps
from chatrt.runtime.begun import BegunTurnWork
from chatrt.runtime.context import RunContext
from chatrt.runtime.recovery import UnfinishedTurn
from chatrt.runtime.response import Response
from chatrt.runtime.work import Completed, Failed, HandedOn, Outcome, Stopped
from chatrt.stores import Record
from chatrt.tools import Effect
from chatrt.ui import UIMessage, UIPart, get_tool_name, is_tool_part

MAX_ATTEMPTS = 3
"""How many runs may try the calls of one answer; then it is closed as interrupted."""

OUTCOME_UNKNOWN = "The outcome of this call is unknown: the server died while it ran. It may have taken effect."
"""What the model reads of an unsafe call, where the agent lets it decide what to do next."""


class ResumedWork(BegunTurnWork):
    """The input of a turn that another run left, being served on from where that run came to.

    Args:
        context: The run that serves it.
        record: The input.
        left: What is left of the turn.
    """

    def __init__(self, context: RunContext, record: Record, left: UnfinishedTurn) -> None:
        super().__init__(context, record)
        self._left = left

    @property
    def can_go_on(self) -> bool:
        """Whether the model had said all of its last step, and every call of that step may be carried out again."""
        context, said = self.context, None if self.response is None else self.response.snapshot()
        if said is None or context.loop is not None or self._left.attempts >= MAX_ATTEMPTS:
            return False
        step = _last_step(said)
        calls = [part for part in step if is_tool_part(part)]
        return (
            bool(calls)
            and not any(part.get("state") in ("streaming", "input-streaming", "approval-requested") for part in step)
            and all(self._may_be_repeated(part) for part in calls)
        )

    async def perform(self) -> Outcome | HandedOn:
        response = self._writer_of_answer()
        try:
            self.tell_turn_start()
            attempt = self._left.attempts + 1
            record = {"inSeq": self.in_seq, "messageId": response.message_id, "attempt": attempt}
            self.context.writer.push("resumed", dumps(record))
            await self.context.writer.flush()  # under the lease: whoever lost it carries nothing out
            failpoints.reach("recover.dispatched")
            if self.turn is not None:
                self.turn.attempt = attempt
                self._give_up_unsafe(response)
                self.put_in_place(response)
                if await self.carry_out_calls(response):
                    if self._left.is_within_step:
                        response.emit({"type": "finish-step"})
                    await self._run(self.turn)
        except Exception as error:
            return Failed(error)
        return Stopped(self.stop_reason) if self.stop_signal.is_set() else Completed()

    def _effect(self, part: UIPart) -> Effect | None:
        """What carrying out a call again does; None for what is not carried out here."""
        tool = self.tools.get(get_tool_name(part))
        return None if tool is None or not tool.has_body or part.get("providerExecuted") else tool.effect

    def _may_be_repeated(self, part: UIPart) -> bool:
        effect = self._effect(part)
        return effect is not None and (effect != "unsafe" or self.context.agent.unknown_outcome == "tell")

    def _give_up_unsafe(self, response: Response) -> None:
        said = response.snapshot()
        for part in () if said is None else said["parts"]:
            if is_tool_part(part) and self._effect(part) == "unsafe" and _is_open(part):
                response.emit(
                    {"type": "tool-output-error", "toolCallId": part["toolCallId"], "errorText": OUTCOME_UNKNOWN}
                )


def _last_step(message: UIMessage) -> list[UIPart]:
    parts = message["parts"]
    start = max((index for index, part in enumerate(parts) if part["type"] == "step-start"), default=0)
    return parts[start:]


def _is_open(part: UIPart) -> bool:
    match part.get("state"):
        case "input-available":
            return True
        case "approval-responded":
            return cast("dict[str, object]", part.get("approval") or {}).get("approved") is True
        case "output-available":
            return part.get("preliminary") is True
        case _:
            return False
