"""The durable state of a session beside its messages: what the next run has to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from chatrt.models import Usage
from chatrt.prompt import SystemPrompt
from chatrt.runtime.prompt_layers import PromptLayers

Phase = Literal["preload", "turn"]


@dataclass(frozen=True, slots=True)
class Suspension:
    """A run that left memory, and until when it can come back.

    Attributes:
        until: Seconds since 1970.
        phase: `preload` when it had served nothing yet.
    """

    until: float
    phase: Phase

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Suspension | None:
        """Read what `to_json` wrote."""
        return None if value is None else cls(value["until"], value["phase"])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-shaped value."""
        return {"until": self.until, "phase": self.phase}


@dataclass(slots=True)
class DurableState:
    """Committed with every turn and action.

    Attributes:
        chat_started: Whether `on_chat_start` fired.
        runs: How many runs served something.
        run_id: The last of them.
        run_turns: How many turns it served.
        suspended: Whether it may come back.
        handed_on: The input that a run left to the next one by `request_upgrade`.
        settled: Inputs beyond the cursor that are settled already.
        withdrawn: Inputs beyond the cursor that were taken back.
        stopped: Inputs beyond the cursor that were stopped before their turn, and why.
        stop_cursor: The last stop record that acted, so that no later turn is stopped by it.
        turn_starts: Where on `.out` the last two turns begin, and what was settled behind them; older records may be
            trimmed. What is no turn is negative.
        total_usage: Of all turns (D10).
        last_usage: Of the last turn that reported any.
        layers: What stands in the prompts beside the messages: summaries (D9), background messages.
        prompt: The system prompt, once one was set.
        locals: The durable values, JSON by the ids of their locals.
    """

    chat_started: bool = False
    runs: int = 0
    run_id: str = ""
    run_turns: int = 0
    suspended: Suspension | None = None
    handed_on: int = 0
    settled: list[int] = field(default_factory=list[int])
    withdrawn: set[int] = field(default_factory=set[int])
    stopped: dict[int, str | None] = field(default_factory=dict[int, "str | None"])
    stop_cursor: int = 0
    turn_starts: list[int] = field(default_factory=list[int])
    total_usage: Usage = field(default_factory=Usage)
    last_usage: Usage | None = None
    layers: PromptLayers = field(default_factory=PromptLayers)
    prompt: SystemPrompt | None = None
    locals: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DurableState:
        """Read what `to_json` wrote; `{}` is a session that nothing was committed to."""
        last_usage, prompt = value.get("lastUsage"), value.get("prompt")
        return cls(
            chat_started=value.get("chatStarted", False),
            runs=value.get("runs", 0),
            run_id=value.get("runId", ""),
            run_turns=value.get("runTurns", 0),
            suspended=Suspension.from_json(value.get("suspended")),
            handed_on=value.get("handedOn", 0),
            settled=list(value.get("settled", ())),
            withdrawn=set(value.get("withdrawn", ())),
            stopped={int(seq): reason for seq, reason in value.get("stopped", {}).items()},
            stop_cursor=value.get("stopCursor", 0),
            turn_starts=list(value.get("turnStarts", ())),
            total_usage=Usage.from_json(value.get("totalUsage", {})),
            last_usage=None if last_usage is None else Usage.from_json(last_usage),
            layers=PromptLayers.from_json(value.get("layers", {})),
            prompt=None if prompt is None else SystemPrompt.from_json(prompt),
            locals=dict(value.get("locals", {})),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-shaped value."""
        value: dict[str, Any] = {
            "chatStarted": self.chat_started,
            "runs": self.runs,
            "runId": self.run_id,
            "runTurns": self.run_turns,
            "stopCursor": self.stop_cursor,
            "turnStarts": self.turn_starts,
            "totalUsage": self.total_usage.to_json(),
        }
        if self.suspended is not None:
            value["suspended"] = self.suspended.to_json()
        if self.handed_on:
            value["handedOn"] = self.handed_on
        if self.settled:
            value["settled"] = self.settled
        if self.withdrawn:
            value["withdrawn"] = sorted(self.withdrawn)
        if self.stopped:
            value["stopped"] = {str(seq): reason for seq, reason in self.stopped.items()}
        if self.last_usage is not None:
            value["lastUsage"] = self.last_usage.to_json()
        layers = self.layers.to_json()
        if layers:
            value["layers"] = layers
        if self.prompt is not None:
            value["prompt"] = self.prompt.to_json()
        if self.locals:
            value["locals"] = self.locals
        return value

    def forget(self, in_cursor: int) -> None:
        """Drop what was said about inputs that are settled."""
        self.settled = [seq for seq in self.settled if seq > in_cursor]
        self.withdrawn = {seq for seq in self.withdrawn if seq > in_cursor}
        self.stopped = {seq: reason for seq, reason in self.stopped.items() if seq > in_cursor}

    def add_usage(self, usage: Usage | None) -> None:
        """Count what a turn used, if the model told."""
        if usage is not None:
            self.total_usage = self.total_usage + usage
            self.last_usage = usage


def portable_state(value: dict[str, Any], in_cursor: int) -> dict[str, Any]:
    """Return of what `DurableState.to_json` wrote what still holds elsewhere, when nothing waits behind a cursor.

    A suspended run is somebody's memory, and what was said about waiting inputs would be read as about others of the
    same numbers.
    """
    kept = {name: item for name, item in value.items() if name not in _OF_HERE_AND_NOW}
    if kept.get("stopCursor", 0) > in_cursor:
        kept["stopCursor"] = in_cursor
    return kept


_OF_HERE_AND_NOW = frozenset({"runId", "suspended", "handedOn", "settled", "withdrawn", "stopped"})
