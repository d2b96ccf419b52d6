"""Checks of readers: what each of them got is one slice of the log, and what is missing is told (INV-8 to 11)."""

from __future__ import annotations

from tests.faults.dumps import Chat
from tests.faults.histories import Line
from tests.faults.oracle_log import KnownLog, Tell


class ReaderChecks:
    """Follows the readers of one chat; each has one cursor over all of its connections."""

    def __init__(self, chat: str, tell: Tell, log: KnownLog) -> None:
        self.chat = chat
        self.reads = 0
        self._tell = tell
        self._log = log
        self._cursors: dict[str, int] = {}
        self._gaps: list[Line] = []

    def take(self, line: Line) -> None:
        """Take a line about reading."""
        reader, cursor = line["reader"], self._cursors.get(line["reader"])
        match line["what"]:
            case "opened":
                if cursor not in (None, line["after"]):
                    self._tell(8, self.chat, f"reader {reader} had {cursor} and asked behind {line['after']}", line)
                self._cursors[reader] = line["after"]
            case "not-opened":
                if line["code"] == "cursor-ahead" and cursor:
                    seen = self._log.records.get(cursor)
                    self._tell(9, self.chat, f"record {cursor} was seen, and the log is shorter now", seen, line)
            case "read" if line["kind"] == "gap":
                self._take_gap(line, cursor or 0)
            case "read":
                self._take_record(line, cursor or 0)
            case _:
                pass

    def _take_record(self, line: Line, cursor: int) -> None:
        self.reads += 1
        if line["seq"] != cursor + 1:
            what = "again" if line["seq"] <= cursor else "and not what is between"
            self._tell(8, self.chat, f"reader {line['reader']} had {cursor} and got {line['seq']} {what}", line)
        self._cursors[line["reader"]] = line["seq"]
        self._log.see(line, self._tell)

    def _take_gap(self, line: Line, cursor: int) -> None:
        first = line["body"]["firstSeq"]
        if line["body"]["after"] != cursor or line["seq"] != first - 1 or first <= cursor + 1:
            self._tell(11, self.chat, f"a gap that is none for a reader who has {cursor}", line)
        self._cursors[line["reader"]] = line["seq"]
        self._gaps.append(line)

    def end(self, now: Chat | None) -> None:
        """Take the last dump."""
        if now is None:
            if self._cursors:
                self._tell(9, self.chat, "the chat was read and is gone")
            return
        ahead = max(self._cursors.values(), default=0)
        if ahead > now.out_last:
            seen = self._log.records.get(ahead)
            self._tell(9, self.chat, f"record {ahead} was seen, and the log ends with {now.out_last}", seen)
        for gap in self._gaps:
            if gap["body"]["firstSeq"] > now.out_first:
                self._tell(11, self.chat, f"a gap up to {gap['body']['firstSeq']}; {now.out_first} is kept", gap)
        kept = [one.seq for one in now.outputs]
        if kept != list(range(now.out_first, now.out_last + 1)):
            self._tell(4, self.chat, f"what is kept is not {now.out_first} to {now.out_last}", kept)
