"""What is known of `.out` of each chat: what any reader saw of it, and what any dump holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.faults.dumps import Chat
from tests.faults.histories import Line, read_facts

NEVER = float("inf")


@dataclass(frozen=True)
class Violation:
    """What contradicts a promise.

    Attributes:
        inv: The number of the promise in the list of invariants.
        chat: Where.
        text: What is wrong.
        lines: What shows it.
    """

    inv: int
    chat: str
    text: str
    lines: tuple[Any, ...] = ()

    def __str__(self) -> str:
        shown = "".join(f"\n    {json.dumps(line, ensure_ascii=False, default=str)[:600]}" for line in self.lines)
        return f"INV-{self.inv} chat {self.chat}: {self.text}{shown}"


class Tell(Protocol):
    """Takes a violation."""

    def __call__(self, inv: int, chat: str, text: str, *lines: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A record of `.out`, as somebody saw it first.

    Attributes:
        at: When a reader saw it; never, if only a dump has it.
    """

    seq: int
    kind: str
    digest: str
    body: dict[str, Any]
    delta: str | None
    at: float


@dataclass(slots=True)
class KnownLog:
    """The records of one chat by their seqs.

    Attributes:
        last: The last seq there ever was, as far as is known.
    """

    chat: str
    records: dict[int, Seen] = field(default_factory=dict)
    last: int = 0

    @property
    def holes(self) -> int:
        """How many records nobody saw."""
        return self.last - len(self.records)

    def in_order(self) -> Iterator[tuple[Seen, bool]]:
        """Yield the records, and whether each follows the one before it without a hole."""
        before = 0
        for seq in sorted(self.records):
            yield self.records[seq], seq == before + 1
            before = seq

    def see(self, line: Line, tell: Tell) -> None:
        """Add what a reader saw."""
        body = line.get("body") or {}
        seen = Seen(line["seq"], line["kind"], line["digest"], body, line.get("delta"), line["mono"])
        known = self._add(seen)
        if known is not seen:
            tell(10, self.chat, f"record {seen.seq} is not what it was", known, line)

    def add_dump(self, chat: Chat, tell: Tell) -> None:
        """Add what a dump holds."""
        for output in chat.outputs:
            facts = read_facts(output.kind, output.body)
            seen = Seen(output.seq, output.kind, facts["digest"], facts.get("body", {}), facts.get("delta"), NEVER)
            known = self._add(seen)
            if known is not seen:
                tell(9, self.chat, f"record {seen.seq} was seen otherwise than it is stored", known, seen)
        self.last = max(self.last, chat.out_last)

    def _add(self, seen: Seen) -> Seen:
        known = self.records.setdefault(seen.seq, seen)
        self.last = max(self.last, seen.seq)
        if (known.kind, known.digest) != (seen.kind, seen.digest):
            return known
        if seen.at < known.at:
            self.records[seen.seq] = seen
        return seen
