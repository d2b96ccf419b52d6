"""Readers of a session's log: let go promptly, counted while they ask, and told whether anything is still to come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import cast

from chatrt.runtime import UNANSWERED, Position, Pulse, Session
from chatrt.stores.base import Appended, Record, Store

LOST_READER = "nobody was reading any more"
"""The reason told when a turn is stopped because its reader went away and a new request came."""


def reading(
    session: Session, after: int, *, live: bool = True, pulse: Pulse | None = None
) -> AbstractAsyncContextManager[AsyncIterator[list[Record]]]:
    """Read `.out` from a cursor on; the reader is detached when the context ends, however it ends."""
    return aclosing(cast("AsyncGenerator[list[Record]]", session.outbox.read(after, live=live, pulse=pulse)))


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


async def is_idle(session: Session, store: Store, cursor: int) -> bool:
    """Whether who has read up to a cursor has read everything, and nothing is to come."""
    position = await session.position()
    # What another process has settled is known from the store before it is read here.
    return max(session.outbox.last_seq, position.cursor) <= cursor and not await is_busy(session, store, position)


async def ask(
    session: Session, append: Callable[[], Awaitable[Appended]], *, is_new: bool
) -> tuple[Appended, Callable[[], None]]:
    """Append what a client asks for that reads the answer at once; returns what to call when it stops reading.

    Clients stop by dropping the connection. So somebody who asks for something new while the running turn has no
    reader left wants an answer, not to wait: that turn is stopped first. With a reader attached the agent's busy policy
    decides. Whoever asks counts as a reader from here on, before the answer begins.

    Of a store that several processes share none of them knows all readers, so there nothing is stopped: a turn that
    somebody reads elsewhere goes on, at the price that one which nobody reads does so too.

    Args:
        session: The session.
        append: Appends; what it raises is raised.
        is_new: Whether it asks for a new answer, rather than for one to go on.
    """
    running = session.running
    unread = running is not None and session.is_unread and is_new
    detach = session.outbox.attach()
    try:
        if unread and running is not None:
            await session.inbox.stop(in_seq=running.in_seq, reason=LOST_READER)
        return await append(), detach
    except BaseException:
        detach()
        raise
