"""Agents to talk to, and chats with them over both transports: in this process, and over HTTP from a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.runtime import SessionManager
from chatrt.server import create_app
from chatrt.stores import MemoryStore
from chatrt.testing.playbook import playbook
from tests.client.family import Family
from tests.runtime.driver import Gate


class Valve:
    """An agent that says what the test lets through, word by word."""

    def __init__(self) -> None:
        self._words: asyncio.Queue[str | None] = asyncio.Queue()
        self.agent = ChatAgent("valve", run=self._run)

    def say(self, *words: str) -> None:
        for word in words:
            self._words.put_nowait(word)

    def end(self) -> None:
        self._words.put_nowait(None)

    async def _run(self, turn: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "text-start", "id": "t"}
        while (word := await self._words.get()) is not None:
            if word == "boom":
                raise RuntimeError("boom-secret")
            yield {"type": "text-delta", "id": "t", "delta": word}
        yield {"type": "text-end", "id": "t"}


@dataclass
class Place:
    """Where chats are opened: a session manager, and the URL of the server over it, if there is one."""

    sessions: SessionManager
    valve: Valve
    base_url: str | None
    stack: AsyncExitStack

    async def open(self, agent: str | ChatAgent = playbook, **options: Any) -> AgentChat:
        where: dict[str, Any] = {"sessions": self.sessions} if self.base_url is None else {"base_url": self.base_url}
        return await self.stack.enter_async_context(AgentChat(agent, **{**where, **options}))


@pytest.fixture(params=["in-process", "http"])
async def place(request: pytest.FixtureRequest, serve: Callable[..., Any]) -> AsyncIterator[Place]:
    """Both ways to the same agents; what is tested with it holds for both."""
    valve = Valve()
    app = create_app([playbook, valve.agent], store=MemoryStore())
    sessions = app.state.sessions
    base_url = str((await serve(app)).base_url) if request.param == "http" else None
    async with AsyncExitStack() as stack:
        # Turns that a test left running need not be waited for.
        stack.push_async_callback(sessions.aclose, grace=0.0)
        yield Place(sessions, valve, base_url, stack)


@pytest.fixture
async def family() -> AsyncIterator[Family]:
    family = Family()
    yield family
    if family.sessions is not None:
        await family.sessions.aclose(grace=0.0)


@pytest.fixture
def gate() -> Gate:
    return Gate()
