"""How a reference session serves one input: the way of a turn, an action, a preload, and the one end they have."""

from __future__ import annotations

from typing import Any

from tests.machine.history_rules import (
    INJECTED,
    Failure,
    Message,
    Part,
    approved_calls,
    close_texts,
    find,
    has_unread_answers,
    prompt_of,
    take_answers,
    take_user_message,
    tell_the_truth,
    text_of,
    trim,
    waits_for_client,
)
from tests.machine.reference_state import Halted, Input, Stepping, Waiting, Work

TOOL_FAILED = "An error occurred."


class Serving(Stepping):
    """Serves inputs; `when_busy` says whether what arrives meanwhile is put into the prompt."""

    when_busy = "queue"

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

    def _in_answer(self, work: Work, answer: Waiting) -> Waiting:
        work.in_answer = True
        try:
            return (yield from answer)
        except Halted:
            return None
        finally:
            work.in_answer = False

    # --- what the model says

    def _say(self, work: Work, *parts: Part, seen: bool = True) -> None:
        """Let the answer grow, or begin; whether people see more of it than that it began."""
        assert work.answer is not None
        work.answer = {**work.answer, "parts": [*work.answer["parts"], *parts]}
        self._show(work, seen=seen)

    def _change_call(self, work: Work, call_id: str, **keys: Any) -> None:
        assert work.answer is not None
        parts = list(work.answer["parts"])
        place = max(index for index, part in enumerate(parts) if part.get("toolCallId") == call_id)
        parts[place] = {**parts[place], **keys}
        work.answer = {**work.answer, "parts": parts}
        self._show(work)

    def _show(self, work: Work, *, seen: bool = True) -> None:
        if work.base is not None and approved_calls(work.base):
            work.approvals_run = True
        self.push("said", answer=work.answer, seen=seen, injected=list(work.injected_ids))

    def _generate(self, work: Work) -> Waiting:
        run = self.live
        yield from self.hook("run", run.turns, work.input.kind, work.answer["id"])
        prompt = prompt_of(run.history)
        if work.base is not None and approved_calls(work.base):
            self._say(work, seen=False)
            yield from self.stored()
        results = yield from self._carry_out_decisions(work)
        if results:
            rest, row = (prompt[:-1], prompt[-1][1]) if prompt[-1][0] == "tool" else (prompt, {})
            prompt = [*rest, ("tool", {**row, **results})]
        rows: list[Any] | None = []
        while rows is not None:
            prompt = [*prompt, *rows]
            rows = yield from self._step(work, prompt)
            if rows is not None:
                rows += yield from self._inject(work)

    def _carry_out_decisions(self, work: Work) -> Waiting:
        """Run what was approved, note what was denied, before the model is asked; the results."""
        if work.base is None:
            return {}
        for part in work.base["parts"]:
            if part.get("state") == "approval-responded" and not part["approval"]["approved"]:
                self._change_call(work, part["toolCallId"], state="output-denied")
        approved = approved_calls(work.base)
        return (yield from self._run_tools(work, {part["toolCallId"]: part["input"]["how"] for part in approved}))

    def _step(self, work: Work, prompt: list[Any]) -> Waiting:
        """One model call and its tools; the rows it adds to the prompt, or None if the answer ends with it."""
        self.prompts.append(prompt)
        calls: dict[str, tuple[str, str]] = {}
        begun = False
        while True:
            yield from self.until("model", lambda: bool(self.moves))
            move = self.moves.popleft()
            if move[0] == "raise":
                raise Failure("internal-error")
            if not begun and move[0] in ("say", "half", "calls"):
                begun = True
                self._say(work, {"type": "step-start"}, seen=False)
            if move[0] == "say":
                self._speak(work, move[1])
                continue
            if move[0] == "half":
                calls[move[1]] = (move[2], move[3])
                self._say(work, {"type": f"tool-{move[2]}", "toolCallId": move[1], "state": "input-streaming"})
                continue
            break
        if move[0] == "error":
            work.stream_failed = True
        else:
            self._end_text(work)
            calls |= {call_id: (tool, how) for call_id, tool, how in (move[1] if move[0] == "calls" else ())}
            yield from self._call(work, calls)
        if not begun:
            self._say(work, {"type": "step-start"}, seen=False)
        reason = {"cut": "length", "error": "error"}.get(move[0], "tool-calls" if calls else "stop")
        results = {}
        if reason in ("stop", "tool-calls"):
            runnable = {call_id: how for call_id, (tool, how) in calls.items() if tool == "look"}
            results = yield from self._run_tools(work, runnable)
        self._show(work)
        work.tokens += move[0] != "error"
        if reason == "tool-calls" and results.keys() == calls.keys():
            said = self._said_in_step(work, calls)
            return [("assistant", said), ("tool", results)]
        work.finish_reason = reason
        return None

    def _said_in_step(self, work: Work, calls: dict[str, Any]) -> list[Any]:
        """What the model said, as its next prompt has it: calls stand where they were made, not where they were begun."""
        parts = work.answer["parts"]
        start = max(index for index, part in enumerate(parts) if part["type"] == "step-start")
        texts = [("text", part["text"]) for part in parts[start:] if part["type"] == "text"]
        return [*texts, *(("call", call_id) for call_id in calls)]

    def _speak(self, work: Work, words: str) -> None:
        parts = work.answer["parts"]
        open_texts = [index for index, part in enumerate(parts) if part.get("state") == "streaming"]
        if not open_texts:
            self._say(work, {"type": "text", "text": words, "state": "streaming"})
            return
        grown = list(parts)
        grown[open_texts[-1]] = {**parts[open_texts[-1]], "text": parts[open_texts[-1]]["text"] + words}
        work.answer = {**work.answer, "parts": grown}
        self._show(work)

    def _end_text(self, work: Work) -> None:
        if any(part.get("state") == "streaming" for part in work.answer["parts"]):
            work.answer = {**work.answer, "parts": close_texts(work.answer["parts"])}
            self._show(work)

    def _call(self, work: Work, calls: dict[str, tuple[str, str]]) -> Waiting:
        """Make calls: each is on record before anything comes of it, and a mail is asked about."""
        for call_id, (tool, how) in calls.items():
            known = any(part.get("toolCallId") == call_id for part in work.answer["parts"])
            keys = {"state": "input-available", "input": {"question": how} if tool == "ask" else {"how": how}}
            if known:
                self._change_call(work, call_id, **keys)
            else:
                self._say(work, {"type": f"tool-{tool}", "toolCallId": call_id, **keys})
            yield from self.stored()
            if tool == "mail":
                approval = {"id": f"«approval {call_id}»"}
                self._change_call(work, call_id, state="approval-requested", approval=approval)

    def _run_tools(self, work: Work, calls: dict[str, str]) -> Waiting:
        """Run bodies side by side; what each gave, for the model."""
        results: dict[str, str] = {}
        self.effects += calls
        self.tools.update({call_id: None if how == "hang" else how for call_id, how in calls.items()})

        def ready() -> list[str]:
            return [call_id for call_id in calls if call_id in self.tools and self.tools[call_id] is not None]

        try:
            while len(results) < len(calls):
                yield from self.until("tool", lambda: bool(ready()))
                for call_id in ready():
                    results[call_id] = self._ended(work, call_id, self.tools.pop(call_id))
        finally:
            for call_id in calls:
                self.tools.pop(call_id, None)
        return {call_id: results[call_id] for call_id in calls}

    def _ended(self, work: Work, call_id: str, how: str | None) -> str:
        if how == "raise":
            self._change_call(work, call_id, state="output-error", errorText=TOOL_FAILED)
            return "!"
        self._change_call(work, call_id, state="output-available", output=f"did {call_id}")
        return f"did {call_id}"

    # --- what people say meanwhile

    def _inject(self, work: Work) -> Waiting:
        """Put what stands at the front of the queue into the prompt of the next step (D6)."""
        run = self.live
        while batch := self._injectable():
            valid: list[Input] = []
            for waiting in batch:
                message_id = waiting.body["message"]["id"]
                if waiting.seq in work.refused or message_id in {one.body["message"]["id"] for one in valid}:
                    break
                try:
                    yield from self.hook("validate", run.turns, work.input.kind, message_id)
                except Failure:
                    work.refused.add(waiting.seq)
                    break
                valid.append(waiting)
            if not valid:
                return []
            if run.queue[: len(valid)] != valid or any(self._spoken_for(one) for one in valid):
                continue  # it was edited or taken back meanwhile
            del run.queue[: len(valid)]
            run.injected += valid
            messages = [one.body["message"] for one in valid]
            texts = [text_of(message) for message in messages]
            work.injected_ids += [message["id"] for message in messages]
            self._say(work, {"type": INJECTED, "ids": [message["id"] for message in messages], "texts": texts})
            return [("user", text) for text in texts]
        return []

    def _injectable(self) -> list[Input]:
        batch: list[Input] = []
        for waiting in self.live.queue:
            if self._spoken_for(waiting) or not self._steers(waiting):
                break
            batch.append(waiting)
        return batch

    def _spoken_for(self, waiting: Input) -> bool:
        return waiting.seq in self.live.state.withdrawn or waiting.seq in self.live.state.stopped

    def _steers(self, waiting: Input) -> bool:
        if not waiting.is_user or "messageId" in waiting.body or self.when_busy not in ("queue", "steer"):
            return False
        is_edit = find(self.live.history, waiting.body["message"]["id"]) is not None
        return not is_edit and (self.when_busy == "steer" or waiting.body.get("steer") is True)

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
        run, kept = self.live, work.input.kind != "preload"
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
        if work.is_turn:
            run.state.run_turns = run.turns + 1
        yield from self.settle_input(work.input, outcome, message, reason, code)
        if not work.is_turn:
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
        self, settled: Input, status: str, message: Message | None = None, reason: str | None = None, code: str = ""
    ) -> Waiting:
        """Store a turn-complete, and one for each message that was put into the turn."""
        run = self.live
        told = {"kind": "turn-complete", "seq": settled.seq, "trigger": settled.kind, "status": status}
        records = [{**told, "message": message, "reason": reason, "code": code}]
        for one in run.injected:
            told = {"kind": "turn-complete", "seq": one.seq, "trigger": "message", "status": "injected"}
            records.append({**told, "message": message, "reason": None, "code": ""})
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
