"""Reading a session's log: readers that are let go promptly, and whether anything is still to come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import cast

from chatrt.runtime import UNANSWERED, Position, Session
from chatrt.stores.base import Record, Store


def reading(
    session: Session, after: int, *, live: bool = True
) -> AbstractAsyncContextManager[AsyncIterator[list[Record]]]:
    """Read `.out` from a cursor on; the reader is detached when the context ends, however it ends."""
    return aclosing(cast("AsyncGenerator[list[Record]]", session.outbox.read(after, live=live)))


async def look_up_tail(session: Session, after: int) -> int:
    """Return the newest seq of `.out` now.

    Raises:
        CursorAheadError: If the log is shorter than the cursor says.
    """
    async with reading(session, after, live=False) as batches:
        async for _ in batches:
            break
    return session.outbox.last_seq


async def is_busy(session: Session, store: Store, position: Position) -> bool:
    """Whether something is still to come on `.out` after the position's cursor.

    What makes no record of its own, a stop or a withdrawal say, keeps nobody waiting.
    """
    if position.status != "running":
        return False
    if session.running is not None or await look_up_tail(session, position.cursor) > position.cursor:
        return True
    waiting = await store.read_in(session.key, after=position.in_cursor)
    return any(record.kind not in UNANSWERED for record in waiting)
