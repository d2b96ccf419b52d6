"""A run that kept all promises, told by hand, for tests of the oracle: each forges one thing in it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

from tests.faults.dumps import Chat, Dump, Input, MessageRow, Output
from tests.faults.histories import Line, read_facts

CHAT = "c"
Body = dict[str, Any]


class Story:
    """Lines and dumps of one chat: three messages, one of which uses a tool and one of which asks for leave.

    Attributes:
        lines: The histories.
        now: The last dump.
        earlier: A dump from the middle.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._mono = 0.0
        self.now = Chat(CHAT, False, 0, 0, 1, 0, 0, 3, None, "n5", {})
        self.say("p1", "message", "one", message="u1")
        self.model("a", 2, [["user", [["text", "one"]]]])
        self.out("turn-start", {"inSeq": 1, "trigger": "message", "messageId": "m1"})
        self.chunks({"type": "start"}, *self._words("a", 2))
        self.out("turn-complete", {"inSeq": 1, "trigger": "message", "status": "completed", "messageId": "m1"})
        self.settle(1, "u1", "one", "m1", [{"type": "text", "text": "a.0 a.1 "}])
        self.earlier = copy.deepcopy(self.now)
        self.line("client", "loaded", cursor=self.now.out_last, in_cursor=1, messages=["u1", "m1"])
        self._use_a_tool()
        self._ask_for_leave()
        self.line("fault", "planned", name="kill")
        self.line("fault", "fired", name="kill", target=7)
        self.line("fault", "calmed")

    def _use_a_tool(self) -> None:
        self.say("p2", "message", "two", message="u2")
        first = [["user", [["text", "one"]]], ["assistant", [["text", "a.0 a.1 "]]], ["user", [["text", "two"]]]]
        self.model("b", 0, first)
        self.out("turn-start", {"inSeq": 2, "trigger": "message", "messageId": "m2"})
        self.chunks({"type": "start"}, {"type": "tool-input-available", "toolCallId": "t1"})
        for attempt in (1, 2):
            self.tool("t1", "idempotent", attempt)
        self.chunks({"type": "tool-output-available", "toolCallId": "t1", "output": "o"})
        self.model("d", 1, [*first, ["assistant", [["tool-call", "t1"]]], ["tool", [["tool-result", "t1"]]]])
        self.chunks(*self._words("d", 1))
        self.out("turn-complete", {"inSeq": 2, "trigger": "message", "status": "completed", "messageId": "m2"})
        called = {"type": "tool-x", "toolCallId": "t1", "state": "output-available", "output": "o"}
        self.settle(2, "u2", "two", "m2", [called, {"type": "text", "text": "d.0 "}])

    def _ask_for_leave(self) -> None:
        self.say("p3", "message", "three", message="u3")
        self.say("p4", "message", "", message="m3")
        self.now.inputs[-1] = self.now.inputs[-1].__class__(4, "message", "p4", _approval(approved=True))
        self.out("turn-start", {"inSeq": 3, "trigger": "message", "messageId": "m3"})
        self.chunks(
            {"type": "tool-input-available", "toolCallId": "t2"}, {"type": "tool-approval-request", "toolCallId": "t2"}
        )
        self.out("turn-complete", {"inSeq": 3, "trigger": "message", "status": "completed", "messageId": "m3"})
        self.out("turn-start", {"inSeq": 4, "trigger": "message", "messageId": "m3", "message": {"id": "m3"}})
        self.tool("t2", "unsafe", 1)
        self.chunks({"type": "tool-output-available", "toolCallId": "t2", "output": "o"}, *self._words("e", 2))
        self.say("p5", "stop", "")
        self.out("turn-complete", {"inSeq": 4, "trigger": "message", "status": "stopped", "messageId": "m3"})
        called = {"type": "tool-x", "toolCallId": "t2", "state": "output-available", "output": "o"}
        self.settle(5, "u3", "three", "m3", [called, {"type": "text", "text": "e.0 e.1 "}])

    # --- what happens

    def line(self, who: str, what: str, **facts: Any) -> None:
        self._mono += 1
        self.lines.append({"mono": self._mono, "pid": 7, "who": who, "what": what, "chat": CHAT, **facts})

    def say(self, part: str, kind: str, text: str, **facts: Any) -> None:
        seq = len(self.now.inputs) + 1
        self.line("client", "append", part=part, kind=kind, text=text, **facts)
        self.line("client", "acked", part=part, seq=seq, repeated=False)
        message = {"id": facts.get("message"), "role": "user", "parts": [{"type": "text", "text": text}]}
        self.now.inputs.append(Input(seq, kind, part, {"message": message} if kind == "message" else {}))
        self.now.in_last = seq

    def out(self, kind: str, body: Body) -> None:
        if not self.now.outputs:
            self.line("client", "opened", reader="r", after=0)
        seq, written = len(self.now.outputs) + 1, json.dumps(body).encode()
        self.now.outputs.append(Output(seq, kind, written))
        self.now.out_last = seq
        self.line("client", "read", reader="r", seq=seq, kind=kind, **read_facts(kind, written))

    def chunks(self, *bodies: Body) -> None:
        for body in bodies:
            self.out("chunk", body)

    def model(self, call: str, words: int, prompt: list[Any]) -> None:
        self.line("model", "called", call=call, message="m", prompt=prompt)
        self.line("model", "ended", call=call, words=words)

    def tool(self, call: str, effect: str, attempt: int) -> None:
        self.line("tool", "started", call=call, key="k", attempt=attempt, effect=effect, name="x", args={}, intent=True)
        self.line("tool", "done", call=call, key="k", output="o")

    def settle(self, in_cursor: int, user: str, text: str, answer: str, parts: list[Body]) -> None:
        number = len(self.now.messages)
        before = f"n{number - 1}" if number else None
        asked = {"id": user, "role": "user", "parts": [{"type": "text", "text": text}]}
        self.now.messages.append(MessageRow(f"n{number}", before, asked))
        self.now.messages.append(
            MessageRow(f"n{number + 1}", f"n{number}", {"id": answer, "role": "assistant", "parts": parts})
        )
        self.now.in_cursor, self.now.settled_seq = in_cursor, self.now.out_last

    @staticmethod
    def _words(call: str, count: int) -> list[Body]:
        return [{"type": "text-delta", "id": "t", "delta": f"{call}.{number} "} for number in range(count)]

    # --- what is looked at and forged

    @property
    def dumps(self) -> list[Dump]:
        return [{CHAT: self.earlier}, {CHAT: self.now}]

    def find(self, what: str, **facts: Any) -> Line:
        """Return the first line that says this."""
        return next(
            line for line in self.lines if line["what"] == what and all(line.get(k) == v for k, v in facts.items())
        )

    def reads(self, kind: str, **facts: Any) -> Line:
        """Return the first line of a reader about such a record."""
        return next(
            line
            for line in self.lines
            if line["what"] == "read"
            and line["kind"] == kind
            and all(line.get("body", {}).get(name) == value for name, value in facts.items())
        )

    def rewrite(self, seq: int, body: Body, kind: str | None = None) -> None:
        """Put another record in the place of one, for everybody alike."""
        old, written = self.now.outputs[seq - 1], json.dumps(body).encode()
        self.now.outputs[seq - 1] = replace(old, kind=kind or old.kind, body=written)
        line = next(line for line in self.lines if line["what"] == "read" and line["seq"] == seq)
        line.pop("delta", None)
        line.update(kind=kind or old.kind, **read_facts(kind or old.kind, written))

    def seq_of(self, kind: str, **facts: Any) -> int:
        """Return the seq of the first such record."""
        return self.reads(kind, **facts)["seq"]

    def body_of(self, seq: int) -> Body:
        """Return the body of a record."""
        return json.loads(self.now.outputs[seq - 1].body)


def _approval(*, approved: bool) -> Body:
    part = {
        "type": "tool-x",
        "toolCallId": "t2",
        "state": "approval-responded",
        "approval": {"id": "ap", "approved": approved},
    }
    return {"message": {"id": "m3", "role": "assistant", "parts": [part]}}


def deny(story: Story) -> None:
    """Make the client have refused the call."""
    story.now.inputs[3] = replace(story.now.inputs[3], body=_approval(approved=False))
