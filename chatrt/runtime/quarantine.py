"""Quarantine: an input over which worker after worker has died is settled as failed, without being served once more.

What kills a worker may be anything of the application: the run function, a tool, a hook. So none of it is called before
the input is settled, by the commit that also ends the count of deaths; only `on_turn_complete` is told afterwards. What
a person has seen of the answer is kept (D21), and so is the message that asked for it.
"""

from __future__ import annotations

import logging

from chatrt.errors import InputQuarantinedError
from chatrt.metrics import QUARANTINED
from chatrt.runtime.context import RunContext
from chatrt.runtime.finish import finish
from chatrt.runtime.kinds import work_for
from chatrt.runtime.recovery import UnfinishedTurn, take_injected
from chatrt.runtime.turns import TurnWork
from chatrt.runtime.work import Failed, Work
from chatrt.stores import Record

logger = logging.getLogger("chatrt.runtime")

QUARANTINE_DEATHS = 3
"""How many workers may die over one input."""


def quarantined_work(context: RunContext, record: Record, left: UnfinishedTurn | None) -> Work:
    """Return what settles an input that is not served.

    Args:
        context: The run.
        record: The input.
        left: What the last of the dead runs left of it.
    """
    if left is None or not left.is_kept:
        return work_for(context, record, left, anew=False)
    return TurnWork(context, record)


async def quarantine(work: Work, left: UnfinishedTurn | None, deaths: int) -> None:
    """Settle an input as failed.

    Args:
        work: From `quarantined_work`.
        left: As there.
        deaths: How many workers have died.
    """
    context = work.context
    logger.error("chat %s: input %d is given up: %d workers have died over it", context.chat_id, work.in_seq, deaths)
    if left is not None and left.is_kept and isinstance(work, TurnWork):
        take_injected(work, left.injected_ids)
        work.resume_unasked(left.message_id, left.base, left.chunks, announced=left.is_announced)
    context.writer.metrics.add(QUARANTINED, 1, context.agent.id)
    await finish(work, Failed(InputQuarantinedError(context.chat_id, work.in_seq, deaths)))
