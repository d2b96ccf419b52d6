"""How a reference session serves one input: the way of a turn, an action, a preload, and the one end they have."""

from __future__ import annotations

from tests.machine.history_rules import (
    Failure,
    Message,
    close_texts,
    find,
    has_unread_answers,
    take_answers,
    take_user_message,
    tell_the_truth,
    trim,
    waits_for_client,
)
from tests.machine.reference_answer import Answering
from tests.machine.reference_state import Halted, Input, Waiting, Work


class Serving(Answering):
    """Serves inputs, one at a time."""

    # --- a turn

    def perform(self, work: Work) -> Waiting:
        """Serve an input up to its outcome: ("completed" | "stopped" | "failed", code)."""
        kind = work.input.kind
        try:
            if kind == "action":
                yield from self._act(work)
            elif kind == "switch":
                self._switch(work)
            elif kind == "preload":
                self._open(work, None)
                yield from self.hook("preload", self.live.id)
            else:
                yield from self._turn(work)
        except Failure as failure:
            return "failed", failure.code
        return ("completed" if work.stop is None else "stopped"), ""

    def _turn(self, work: Work) -> Waiting:
        run = self.live
        yield from self.accept(work)
        last = run.history[-1] if run.history else None
        self._open(work, last if last is not None and last["role"] == "assistant" else None)
        if not run.state.chat_started:
            run.state.chat_started = True
            yield from self.hook("chat_start", run.id, run.turns, run.preloaded, len(run.history))
        yield from self.hook(
            "turn_start", run.id, run.turns, work.input.kind, run.continuation, run.preloaded, len(run.history)
        )
        if work.awaited:
            return
        yield from self.hook("prepare", run.turns)
        if work.stop is None:
            yield from self._in_answer(work, self._generate(work))
        if work.stop is None and work.stream_failed:
            raise Failure("model-response")

    def accept(self, work: Work) -> Waiting:
        """Make what came in part of the history."""
        run, body = self.live, work.input.body
        if work.input.kind == "regenerate":
            run.history = trim(run.history, body.get("messageId"))
        else:
            message = body["message"]
            yield from self.hook("validate", run.turns, work.input.kind, message["id"])
            if message["role"] == "user":
                run.history = take_user_message(run.history, message, body.get("messageId"))
                work.new_message = message
            else:
                run.history, place, advanced = take_answers(run.history, message)
                run.grown.add(run.history[place]["id"])
                went_on = place != len(run.history) - 1
                answered = run.history[place]
                unread = advanced or has_unread_answers(answered)
                work.awaited = went_on or waits_for_client(answered) or not unread
        work.merged = True

    def _open(self, work: Work, base: Message | None) -> None:
        """Begin the answer on the log."""
        run = self.live
        message_id = base["id"] if base is not None else work.known_id
        if message_id is None or (base is None and find(run.history, message_id) is not None):
            message_id = self.name("answer")
        work.opened = True
        work.base = base
        work.answer = base or {"id": message_id, "role": "assistant", "parts": []}
        self.push(
            "turn-start",
            seq=work.input.seq,
            trigger=work.input.kind,
            id=message_id,
            base=base,
            edited=work.input.edited,
        )
        self.grow_tree()
        run.running = work.input.seq, list(run.history), run.tree.branches()
        self.disk.shown[work.input.seq] = run.running[1:]

    def _in_answer(self, work: Work, answer: Waiting) -> Waiting:
        work.in_answer = True
        try:
            return (yield from answer)
        except Halted:
            return None
        finally:
            work.in_answer = False

    # --- what is no turn

    def _switch(self, work: Work) -> None:
        run = self.live
        if work.stop is None:
            self.grow_tree()
            run.tree.switch(work.input.body["messageId"])
            run.history = run.tree.history

    def _act(self, work: Work) -> Waiting:
        """A failing or stopped action changes nothing (D20); what one says is kept (D3)."""
        run = self.live
        before = run.history, run.state.fired
        self._open(work, None)
        if work.stop is None:
            try:
                yield from self._in_answer(work, self._handle_action(work))
            except Failure:
                run.history, run.state.fired = before
                raise
        if work.stop is not None:
            run.history, run.state.fired = before

    def _handle_action(self, work: Work) -> Waiting:
        run, action = self.live, work.input.body["action"]
        yield from self.hook("action", run.turns, action["do"])
        place = find(run.history, action.get("id"))
        if action["do"] in ("rollback", "replace") and place is None:
            raise Failure("message-not-found")
        match action["do"]:
            case "slice":
                run.history = run.history[: max(0, len(run.history) - action["count"])]
            case "rollback":
                run.history = run.history[: place + 1]
            case "replace":
                run.history = [
                    {**message, "parts": [{"type": "text", "text": action["text"]}]}
                    if message["id"] == action["id"]
                    else message
                    for message in run.history
                ]
            case "raise":
                run.history = []
                raise Failure("internal-error")
            case "say":
                work.finish_reason = "stop"
                self._say(work, {"type": "text", "text": action["text"], "state": "done"})

    # --- the end

    def finish(self, work: Work, outcome: str, code: str) -> Waiting:
        """Close what is open, commit once, tell the last hook once."""
        run, kept = self.live, work.kept and work.input.kind != "preload"
        self._keep_what_came(work)
        self._close(work, outcome)
        message = self._keep_answer(work, outcome) if kept else None
        if work.is_turn and outcome in ("completed", "stopped"):
            facts = run.turns, work.input.kind, outcome == "stopped", work.finish_reason
            try:
                yield from self.hook("before_complete", *facts, message and message["id"], len(run.history))
            except Failure as failure:
                outcome, code = "failed", failure.code
                self._close(work, outcome)
                message = self._keep_answer(work, outcome) if kept else None
        reason = "error" if outcome in ("failed", "interrupted") else work.finish_reason
        run.state.tokens += work.tokens
        ends_turn = work.is_turn and not work.again
        if ends_turn:
            run.state.run_turns = run.turns + 1
        yield from self.settle_input(work.input, outcome, message, reason, code, again=work.again)
        if not ends_turn:
            return
        run.turns += 1
        facts = run.turns - 1, work.input.kind, outcome, reason, message and message["id"], len(run.history)
        try:
            yield from self.hook("complete", *facts, run.state.tokens)
        except Failure:
            pass  # logged, and the turn stays as it was (D5)
        if run.has_new_value:
            yield from self.commit([])

    def settle_input(
        self,
        settled: Input,
        status: str,
        message: Message | None = None,
        reason: str | None = None,
        code: str = "",
        *,
        again: bool = False,
    ) -> Waiting:
        """Store a turn-complete, and one for each message that was put into the turn."""
        run = self.live
        told = {"kind": "turn-complete", "seq": settled.seq, "trigger": settled.kind, "status": status}
        records = [{**told, "message": message, "reason": reason, "code": code, "again": again}]
        for one in run.injected:
            told = {"kind": "turn-complete", "seq": one.seq, "trigger": "message", "status": "injected"}
            records.append({**told, "message": message, "reason": None, "code": "", "again": False})
        run.injected = []
        yield from self.commit(records)

    def _keep_what_came(self, work: Work) -> None:
        """A turn that failed early keeps the user's message, and has a beginning."""
        run, body = self.live, work.input.body
        if not work.merged and work.input.is_user and "messageId" not in body:
            if find(run.history, body["message"]["id"]) is None:
                run.history = [*run.history, body["message"]]
            work.merged = True
        if not work.opened:
            self._open(work, None)

    def _close(self, work: Work, outcome: str) -> None:
        parts = work.answer["parts"]
        closed = close_texts(parts)
        if outcome != "completed":
            closed = tell_the_truth(parts, approvals_ran=work.approvals_run)
        if closed != parts:
            work.answer = {**work.answer, "parts": closed}
            self.push("said", answer=work.answer, seen=True, injected=list(work.injected_ids))

    def _keep_answer(self, work: Work, outcome: str) -> Message | None:
        """Put the answer into the history, in the place of what it continues; None if nothing was said."""
        run = self.live
        message = work.message(whole=outcome == "completed")
        if message is None or message == work.base:
            return None
        place = find(run.history, message["id"])
        if place is None:
            run.history = [*run.history, message]
        else:
            run.history = [*run.history[:place], message, *run.history[place + 1 :]]
            run.grown.add(message["id"])
        return message
