"""A small reference of a session: what must come of inputs, of what the model does, of time and of crashes.

It is told what happens (`append`, `advance`, `crash`, and the attributes of `Stepping`) and comes to rest in `settle`;
`view`, `disk` and the lists of `Stepping` then say what must be seen from outside.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from tests.machine.history_rules import Failure, approved_calls
from tests.machine.reference_state import (
    IDLE_TIMEOUT,
    PASSED,
    QUESTIONS,
    TURN_TIMEOUT,
    UNANSWERED,
    Input,
    Refused,
    Run,
    Waiting,
    Work,
)
from tests.machine.reference_turns import Serving

INTERRUPTED_BY_NEWER = "interrupted by a newer message"


class Reference(Serving):
    """One session and the runs that serve it, one after another."""

    def __init__(self, *, when_busy: str, max_turns: int) -> None:
        super().__init__()
        self.when_busy = when_busy
        self.max_turns = max_turns
        self._life: Waiting | None = None
        self._woken = False

    # --- what happens to it

    def append(self, kind: str, body: dict[str, Any], part_id: str) -> tuple[int, bool]:
        """Take an input: its number, and whether it was there already.

        Raises:
            Refused: If the session is closed, or busy and asked to say so.
        """
        disk = self.disk
        if part_id in disk.parts:
            self._wake()
            return disk.parts[part_id], True
        if disk.closed:
            raise Refused("session-closed")
        given = Input(len(disk.inbox) + 1, kind, body)
        busy = any(one.kind in (*QUESTIONS, "action") for one in disk.inbox[disk.in_cursor :])
        if self.when_busy == "reject" and busy and (given.is_user or kind == "regenerate"):
            raise Refused("session-busy")
        disk.inbox.append(given)
        disk.parts[part_id] = given.seq
        self._wake()
        return given.seq, False

    def close(self) -> None:
        self.disk.closed = True
        self._wake()

    def crash(self) -> None:
        """Nothing survives but the disk; another run takes up what is unsettled."""
        self._life = self.run = None
        self.held_hook = self.holding = self.deaf = ""
        self.stalled = False
        self.tools.clear()
        self._woken = self.has_work

    @property
    def has_work(self) -> bool:
        return len(self.disk.inbox) > self.disk.in_cursor or len(self.disk.out) > self.disk.settled_out

    def settle(self) -> None:
        """Let happen what can."""
        while self._life is not None or self._woken:
            if self._life is None:
                self._woken = False
                self._life = self._serve()
            else:
                self._read()
            try:
                next(self._life)
            except StopIteration:
                self._life = self.run = None
                self.holding = ""
            else:
                break
        self.land()

    def _wake(self) -> None:
        if self._life is None:
            self._woken = True
        else:
            self.live.stirred = True

    # --- what must be seen

    def view(self) -> dict[str, Any]:
        """What loading the session must give, in the process that serves it."""
        disk, run = self.disk, self.run
        history, branches = disk.history, disk.tree.branches()
        waiting: list[Input] = []
        if run is not None:
            begun = run.running is not None and run.running[0] > disk.in_cursor
            if begun:
                history, branches = run.running[1:]
            elif run.work is not None and run.work.input.seq > disk.in_cursor:
                waiting.append(run.work.input)
            waiting += [one for one in run.queue if one.seq not in run.state.withdrawn]
        return {
            "messages": history,
            "branches": branches,
            "pending": [(one.seq, one.body["message"]) for one in waiting if one.is_user],
            **self.position(),
        }

    def position(self, *, outside: bool = False) -> dict[str, Any]:
        """Where the session stands; from outside nobody knows what runs and has not said so yet."""
        disk = self.disk
        waits = any(one.kind not in UNANSWERED for one in disk.inbox[disk.in_cursor :])
        runs = self.run is not None and self.run.running is not None and self.run.running[0] > disk.in_cursor
        to_come = waits or (runs and not outside) or len(disk.out) > disk.settled_out
        status = "running" if to_come else "closed" if disk.closed else "idle"
        return {"in_cursor": disk.in_cursor, "last_in_seq": len(disk.inbox), "status": status}

    # --- a run

    def _serve(self) -> Waiting:
        self.run = run = self._boot()
        unfinished = self._find_unfinished()
        if unfinished is not None and unfinished["kept"]:
            # It is past being changed, and what was meant for it must not act on a later turn.
            run.left = unfinished["seq"], unfinished["edited"]
            run.at_hand_seq = unfinished["seq"]
        elif unfinished is not None:
            run.known_ids[unfinished["seq"]] = unfinished["id"]
        self._read()
        if unfinished is not None and unfinished["kept"]:
            yield from self._recover(unfinished)
        while run.turns < self.max_turns:
            if (yield from self._next()):
                yield from self._handle(run.queue.pop(0))
            elif (yield from self._leave()):
                return
        yield from self._pass_strays()
        self._woken = len(self.disk.inbox) > run.settled_up_to

    def _boot(self) -> Run:
        disk = self.disk
        state = disk.state.after(disk.in_cursor)
        # What the log holds behind the last turn-complete was written by a run that died, and that does not come back.
        died = len(disk.out) > disk.settled_out
        resumed = state.suspended is not None and self.now <= state.suspended[0] and not died
        return Run(
            history=disk.history,
            tree=disk.tree.copy(),
            state=state,
            id=state.run if resumed else self.name("run"),
            previous=state.run,
            continuation=state.runs > (1 if resumed else 0),
            resumed=resumed,
            resumes=state.suspended[1] if resumed else None,
            phase=state.suspended[1] if resumed else "turn",
            turns=state.run_turns if resumed else 0,
            read_cursor=disk.in_cursor,
            in_cursor=disk.in_cursor,
            saved_fired=state.fired,
        )

    def _next(self) -> Waiting:
        """Wait for an input; False if none came for the idle time."""
        run = self.live
        while not run.queue:
            run.stirred = False
            yield from self._pass_strays()
            since, patience = self.now, 0 if self.disk.closed else IDLE_TIMEOUT
            yield from self.until("idle", lambda: run.queue or run.stirred or self.now - since >= patience)
            if not run.queue and not run.stirred:
                return False
        return True

    def _pass_strays(self) -> Waiting:
        """What had nothing to act on is passed without a turn; what the application left is stored."""
        if self.live.settled_up_to > self.live.in_cursor or self.live.has_new_value:
            yield from self.commit([])

    def _leave(self) -> Waiting:
        """Suspend the run; False if something came meanwhile."""
        run = self.live
        changed = run.begun and not self.disk.closed
        if changed:
            if run.served and run.state.suspended is None:
                try:
                    yield from self.hook("suspend", run.id, run.phase, run.turns)
                except Failure:
                    pass  # logged
            run.state.suspended = (self.now + TURN_TIMEOUT, run.phase)
            run.resumes, run.resumed = run.phase, True
        if run.queue:
            return False
        settled = run.settled_up_to
        if changed or settled > run.in_cursor or run.has_new_value:
            yield from self.commit([])
        return len(self.disk.inbox) == settled

    def _begin(self, work: Work) -> None:
        run = self.live
        preload = work.input.kind == "preload"
        if not run.begun:
            run.begun = True
            run.preloaded = preload or run.resumes == "preload"
            if not run.resumed:
                run.state.runs += 1
                run.state.run, run.state.run_turns = run.id, 0
                run.phase = "preload" if preload else "turn"
        if not preload:
            run.phase = "turn"
        run.state.suspended = None

    def _wake_up(self) -> Waiting:
        """Fire the hooks of a run that comes to memory; one that failed fires again with the next input."""
        run = self.live
        if not run.booted:
            previous = None if run.previous in ("", run.id) else run.previous
            yield from self.hook("boot", run.id, run.continuation, run.preloaded, run.resumed, previous)
        run.booted = True
        if run.resumes is not None:
            yield from self.hook("resume", run.id, run.resumes, run.turns)
            run.resumes = None

    def _handle(self, record: Input) -> Waiting:
        run = self.live
        if record.seq in run.state.withdrawn:
            yield from self.settle_input(record, "withdrawn")
            return
        work = Work(record, known_id=run.known_ids.pop(record.seq, None))
        fresh = not run.served and not run.resumed
        self._begin(work)
        if record.kind == "preload" and not fresh:
            try:
                yield from self._wake_up()
            except Failure:
                pass  # logged
            run.served = True
            return
        work.stop = run.state.stopped.pop(record.seq, None)
        run.work = run.at_hand = work
        run.at_hand_seq = record.seq
        try:
            yield from self._wake_up()
        except Failure as failure:
            outcome, code = "failed", failure.code
        else:
            outcome, code = yield from self.perform(work)
        yield from self._end(work, outcome, code)

    def _end(self, work: Work, outcome: str, code: str) -> Waiting:
        run = self.live
        run.at_hand = None  # past stopping
        yield from self.finish(work, outcome, code)
        run.served = True
        run.work, run.at_hand_seq, run.running = None, 0, None

    # --- after a crash

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
        yield from self._ask_for_plan(work)
        yield from self._end(work, "interrupted", "")

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
            yield from self.hook("recovery_boot", run.id, run.previous, in_flight, calls)
        except Failure:
            run.state.fired = fired  # logged, and it goes on as without the hook

    # --- what arrives

    def _read(self) -> None:
        run = self.live
        for record in self.disk.inbox[run.read_cursor :]:
            run.read_cursor = record.seq
            self._take(copy(record))

    def _take(self, record: Input) -> None:
        run = self.live
        if record.kind == "stop":
            if record.seq > run.state.stop_cursor:
                run.state.stop_cursor = record.seq
                self._stop(record)
        elif record.kind in PASSED:
            self._change_waiting(record)
        else:
            if self.when_busy == "interrupt" and record.kind in QUESTIONS:
                self._interrupt()
            run.queue.append(record)

    def _stop(self, record: Input) -> None:
        """A stop means the turn at hand until its turn-complete is stored, else the message that waits first."""
        run = self.live
        wanted, reason = record.body.get("inSeq"), record.body.get("reason") or "stopped"
        if run.at_hand_seq > run.in_cursor and wanted in (None, run.at_hand_seq):
            if run.at_hand is None:
                run.state.stopped[run.at_hand_seq] = reason
            elif run.at_hand.stop is None:
                run.at_hand.stop = reason
            return
        waiting = [one.seq for one in run.queue]
        target = wanted if wanted is not None else waiting[0] if waiting else None
        if target in waiting:
            run.state.stopped[target] = reason

    def _interrupt(self) -> None:
        run = self.live
        if run.at_hand is not None and run.at_hand.stop is None and run.at_hand.input.kind != "action":
            run.at_hand.stop = INTERRUPTED_BY_NEWER
        run.state.stopped |= {one.seq: INTERRUPTED_BY_NEWER for one in run.queue if one.kind in QUESTIONS}

    def _change_waiting(self, record: Input) -> None:
        """Edit or withdraw a user message that waits; one whose turn has begun, or that was injected, is past that."""
        run, target = self.live, record.body["inSeq"]
        for place, waiting in enumerate(run.queue):
            late = target == run.left[0] and record.seq > run.left[1]
            if waiting.seq != target or not waiting.is_user or late:
                continue
            if record.kind == "withdraw":
                run.state.withdrawn.add(target)
            else:
                message = {**record.body["message"], "id": waiting.body["message"]["id"]}
                run.queue[place] = replace(waiting, body={**waiting.body, "message": message}, edited=record.seq)
