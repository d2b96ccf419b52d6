"""The life of one run of a reference session: it boots, wakes up with its first input, and serves one after another."""

from __future__ import annotations

from tests.machine.history_rules import Failure
from tests.machine.reference_state import Input, Run, Waiting, Work
from tests.machine.reference_turns import Serving


class Running(Serving):
    """Serves inputs as the work of a run."""

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
