"""How an answer of a reference session comes about: what the model says, its tools, and what people say meanwhile."""

from __future__ import annotations

from typing import Any

from tests.machine.history_rules import (
    INJECTED,
    Failure,
    Part,
    approved_calls,
    close_texts,
    find,
    prompt_of,
    text_of,
)
from tests.machine.reference_state import Input, Stepping, Waiting, Work

TOOL_FAILED = "An error occurred."


class Answering(Stepping):
    """Answers; `when_busy` says whether what arrives meanwhile is put into the prompt."""

    when_busy = "queue"

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
