"""Checks of turns: each begins and ends once, is said by one writer, and what was shown is kept (INV-5, 7, 12, 15, 16)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.dumps import Chat
from tests.faults.histories import Line
from tests.faults.oracle_log import KnownLog, Seen, Tell

UNSEEN = ("start", "start-step", "reset-step")
"""Chunks that show nothing; a turn that said only these may begin anew."""

QUARANTINED = "input-quarantined"
"""The code of an input that was given up because it had killed its workers."""


@dataclass(slots=True)
class Answer:
    """What the log shows of one message, over all turns that said something of it."""

    words: list[str] = field(default_factory=list)
    kept: bool = False
    whole: bool = True
    """Whether no record of it is missing here."""

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass(slots=True)
class OpenTurn:
    """A turn that began and did not end yet."""

    start: Seen
    answer: Answer
    begins_at: int
    """How many words its answer had before."""
    seen: bool = False
    handed_on: bool = False

    @property
    def in_seq(self) -> int:
        return self.start.body["inSeq"]


class TurnChecks:
    """Walks through the log of one chat.

    Args:
        chat: Its id.
        tell: Takes violations.
        said: How many words each call of the model said in all, for those that came to their end.
    """

    def __init__(self, chat: str, tell: Tell, said: dict[str, int]) -> None:
        self.chat = chat
        self.statuses: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.answers: defaultdict[str, Answer] = defaultdict(Answer)
        self._tell = tell
        self._said = said
        self._open: OpenTurn | None = None
        self._over: set[int] = set()

    def end(self, now: Chat | None, log: KnownLog) -> None:
        """Look at the whole log and at what is kept of it in the history."""
        known = True
        for record, follows in log.in_order():
            if not follows:
                known = False
                if self._open is not None:
                    self._open.answer.whole = False
                    self._open = None
            match record.kind:
                case "turn-start":
                    self._begin(record, known=known)
                    known = True
                case "turn-complete":
                    self._complete(record)
                    known = True
                case _ if self._open is not None:
                    self._go_on(self._open, record)
                case _ if known:
                    self._tell(12, self.chat, f"record {record.seq} stands outside of any turn", record)
                case _:
                    message_id = record.body.get("messageId")
                    if message_id is not None:
                        self.answers[message_id].whole = False
        if now is not None:
            self._compare(now)
            self._check_stops(now, log)

    def _begin(self, record: Seen, *, known: bool) -> None:
        body, before = record.body, self._open
        if body["inSeq"] in self._over:
            self._tell(5, self.chat, f"input {body['inSeq']} was settled and is served again", record)
        if before is not None and before.in_seq != body["inSeq"]:
            self._tell(12, self.chat, f"a turn began within that of input {before.in_seq}", before.start, record)
        elif before is not None and before.seen and not before.handed_on and body["trigger"] != "action":
            self._tell(15, self.chat, f"what was said to input {body['inSeq']} is dropped", before.start, record)
        answer = self.answers[body["messageId"]]
        answer.whole = answer.whole and (known or "message" not in body)
        if "message" not in body:
            answer.words.clear()  # it begins anew, and nobody saw anything of it
        elif before is not None:
            del answer.words[before.begins_at :]
        self._open = OpenTurn(record, answer, len(answer.words))

    def _go_on(self, turn: OpenTurn, record: Seen) -> None:
        if record.delta is not None:
            turn.answer.words.append(record.delta)
        turn.seen = turn.seen or (record.kind == "chunk" and record.body.get("type") not in UNSEEN)
        turn.handed_on = turn.handed_on or record.kind == "upgrade"

    def _complete(self, record: Seen) -> None:
        body, turn = record.body, self._open
        if body.get("willRetry"):
            self._open = None
            return
        code = (body.get("error") or {}).get("code")
        self.statuses["quarantined" if code == QUARANTINED else body["status"]] += 1
        if code is not None:
            self.failures[code] += 1
        self._over.add(body["inSeq"])
        if turn is None:
            return
        if turn.in_seq != body["inSeq"]:
            self._tell(12, self.chat, f"the turn of {turn.in_seq} was open when that of another ended", record)
            return
        self._open = None
        answer, words = turn.answer, turn.answer.words[turn.begins_at :]
        answer.kept = "messageId" in body
        is_failed_action = body["trigger"] == "action" and body["status"] != "completed"
        if words and not answer.kept and not is_failed_action:
            self._tell(15, self.chat, f"what was said to input {turn.in_seq} is not kept", record)
        self._check_words(words, whole=body["status"] == "completed", record=record)

    def _check_words(self, words: list[str], *, whole: bool, record: Seen) -> None:
        """The words of an answer come from one call after another, each in its order from its first word on."""
        calls: dict[str, int] = {}
        last = ""
        for word in words:
            call, _, number = word.strip().rpartition(".")
            if not number.isdecimal():
                continue  # it is no model's
            if calls.get(call, 0) != int(number) or (call in calls and call != last):
                self._tell(16, self.chat, f"word {word!r} stands behind {calls} in one answer", record)
                return
            calls[call] = int(number) + 1
            last = call
        for call, count in calls.items():
            if whole and self._said.get(call, count) != count:
                text = f"call {call} said {self._said[call]} words, and a completed answer has {count}"
                self._tell(15, self.chat, text, record)

    def _compare(self, now: Chat) -> None:
        rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in now.messages:
            rows[row.message["id"]].append(row.message)
        for message_id, answer in self.answers.items():
            if not answer.kept or not answer.whole:
                continue
            texts = [
                "".join(part.get("text", "") for part in message["parts"] if part["type"] == "text")
                for message in rows[message_id]
            ]
            if answer.text not in texts:
                self._tell(15, self.chat, f"what is kept of {message_id} is not what was shown", answer.text, texts)

    def _check_stops(self, now: Chat, log: KnownLog) -> None:
        stops = [row for row in now.inputs if row.kind == "stop"]
        for record, _ in log.in_order():
            if record.kind == "turn-complete" and record.body["status"] == "stopped":
                in_seq = record.body["inSeq"]
                mine = (row for row in stops if row.seq > in_seq and row.body.get("inSeq", in_seq) == in_seq)
                stop = next(mine, None)
                if stop is None:
                    self._tell(7, self.chat, f"nobody stopped the turn of input {in_seq}", record)
                else:
                    stops.remove(stop)

    def check_prompts(self, lines: Iterable[Line], log: KnownLog) -> None:
        """The model is shown no word that was not shown to people (INV-15)."""
        if log.holes:
            return
        shown = {word.strip() for answer in self.answers.values() for word in answer.words}
        for line in lines:
            texts = [
                text for role, parts in line["prompt"] if role == "assistant" for kind, text in parts if kind == "text"
            ]
            unseen = next((word for text in texts for word in text.split() if word not in shown), None)
            if unseen is not None:
                self._tell(15, self.chat, f"the model was shown {unseen!r}, and nobody else was", line)
