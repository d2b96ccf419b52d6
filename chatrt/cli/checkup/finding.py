"""A finding: what was looked at, how it stands, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at; stable, for programs.
        level: `problem` is what makes the exit code 1; a `warning` will hurt some day; a `note` is good to know.
        text: How it stands. Never holds a secret.
        fix: What to do about it; empty where there is nothing to do.
    """

    check: str
    level: Level
    text: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it for `--json`."""
        found = {"check": self.check, "level": self.level, "text": self.text}
        return {**found, "fix": self.fix} if self.fix else found
