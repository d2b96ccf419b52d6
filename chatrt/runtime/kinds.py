"""Kinds: which work serves which input."""

from __future__ import annotations

from chatrt.runtime.actions import ActionWork, SwitchWork
from chatrt.runtime.context import RunContext
from chatrt.runtime.data import DataWork
from chatrt.runtime.head_start import HeadStartWork, has_head_start
from chatrt.runtime.preload import PreloadWork
from chatrt.runtime.recovery import UnfinishedTurn
from chatrt.runtime.turns import TurnWork
from chatrt.runtime.work import Work
from chatrt.stores import Record

KINDS: dict[str, type[Work]] = {
    "message": TurnWork,
    "regenerate": TurnWork,
    "action": ActionWork,
    "switch": SwitchWork,
    "preload": PreloadWork,
    "data": DataWork,
}


def work_for(context: RunContext, record: Record, left: UnfinishedTurn | None, *, anew: bool) -> Work:
    """Return what serves an input.

    Args:
        context: The run.
        record: The input.
        left: What another run left of it.
        anew: Whether its turn was closed once: a head start that it had is over.
    """
    if not anew and has_head_start(record):
        return HeadStartWork(context, record, left)
    return KINDS[record.kind](context, record, None if left is None else left.message_id)
