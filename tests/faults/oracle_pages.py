"""Checks of pages: messages and the cursor that came with them are from one moment (INV-13)."""

from __future__ import annotations

from typing import Any

from tests.faults.histories import Line
from tests.faults.oracle_log import KnownLog, Tell


class PageChecks:
    """Follows what people of one chat load to read on from there."""

    def __init__(self, chat: str, tell: Tell) -> None:
        self.chat = chat
        self.loads: list[Line] = []
        self._tell = tell

    def end(self, log: KnownLog) -> None:
        """Look at each load, by the log: what stands in the messages is settled up to the cursor, and nothing else is."""
        if not self.loads or log.holes:
            return
        ends = [record for record, _ in log.in_order() if _is_end(record.kind, record.body)]
        starts = [record for record, _ in log.in_order() if record.kind == "turn-start"]
        begun = {record.body["messageId"]: record.seq for record in reversed(starts)}
        for line in self.loads:
            cursor, in_cursor = line["cursor"], line["in_cursor"]
            at = log.records.get(cursor)
            if cursor and (at is None or at.kind != "turn-complete"):
                self._tell(13, self.chat, f"the cursor {cursor} of a page stands within a turn", at, line)
            for end in ends:
                if end.seq <= cursor and _settles(end.body) > in_cursor:
                    self._tell(13, self.chat, f"a page of cursor {cursor} knows inputs up to {in_cursor}", end, line)
                    break
                if end.seq > cursor and end.body["inSeq"] <= in_cursor:
                    self._tell(13, self.chat, f"a page with input {in_cursor} shows its end once more", end, line)
                    break
            twice = [name for name in line["messages"] if begun.get(name, 0) > cursor]
            if twice:
                self._tell(13, self.chat, f"a page of cursor {cursor} holds {twice[0]}, which comes behind it", line)


def _is_end(kind: str, body: dict[str, Any]) -> bool:
    return kind == "turn-complete" and not body.get("willRetry")


def _settles(body: dict[str, Any]) -> int:
    return max(body["inSeq"], body.get("inCursor", 0))
