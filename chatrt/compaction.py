"""Compaction: when the prompt of a chat has grown too large, a summary stands for its older part.

The messages that people see stay as they are; only what the model is shown shrinks. A compaction is a layer over them
(D9): rows of a prompt, and the place they stand for, from the beginning of the chat up to there. It is stored with the
session and holds in later turns and runs, on every branch that contains its place. Where several hold, the one that
reaches furthest does, and of these the one that was made last.

    inner     between two steps of an answer, when the last step says that the prompt is too large
    outer     after an answer that came to its end, before `on_before_turn_complete`; not when it was compacted inside
    manual    `turn.compact()`, from an action, a hook, `run` or a tool
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chatrt.errors import UsageError
from chatrt.models import Usage
from chatrt.ui import ModelMessage, UIMessage

CompactionSource = Literal["inner", "outer", "manual"]

SUMMARY_HEADING = "[Summary of the conversation so far]"
"""The first line of the row that stands for what was summarized."""


@dataclass(frozen=True, kw_only=True)
class CompactEvent:
    """A prompt that may be compacted, or is about to be.

    Attributes:
        source: Where this is asked.
        messages: What the summary is to stand for.
        usage: Of the last step: what the prompt weighed when the model was shown it. None when no provider told.
        total_usage: Of the session, without the running turn.
        step_number: The step that comes next; -1 unless `source` is `inner`.
        steps: The steps of the answer so far, with `inner`; see `chatrt.generate.Step`.
        turn: How many turns this run served before.
    """

    source: CompactionSource
    chat_id: str
    turn: int
    messages: list[ModelMessage]
    usage: Usage | None
    total_usage: Usage
    step_number: int = -1
    steps: Sequence[Any] = ()
    client_data: Any = None

    @property
    def total_tokens(self) -> int | None:
        """Tokens of the last step, prompt and answer."""
        return None if self.usage is None else self.usage.total_tokens

    @property
    def input_tokens(self) -> int | None:
        """Tokens of the prompt of the last step."""
        return None if self.usage is None else self.usage.input_tokens

    @property
    def output_tokens(self) -> int | None:
        """Tokens that the last step generated."""
        return None if self.usage is None else self.usage.output_tokens


@dataclass(frozen=True, kw_only=True)
class SummarizedEvent(CompactEvent):
    """The summary is made; what takes the place of the messages is chosen.

    Attributes:
        summary: The summary.
        ui_messages: The history; with `outer` the answer is part of it already.
    """

    summary: str
    ui_messages: list[UIMessage]


ShouldCompact = Callable[[CompactEvent], bool | Awaitable[bool]]
Summarize = Callable[[CompactEvent], str | Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """When the prompt of a chat is compacted, and how. Every function may be sync or async.

    What `should_compact`, `summarize` or `compact_...` raise is logged, and the answer goes on uncompacted; only
    `turn.compact()` raises it.

    Attributes:
        summarize: Gives the text that stands for the messages; `summarize_with` makes one of a model.
        should_compact: Decides, after each step that is followed by another one and at the end of each turn.
        threshold: Instead of it: compact when the last step took more tokens than that, prompt and answer together.
            Where the provider does not tell how many, nothing is compacted.
        compact_model_messages: What the model is shown instead of the messages; by default one user row with
            `SUMMARY_HEADING` and the summary.
        compact_ui_messages: What the history becomes; by default it stays as it is. It does not touch the answer that
            is being made: that is put behind, if it is left out. People lose sight of what goes here.

    Raises:
        UsageError: Unless exactly one of `should_compact` and `threshold` is given.
    """

    summarize: Summarize
    should_compact: ShouldCompact | None = None
    threshold: int | None = None
    compact_model_messages: Callable[[SummarizedEvent], list[ModelMessage] | Awaitable[list[ModelMessage]]] | None = (
        None
    )
    compact_ui_messages: Callable[[SummarizedEvent], list[UIMessage] | Awaitable[list[UIMessage]]] | None = None

    def __post_init__(self) -> None:
        if (self.should_compact is None) == (self.threshold is None):
            raise UsageError("a compaction has either should_compact or a threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionLayer:
    """A compaction as it is stored.

    Attributes:
        summary: The summary.
        messages: The rows that stand for everything up to the place.
        message_id: The message in which the place is.
        part_index: How many parts of that message come before the place.
    """

    summary: str
    messages: list[ModelMessage]
    message_id: str
    part_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactResult:
    """What became of `turn.compact()`.

    Attributes:
        status: Whether there is a new layer.
        reason: Why not: `nothing-to-compact` (no answer since the last compaction, or none at all), or `open-calls`
            (all there is belongs to calls that have no result yet). `asked` otherwise.
        layer: The new layer; None when it was skipped.
    """

    status: Literal["compacted", "skipped"]
    reason: Literal["asked", "nothing-to-compact", "open-calls"]
    layer: CompactionLayer | None = None


def summary_message(summary: str) -> ModelMessage:
    """Return the row that a summary is shown as: the user's in every place, so that a prompt may begin with it."""
    return {"role": "user", "content": [{"type": "text", "text": f"{SUMMARY_HEADING}\n\n{summary}"}]}
