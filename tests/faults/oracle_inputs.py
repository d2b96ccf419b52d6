"""Checks of `.in`: what was acknowledged is there once, in the order in which it was said, and is settled (INV-1 to 7)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tests.faults.dumps import Chat, Input
from tests.faults.histories import Line
from tests.faults.oracle_log import KnownLog, Tell

ANSWERED = ("message", "regenerate", "action", "switch")
"""The kinds of inputs that have a `turn-complete` of their own."""

INJECTED = "data-pending-message-injected"
"""The type of the part that holds messages which were put into a running answer."""


@dataclass(slots=True)
class Part:
    """One append of a client, repeated until it was acknowledged."""

    first: Line
    acks: list[Line] = field(default_factory=list)
    behind: int = 0
    """The highest seq that was acknowledged in this chat before it was first sent."""


class InputChecks:
    """Follows what clients append to one chat."""

    def __init__(self, chat: str, tell: Tell) -> None:
        self.chat = chat
        self.parts: dict[str, Part] = {}
        self._tell = tell
        self._acked_up_to = 0
        self._before: Chat | None = None
        self._ids: set[str] | None = None

    def take(self, line: Line) -> None:
        """Take a line about an append."""
        if line["what"] == "append":
            self.parts.setdefault(line["part"], Part(line, behind=self._acked_up_to))
            return
        part = self.parts.get(line["part"])
        if line["what"] != "acked" or part is None:
            return
        if part.acks and part.acks[0]["seq"] != line["seq"]:
            self._tell(2, self.chat, f"part {line['part']} was acked under two seqs", part.acks[0], line)
        if line["seq"] <= part.behind:
            self._tell(4, self.chat, f"{line['seq']} was said behind {part.behind}", part.first, line)
        part.acks.append(line)
        self._acked_up_to = max(self._acked_up_to, line["seq"])

    @property
    def acked(self) -> dict[int, Line]:
        """The first acknowledgement of each input that wants an answer."""
        parts = (part for part in self.parts.values() if part.acks and part.first["kind"] in ANSWERED)
        return {part.acks[0]["seq"]: part.acks[0] for part in parts}

    def look(self, now: Chat) -> None:
        """Take a dump: nothing goes back, and the cursor moves with what it settles (INV-4, 6, 16)."""
        before, tell = self._before, self._tell
        self._before = now
        if before is not None:
            for name in ("in_last", "in_cursor", "out_first", "out_last", "settled_seq", "epoch"):
                if getattr(now, name) < getattr(before, name):
                    inv = 16 if name == "epoch" else 4
                    tell(inv, self.chat, f"{name} went back from {getattr(before, name)} to {getattr(now, name)}")
            if now.epoch == before.epoch and None not in (now.owner, before.owner) and now.owner != before.owner:
                tell(16, self.chat, f"epoch {now.epoch} has two holders", before.owner, now.owner)
        settling = next((one for one in now.outputs if one.seq == now.settled_seq), None)
        if settling is None:
            if now.settled_seq:
                tell(6, self.chat, f"what settled up to {now.in_cursor}, record {now.settled_seq}, is not kept")
            settled = 0
        else:
            settled = self._settled_by(now)
        if settled > now.in_cursor:
            tell(6, self.chat, f"input {settled} is settled and the cursor is {now.in_cursor}")
        for one in now.inputs:
            if settled < one.seq <= now.in_cursor and one.kind in ANSWERED:
                tell(6, self.chat, f"the cursor {now.in_cursor} has passed input {one.seq}, which nothing settled", one)

    def _settled_by(self, now: Chat) -> int:
        log = KnownLog(self.chat)
        log.add_dump(now, self._tell)
        bodies = [
            one.body for one in log.records.values() if one.kind == "turn-complete" and one.seq <= now.settled_seq
        ]
        ends = [max(body["inSeq"], body.get("inCursor", 0)) for body in bodies if not body.get("willRetry")]
        return max(ends, default=0)

    def end(self, now: Chat | None, log: KnownLog) -> None:
        """Take the last dump, when everything is quiet."""
        tell = self._tell
        rows = {row.seq: row for row in now.inputs} if now is not None else {}
        by_part: dict[str, list[Input]] = defaultdict(list)
        for row in rows.values():
            if row.part is not None:
                by_part[row.part].append(row)
            if row.kind in (*ANSWERED, "stop") and row.part not in self.parts:
                tell(3, self.chat, f"nobody said input {row.seq}", row)
        if sorted(rows) != list(range(1, len(rows) + 1)):
            tell(4, self.chat, "the seqs of the inbox have a hole", sorted(rows))
        for name, part in self.parts.items():
            found = by_part.get(name, [])
            if len(found) > 1:
                tell(2, self.chat, f"part {name} is there {len(found)} times", *found)
            if part.acks:
                self._check_acked(part, rows.get(part.acks[0]["seq"]))
        self._check_settled(now, rows, log)

    def _check_acked(self, part: Part, row: Input | None) -> None:
        first, ack = part.first, part.acks[0]
        if row is None or row.part != first["part"]:
            self._tell(1, self.chat, f"input {ack['seq']} was acked and is not there", first, ack, row)
            return
        message = row.body.get("message") or {}
        text = "".join(one.get("text", "") for one in message.get("parts", ()) if one["type"] == "text")
        same = row.kind == first["kind"] and ("message" not in first or message.get("id") == first["message"])
        if not same or (message.get("role") == "user" and text != first["text"]):
            self._tell(1, self.chat, f"input {ack['seq']} is not what was said", first, row)

    def _check_settled(self, now: Chat | None, rows: dict[int, Input], log: KnownLog) -> None:
        completes: dict[int, list[dict[str, object]]] = defaultdict(list)
        order: list[int] = []
        for record, _ in log.in_order():
            if record.kind == "turn-complete" and not record.body.get("willRetry"):
                completes[record.body["inSeq"]].append(record.body)
                order.append(record.body["inSeq"])
        for in_seq, bodies in completes.items():
            row = rows.get(in_seq)
            if len(bodies) > 1:
                self._tell(5, self.chat, f"input {in_seq} was settled {len(bodies)} times", *bodies)
            if row is None or row.kind != bodies[0]["trigger"]:
                self._tell(12, self.chat, f"a turn-complete names {in_seq}, which is another input", bodies[0], row)
        if order != sorted(order):
            self._tell(7, self.chat, "inputs were not settled in their order", order)
        for seq, ack in self.acked.items():
            if now is not None and now.in_cursor < seq:
                self._tell(33, self.chat, f"input {seq} was acked and is not settled", ack)
            elif seq not in completes and not log.holes:
                self._tell(5, self.chat, f"input {seq} was acked and has no turn-complete", ack)
            elif now is not None and completes[seq] and completes[seq][0]["status"] != "withdrawn":
                self._check_kept(rows.get(seq), now, ack)
        if now is not None and now.out_last != now.settled_seq:
            self._tell(33, self.chat, f"a turn stays open behind record {now.settled_seq}", now.out_last)

    def _check_kept(self, row: Input | None, now: Chat, ack: Line) -> None:
        """What a person said stands in the history, on some branch, or within the answer that it was put into."""
        message = (row.body.get("message") or {}) if row is not None else {}
        if row is None or message.get("role") != "user" or message["id"] in self._kept_ids(now):
            return
        self._tell(5, self.chat, f"input {row.seq} is settled and its message is not in the history", ack)

    def _kept_ids(self, now: Chat) -> set[str]:
        if self._ids is None:
            messages = [kept.message for kept in now.messages]
            injected = [part["data"] for one in messages for part in one["parts"] if part["type"] == INJECTED]
            self._ids = {one["id"] for one in messages} | {name for data in injected for name in data["messageIds"]}
        return self._ids
