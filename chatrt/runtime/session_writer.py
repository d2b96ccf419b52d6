"""Writing into the answers of another session, from anywhere in the process that may reach its store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import Any

from chatrt.errors import UsageError
from chatrt.run_control import current_run
from chatrt.runtime.manager import SessionManager
from chatrt.ui import UIMessageChunk


def session_writer(target: str = "root", *, sessions: SessionManager | None = None, tenant: str = "") -> SessionWriter:
    """Return what writes data chunks into a session.

        progress = session_writer("root")
        await progress.write({"type": "data-progress", "id": "crawl", "data": {"pages": 12}})

    While a turn of that session runs, a chunk is part of its answer at once; otherwise it goes to the last answer. No
    turn is begun by it. A part of the same type and id takes the place of the earlier one in the same answer (D18);
    `transient` chunks are shown and not kept.

    Args:
        target: `"self"`, `"parent"` or `"root"`, as seen from the run that this is called in: the session itself, the
            one that started it, the one where the family begins. Anything else is a chat id.
        sessions: A session manager, to write from outside of any run; `target` is a chat id then.
        tenant: Of the session, with `sessions`.

    Raises:
        UsageError: Outside of a run without `sessions`, or if there is no parent.
    """
    if sessions is not None:
        return SessionWriter(sessions, target, tenant=tenant)
    run = current_run()
    match target:
        case "self":
            chat_id = run.chat_id
        case "parent" if run.parent is None:
            raise UsageError(f"chat {run.chat_id!r} has no parent")
        case "parent" | "root" if run.parent is not None:
            chat_id = run.parent.chat_id if target == "parent" else run.parent.root_id
        case "root":
            chat_id = run.chat_id
        case _:
            chat_id = target
    return SessionWriter(run.sessions, chat_id, tenant=run.tenant)


class SessionWriter:
    """Writes data chunks into one session; see `session_writer`.

    Attributes:
        chat_id: The session.
    """

    def __init__(self, sessions: SessionManager, chat_id: str, *, tenant: str) -> None:
        self._sessions = sessions
        self._tenant = tenant
        self.chat_id = chat_id

    async def write(self, *chunks: UIMessageChunk | dict[str, Any]) -> None:
        """Write chunks, all or none; they are durable when this returns, and shown soon after.

        Raises:
            InvalidChunkError: If one is no data chunk.
            SessionNotFoundError: If there is no such session.
            SessionClosedError: If it is closed.
        """
        await self._append(chunks)

    async def merge(self, chunks: AsyncIterable[UIMessageChunk]) -> None:
        """Write every chunk of a stream of data chunks; returns when it ended and everything is durable.

        What comes while the chunks before it are being stored is stored together.

        Raises:
            ChatrtError: What `write` raises; of the chunks that were to be stored together with the wrong one none is.
        """
        waiting: list[UIMessageChunk] = []
        storing: asyncio.Task[None] | None = None
        async for chunk in chunks:
            waiting.append(chunk)
            if storing is None or storing.done():
                if storing is not None:
                    storing.result()
                storing, waiting = asyncio.create_task(self._append(waiting)), []
        if storing is not None:
            await storing
        if waiting:
            await self._append(waiting)

    async def _append(self, chunks: Sequence[UIMessageChunk | dict[str, Any]]) -> None:
        session = await self._sessions.get_session(self.chat_id, tenant=self._tenant)
        await session.inbox.write(chunks)
