"""What a run of a reference session makes of a turn that a dead run left (D8, D21)."""

from __future__ import annotations

from typing import Any

from tests.machine.history_rules import INJECTED, Failure, Message, approved_calls
from tests.machine.reference_runs import Running
from tests.machine.reference_state import QUESTIONS, Waiting, Work

PLANS = ("ask again", "answer nothing", "forget")
"""What an application may want: the question answered anew, nothing in flight answered, or the turn forgotten."""


class Recovering(Running):
    """Closes what is left, as the application plans."""

    def _find_unfinished(self) -> dict[str, Any] | None:
        """What the log has of a turn without its turn-complete, and whether people saw enough of it to keep it."""
        behind = self.disk.out[self.disk.settled_out :]
        starts = [index for index, record in enumerate(behind) if record["kind"] == "turn-start"]
        if not starts:
            return None
        start, said = behind[starts[-1]], behind[starts[-1] + 1 :]
        approved_ran = bool(said) and start["base"] is not None and bool(approved_calls(start["base"]))
        seen = any(record["seen"] for record in said) or approved_ran
        answer = said[-1]["answer"] if said else None
        injected = said[-1]["injected"] if said else []
        kept = seen and start["trigger"] in QUESTIONS
        return {**start, "kept": kept, "answer": answer, "injected": injected, "approvals_run": approved_ran}

    def _recover(self, unfinished: dict[str, Any]) -> Waiting:
        """Close what a dead run left of a turn, with what people saw of it (D8, D21)."""
        run = self.live
        # What stands before it was passed by the dead run: nothing else may overtake.
        run.queue = [waiting for waiting in run.queue if waiting.seq >= unfinished["seq"]]
        work = Work(run.queue.pop(0))
        settled = list(run.history)
        self._begin(work)
        run.work, run.at_hand_seq = work, work.input.seq
        for given in (self._wake_up, lambda: self._resume(work, unfinished)):
            try:
                yield from given()
            except Failure:
                pass  # logged: nothing keeps a turn from being closed
        run.state.chat_started = True
        work.opened, work.base, work.answer = True, unfinished["base"], unfinished["answer"]
        work.approvals_run = unfinished["approvals_run"]
        plan = yield from self._ask_for_plan(work)
        work.again = plan == "ask again" and work.new_message is not None
        if plan is not None:
            self._follow(plan, work, settled)
        yield from self._end(work, "interrupted", "")

    def _follow(self, plan: str, work: Work, settled: list[Message]) -> None:
        run = self.live
        if plan == "answer nothing":
            taken_back = {one.seq for one in run.queue if one.is_user} - run.state.withdrawn
            run.state.withdrawn |= taken_back
            run.planned |= taken_back
            return
        # What was put into an answer that is gone waits again.
        lost = [one for one in run.injected if work.again or one.body["message"]["id"] not in _shown(settled)]
        run.injected = [one for one in run.injected if one not in lost]
        if lost:
            run.state.settled |= {one.seq for one in run.injected if one.seq > lost[0].seq}
        run.queue = [*([work.input] if work.again else []), *lost, *run.queue]
        work.kept = False
        run.history = settled

    def _resume(self, work: Work, unfinished: dict[str, Any]) -> Waiting:
        run = self.live
        left = list(unfinished["injected"])
        while run.queue and left and run.queue[0].is_user and run.queue[0].body["message"]["id"] == left[0]:
            run.injected.append(run.queue.pop(0))
            left.pop(0)
        yield from self.accept(work)

    def _ask_for_plan(self, work: Work) -> Waiting:
        run = self.live
        waiting = [*run.injected, *(one for one in run.queue if one.is_user and one.seq not in run.state.withdrawn)]
        in_flight = [one.body["message"]["id"] for one in waiting]
        if work.new_message is not None:
            in_flight.insert(0, work.new_message["id"])
        calls = [part["toolCallId"] for part in work.answer["parts"] if part.get("state") == "input-available"]
        fired = run.state.fired
        try:
            return (yield from self.hook("recovery_boot", run.id, run.previous, in_flight, calls))
        except Failure:
            run.state.fired = fired  # logged, and it goes on as without the hook
            return None


def _shown(messages: list[Message]) -> set[str]:
    """What was said in these messages, by the ids of the people's messages."""
    injected = [part["ids"] for message in messages for part in message["parts"] if part["type"] == INJECTED]
    return {message["id"] for message in messages} | {one for ids in injected for one in ids}
