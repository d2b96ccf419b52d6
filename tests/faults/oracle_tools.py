"""Checks of tools and prompts: what took effect, how often, by whose leave, and what the model reads (INV-20 to 25, 28)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.faults.dumps import Chat
from tests.faults.histories import Line
from tests.faults.oracle_log import KnownLog, Tell


class ToolChecks:
    """Follows the calls of one chat."""

    def __init__(self, chat: str, tell: Tell) -> None:
        self.chat = chat
        self.starts: defaultdict[str, list[Line]] = defaultdict(list)
        self.done: defaultdict[str, list[Line]] = defaultdict(list)
        self.prompts: list[Line] = []
        self.overtaken = 0
        self._tell = tell
        self._recorded: dict[str, Line] = {}

    def see(self, line: Line) -> None:
        """Take what a reader saw: from then on the result of that call is on record."""
        body = line.get("body") or {}
        if line["kind"] == "chunk" and body.get("type") == "tool-output-available" and not body.get("preliminary"):
            self._recorded.setdefault(body["toolCallId"], line)

    def take(self, line: Line) -> None:
        """Take a line of a tool or of the model."""
        match line["what"]:
            case "called":
                self._check_pairs(line)
                self.prompts.append(line)
            case "done":
                self.done[line["call"]].append(line)
            case "started":
                self._start(line)
            case _:
                pass

    def _start(self, line: Line) -> None:
        before = self.starts[line["call"]]
        overtaken = any(line["attempt"] < other["attempt"] for other in before)
        # Who is frozen between its intent and the start cannot know that another one went on: it may start, and writes
        # nothing (INV-18).
        self.overtaken += overtaken
        if line["call"] in self._recorded and not overtaken:
            self._tell(20, self.chat, "a call with a result ran again", self._recorded[line["call"]], line)
        if line.get("intent") is False:
            self._tell(21, self.chat, "a tool started before its call was on record", line)
        if before:
            if line["effect"] == "unsafe":
                self._tell(23, self.chat, "an unsafe call ran twice", before[0], line)
            if line["key"] != before[0]["key"]:
                self._tell(22, self.chat, "a call ran again under another key", before[0], line)
            if any(line["attempt"] == other["attempt"] for other in before):
                self._tell(22, self.chat, "a call ran twice in one attempt", *before, line)
        before.append(line)

    def _check_pairs(self, line: Line) -> None:
        """Every call has one result, before anybody else speaks; no result stands alone; nothing is empty (INV-28)."""
        owed: set[str] = set()
        known: set[str] = set()
        for role, parts in line["prompt"]:
            if owed and role != "tool":
                break
            if not parts or (role == "user" and all(not text for _, text in parts)):
                self._tell(28, self.chat, f"the model was shown an empty {role} message", line)
            for kind, name in parts:
                if kind == "tool-call":
                    if name in known:
                        self._tell(28, self.chat, f"the model was shown call {name} twice", line)
                    owed.add(name)
                    known.add(name)
                elif kind == "tool-result":
                    if name not in owed:
                        self._tell(28, self.chat, f"the model was shown a result of {name} and no call", line)
                    owed.discard(name)
        if owed:
            self._tell(28, self.chat, f"the model was shown {sorted(owed)} without results", line)

    def end(self, now: Chat | None, log: KnownLog) -> None:
        """Take the last dump."""
        offered: set[str] = set()
        asked: set[str] = set()
        for record, _ in log.in_order():
            kind = record.body.get("type")
            if kind == "tool-input-available":
                offered.add(record.body["toolCallId"])
            elif kind == "tool-approval-request":
                asked.add(record.body["toolCallId"])
        decisions = _decisions(now)
        for call, starts in self.starts.items():
            if call not in offered and not log.holes:
                self._tell(21, self.chat, f"call {call} ran and is on no record", *starts)
            if call in asked and decisions.get(call) is not True:
                inv = 24 if decisions.get(call) is None else 25
                self._tell(inv, self.chat, f"call {call} ran and nobody allowed it", *starts)
        if now is not None:
            self._check_outputs(now)

    def _check_outputs(self, now: Chat) -> None:
        for row in now.messages:
            for part in row.message["parts"]:
                call = part.get("toolCallId")
                if part.get("state") != "output-available" or call is None:
                    continue
                outputs = [line["output"] for line in self.done[call]]
                if part["output"] not in outputs:
                    self._tell(20, self.chat, f"call {call} has a result that no tool gave", part, *self.done[call])


def _decisions(now: Chat | None) -> dict[str, bool]:
    """Return the first decision about each call that a client sent."""
    decisions: dict[str, bool] = {}
    for row in now.inputs if now is not None else ():
        parts: list[dict[str, Any]] = (row.body.get("message") or {}).get("parts", [])
        for part in parts:
            if part.get("state") == "approval-responded":
                decisions.setdefault(part["toolCallId"], part["approval"]["approved"])
    return decisions
