"""A small reference of a session: what must come of inputs, of what the model does, of time and of crashes.

It is told what happens (`append`, `advance`, `crash`, and the attributes of `Stepping`) and comes to rest in `settle`;
`view`, `disk` and the lists of `Stepping` then say what must be seen from outside.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

from tests.machine.history_rules import Failure, Message
from tests.machine.reference_recovery import Recovering
from tests.machine.reference_state import (
    IDLE_TIMEOUT,
    PASSED,
    QUESTIONS,
    TURN_TIMEOUT,
    UNANSWERED,
    Input,
    Refused,
    Waiting,
)

INTERRUPTED_BY_NEWER = "interrupted by a newer message"


class Reference(Recovering):
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
        self.disk.deaths += self.has_work
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
        hidden: set[int] = set()
        if run is not None:
            begun = run.running is not None and run.running[0] > disk.in_cursor
            if begun:
                history, branches = run.running[1:]
            elif self._find_unfinished() is not None:
                return {**self.view_elsewhere(), **self.position()}
            elif run.work is not None and run.work.input.seq > disk.in_cursor:
                waiting.append(run.work.input)
            hidden = (run.state.withdrawn - run.planned) | disk.state.withdrawn
            waiting += [one for one in run.queue if one.seq not in hidden and one not in waiting]
        return {
            "messages": history,
            "branches": branches,
            "pending": [(one.seq, one.body["message"]) for one in waiting if one.is_user],
            **self.position(),
        }

    def view_elsewhere(self) -> dict[str, Any]:
        """What loading the session must give in a process that does not run it: the log says which turn has begun."""
        disk, begun = self.disk, self._find_unfinished()
        if begun is None:
            history, branches, after, injected = disk.history, disk.tree.branches(), disk.in_cursor, []
        else:
            (history, branches), after, injected = disk.shown[begun["seq"]], begun["seq"], list(begun["injected"])
        waiting: dict[int, Message] = {}
        for one in disk.inbox[disk.in_cursor :]:
            target = one.body.get("inSeq", 0)
            if one.is_user and one.seq > after and injected and one.body["message"]["id"] == injected[0]:
                injected.pop(0)  # part of the answer by now, whatever is said of it later
            elif one.is_user:
                waiting[one.seq] = one.body["message"]
            elif one.kind == "withdraw" and target > after:
                waiting.pop(target, None)
            elif one.kind == "edit" and target in waiting:
                waiting[target] = {**one.body["message"], "id": waiting[target]["id"]}
        gone = disk.state.withdrawn | disk.state.settled
        pending = [(seq, message) for seq, message in waiting.items() if seq > after and seq not in gone]
        return {"messages": history, "branches": branches, "pending": pending, **self.position(outside=True)}

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

    # --- what arrives

    def _read(self) -> None:
        run = self.live
        for record in self.disk.inbox[run.read_cursor :]:
            run.read_cursor = record.seq
            if record.seq not in run.state.settled:
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
        if run.at_hand is not None and run.at_hand.stop is None and run.at_hand.input.kind not in ("action", "switch"):
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
