"""Between an answer and the end of its turn: deferred work is waited for, and the prompt compacted."""

from __future__ import annotations

import logging
from typing import TypeVar

from chatrt.runtime.turns import TurnWork
from chatrt.runtime.work import Completed, Failed, Stopped, Work

logger = logging.getLogger("chatrt.runtime")

OutcomeT = TypeVar("OutcomeT")


async def after_answer(work: Work, outcome: OutcomeT) -> OutcomeT | Stopped | Failed:
    """Do what an answer leaves to do while its stream is still open; a stop may still come.

    Deferred work is waited for, up to `DEFER_SECONDS`, unless the answer failed; not that of a preload, whose reader
    waits for the chat. Then the prompt is compacted, of turns that came to their end.

    Returns:
        The outcome; that of a stop, if one came meanwhile; a failure, if somebody wrote an error meanwhile (D17).
    """
    if not isinstance(outcome, Completed | Stopped) or work.trigger == "preload":
        return outcome
    await work.context.background.settle_work()
    if isinstance(outcome, Completed) and isinstance(work, TurnWork) and work.answer_error is None:
        try:
            await work.answer(work.compactor.after_answer)
        except Exception:  # the answer is whole, whatever became of its summary
            logger.exception("chat %s is not compacted", work.context.chat_id)
    if work.stop_signal.is_set():
        return Stopped(work.stop_reason)
    return outcome if work.answer_error is None else Failed(work.answer_error)
