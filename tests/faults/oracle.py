"""The oracle: judges histories and dumps by the promises of chatrt, and shares no code with it.

One pass over the histories, a look at each dump, and a walk through each chat at the end; linear in all of them.
What it judges: INV-1 to 13, 15, 16, 20 to 25, 28 and 33. Where nobody saw a record before it was trimmed, what depends
on it is not judged; `Figures.holes` counts those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.dumps import Dump
from tests.faults.histories import Line
from tests.faults.oracle_inputs import InputChecks
from tests.faults.oracle_log import KnownLog, Violation
from tests.faults.oracle_pages import PageChecks
from tests.faults.oracle_readers import ReaderChecks
from tests.faults.oracle_tools import ToolChecks
from tests.faults.oracle_turns import TurnChecks

LATE_SECONDS = 3.0
"""Who was acknowledged so shortly before the faults ended had no time to be answered under fire."""

MANY = 1000
"""Of so many violations the rest says no more."""


@dataclass(slots=True)
class Figures:
    """How much there was to judge.

    Attributes:
        acked: Inputs that want an answer and were acknowledged.
        settled: Those of them that are settled in the end.
        acked_under_fire: Those that were acknowledged before the faults ended, but for the last few seconds.
        settled_under_fire: Those of these whose end a reader saw before the faults ended.
        reads: Records that readers took.
        holes: Records that nobody saw.
        pages: Histories that people loaded to read on from there.
        gaps: Gaps that readers were told of.
        repeated_calls: Tool calls that were carried out more than once.
        overtaken_calls: Calls that a frozen worker started after another one had gone on with its answer.
        statuses: How turns ended; `quarantined` ones count apart.
        failures: Why turns failed, by code.
        faults: Faults that fired, by name.
        missed: Faults that were planned and did not fire.
    """

    chats: int = 0
    acked: int = 0
    settled: int = 0
    acked_under_fire: int = 0
    settled_under_fire: int = 0
    reads: int = 0
    holes: int = 0
    pages: int = 0
    gaps: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    repeated_calls: int = 0
    overtaken_calls: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    @property
    def share_under_fire(self) -> float:
        """What part of the inputs that were said under fire was settled under fire."""
        return self.settled_under_fire / self.acked_under_fire if self.acked_under_fire else 0.0


class _Chat:
    """All checks of one chat."""

    def __init__(self, oracle: Oracle, chat: str) -> None:
        self.log = KnownLog(chat)
        self.inputs = InputChecks(chat, oracle.tell)
        self.readers = ReaderChecks(chat, oracle.tell, self.log)
        self.pages = PageChecks(chat, oracle.tell)
        self.tools = ToolChecks(chat, oracle.tell)
        self.turns = TurnChecks(chat, oracle.tell, oracle.said)


class Oracle:
    """Takes lines by time and dumps by time, and judges at the end."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.figures = Figures()
        self.said: dict[str, int] = {}
        self._chats: dict[str, _Chat] = {}
        self._calmed = float("inf")

    def tell(self, inv: int, chat: str, text: str, *lines: Any) -> None:
        """Take down a violation."""
        if len(self.violations) < MANY:
            self.violations.append(Violation(inv, chat, text, lines))

    def take(self, line: Line) -> None:
        """Take a line."""
        what, figures = line["what"], self.figures
        match line["who"]:
            case "client" if what in ("append", "acked", "refused", "lost"):
                self._of(line).inputs.take(line)
            case "client" if what == "loaded":
                figures.pages += 1
                self._of(line).pages.loads.append(line)
            case "client":
                chat = self._of(line)
                chat.readers.take(line)
                if what == "read":
                    figures.gaps += line["kind"] == "gap"
                    chat.tools.see(line)
            case "model":
                figures.model_calls += what == "called"
                if what == "ended":
                    self.said[line["call"]] = line["words"]
                self._of(line).tools.take(line)
            case "tool":
                self._of(line).tools.take(line)
            case "fault" if what == "calmed":
                self._calmed = line["mono"]
            case "fault" if what == "planned":
                figures.missed[line["name"]] += 1
            case "fault" if what == "fired":
                figures.faults[line["name"]] += 1
                figures.missed[line["name"]] -= 1
            case _:
                raise ValueError(f"a line of nobody: {line}")

    def look(self, dump: Dump) -> None:
        """Take a dump that was made while clients were there; its records stay known when they are trimmed."""
        for name, now in dump.items():
            chat = self._chats.setdefault(name, _Chat(self, name))
            chat.inputs.look(now)
            chat.log.add_dump(now, self.tell)

    def end(self, dump: Dump) -> None:
        """Judge, by a dump that was made when everything was settled."""
        self.look(dump)
        for name, chat in self._chats.items():
            now = dump.get(name)
            chat.inputs.end(now, chat.log)
            chat.readers.end(now)
            chat.turns.end(now, chat.log)
            chat.tools.end(now, chat.log)
            chat.pages.end(chat.log)
            chat.turns.check_prompts(chat.tools.prompts, chat.log)
            self._count(chat, now.in_cursor if now is not None else 0)
        self.figures.missed = +self.figures.missed

    def _of(self, line: Line) -> _Chat:
        chat = self._chats.get(line["chat"])
        return chat if chat is not None else self._chats.setdefault(line["chat"], _Chat(self, line["chat"]))

    def _count(self, chat: _Chat, in_cursor: int) -> None:
        figures, acked = self.figures, chat.inputs.acked
        ended = {
            record.body["inSeq"]: record.at
            for record in chat.log.records.values()
            if record.kind == "turn-complete" and not record.body.get("willRetry")
        }
        under_fire = [seq for seq, line in acked.items() if line["mono"] < self._calmed - LATE_SECONDS]
        figures.chats += 1
        figures.acked += len(acked)
        figures.settled += sum(seq <= in_cursor for seq in acked)
        figures.acked_under_fire += len(under_fire)
        figures.settled_under_fire += sum(ended.get(seq, self._calmed) < self._calmed for seq in under_fire)
        figures.reads += chat.readers.reads
        figures.holes += chat.log.holes
        figures.tool_calls += len(chat.tools.starts)
        figures.repeated_calls += sum(len(starts) > 1 for starts in chat.tools.starts.values())
        figures.overtaken_calls += chat.tools.overtaken
        figures.statuses += chat.turns.statuses
        figures.failures += chat.turns.failures


def judge(lines: Iterable[Line], dumps: Sequence[Dump]) -> tuple[list[Violation], Figures]:
    """Judge the histories of a run by its dumps, the last of which was made when everything was settled."""
    oracle = Oracle()
    for line in lines:
        oracle.take(line)
    for dump in dumps[:-1]:
        oracle.look(dump)
    oracle.end(dumps[-1])
    return oracle.violations, oracle.figures
