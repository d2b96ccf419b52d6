"""The durable state of a session beside its messages: what the next run has to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chatrt.models import Usage


@dataclass(slots=True)
class DurableState:
    """Committed with every turn and action.

    Attributes:
        chat_started: Whether `on_chat_start` fired.
        runs: How many runs committed something.
        stop_cursor: The last stop record that acted, so that no later turn is stopped by it.
        turn_starts: Where the last two turns begin on `.out`; older records may be trimmed.
        total_usage: Of all turns (D10).
        last_usage: Of the last turn that reported any.
    """

    chat_started: bool = False
    runs: int = 0
    stop_cursor: int = 0
    turn_starts: list[int] = field(default_factory=list[int])
    total_usage: Usage = field(default_factory=Usage)
    last_usage: Usage | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DurableState:
        """Read what `to_json` wrote; `{}` is a session that nothing was committed to."""
        last_usage = value.get("lastUsage")
        return cls(
            chat_started=value.get("chatStarted", False),
            runs=value.get("runs", 0),
            stop_cursor=value.get("stopCursor", 0),
            turn_starts=list(value.get("turnStarts", ())),
            total_usage=Usage.from_json(value.get("totalUsage", {})),
            last_usage=None if last_usage is None else Usage.from_json(last_usage),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-shaped value."""
        value: dict[str, Any] = {
            "chatStarted": self.chat_started,
            "runs": self.runs,
            "stopCursor": self.stop_cursor,
            "turnStarts": self.turn_starts,
            "totalUsage": self.total_usage.to_json(),
        }
        if self.last_usage is not None:
            value["lastUsage"] = self.last_usage.to_json()
        return value

    def add_usage(self, usage: Usage | None) -> None:
        """Count what a turn used, if the model told."""
        if usage is not None:
            self.total_usage = self.total_usage + usage
            self.last_usage = usage
