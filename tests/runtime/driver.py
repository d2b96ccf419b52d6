"""Drives sessions without a server: one store, as many session managers after one another as a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.ids import CountingIds
from chatrt.runtime import Session, SessionManager
from chatrt.stores import Appended, Record
from chatrt.stores.memory import MemoryStore


def user(text: str, message_id: str | None = None) -> dict[str, Any]:
    """A user message."""
    message: dict[str, Any] = {"role": "user", "parts": [{"type": "text", "text": text}]}
    return message if message_id is None else {"id": message_id, **message}


def texts(messages: list[Any]) -> list[tuple[str, str]]:
    """Each message as its role and its text."""
    return [
        (message["role"], "".join(part["text"] for part in message["parts"] if part["type"] == "text"))
        for message in messages
    ]


@dataclass
class Settled:
    """What `.out` has of one input."""

    start: dict[str, Any] | None = None
    chunks: list[dict[str, Any]] = field(default_factory=list)
    complete: dict[str, Any] = field(default_factory=dict)
    seq: int = 0

    @property
    def types(self) -> list[str]:
        return [chunk["type"] for chunk in self.chunks]

    @property
    def text(self) -> str:
        return "".join(chunk["delta"] for chunk in self.chunks if chunk["type"] == "text-delta")

    @property
    def status(self) -> str:
        return self.complete["status"]


class Chat:
    """One session and what a test does with it."""

    def __init__(self, session: Session, sessions: SessionManager) -> None:
        self.session = session
        self.sessions = sessions
        self.inbox = session.inbox

    async def send(self, text: str, message_id: str | None = None, **options: Any) -> Settled:
        return await self.settled(await self.inbox.send_message(user(text, message_id), **options))

    async def answer(self, *parts: dict[str, Any], message_id: str) -> Settled:
        message: Any = {"id": message_id, "role": "assistant", "parts": list(parts)}
        return await self.settled(await self.inbox.send_message(message))

    async def act(self, action: Any) -> Settled:
        return await self.settled(await self.inbox.act(action))

    async def regenerate(self, message_id: str | None = None) -> Settled:
        return await self.settled(await self.inbox.regenerate(message_id))

    async def settled(self, appended: Appended) -> Settled:
        """Read `.out` up to the turn-complete of an input."""
        result = Settled()
        async for record in self.records():
            body = json.loads(record.body)
            match record.kind:
                case "turn-start":
                    result = Settled(start=body)
                case "chunk":
                    result.chunks.append(body)
                case "turn-complete" if body["inSeq"] == appended.seq and not body.get("willRetry"):
                    result.complete, result.seq = body, record.seq
                    return result
        raise AssertionError("the log ended")

    async def records(self, after: int = 0) -> AsyncIterator[Record]:
        """Every record behind a cursor, as it comes."""
        async with aclosing(self.session.outbox.read(after)) as batches:
            async for batch in batches:
                for record in batch:
                    yield record

    async def until(self, wanted: Callable[[dict[str, Any]], bool], after: int = 0) -> int:
        """Return the seq of the first chunk after a cursor that is wanted."""
        async for record in self.records(after):
            if record.kind == "chunk" and wanted(json.loads(record.body)):
                return record.seq
        raise AssertionError("the log ended")

    async def until_read(self, appended: Appended) -> None:
        """Return when the run that serves the session has taken up an input, without serving it."""
        while self.sessions._runs[self.session.key]._arrivals.read_cursor < appended.seq:
            await asyncio.sleep(0)

    async def messages(self) -> list[Any]:
        return list((await self.session.load()).messages)

    async def texts(self) -> list[tuple[str, str]]:
        return texts(await self.messages())


class House:
    """A store and the session managers that serve it, one after another."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.ids = CountingIds()
        self.sessions: SessionManager | None = None

    async def open(self, agent: ChatAgent, chat_id: str = "chat", **options: Any) -> Chat:
        if self.sessions is None:
            self.sessions = SessionManager(agent, self.store, ids=self.ids, **options)
        return Chat(await self.sessions.start_session(agent.id, chat_id), self.sessions)

    async def crash(self) -> None:
        """Drop the worker as a kill does: nothing it had not stored survives."""
        assert self.sessions is not None
        await kill(self.sessions)
        self.sessions = None


async def kill(sessions: SessionManager) -> None:
    """Cancel every task of a session manager at once; nothing is committed after that."""
    await sessions.store.close()
    await sessions.aclose(grace=0.0)


class Gate:
    """Lets a test hold a running answer at a point and let it go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()
