"""Applications with a head start: the model of the first step, the model of the run, and what a reader gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.ids import CountingIds
from chatrt.models import ScriptedModel
from chatrt.models.scripted import text
from chatrt.server import HeadStartRequest, create_app
from chatrt.stores import MemoryStore
from chatrt.tools import tool
from chatrt.ui import assemble
from tests.runtime.driver import Chat
from tests.server.kit import chunks, user


@tool
async def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@tool
def ask_user(question: str) -> str:
    """Ask the person."""


class Place:
    """An application with a head start, and what its two models are asked."""

    def __init__(self, app: Any, http: httpx.AsyncClient, run: ScriptedModel, requests: list[HeadStartRequest]) -> None:
        self.app = app
        self.http = http
        self.run = run
        self.requests = requests

    async def says(self, words: str, **more: Any) -> list[Any]:
        return chunks((await self.post(words, **more)).raise_for_status().content)

    async def post(self, words: str, **more: Any) -> httpx.Response:
        return await self.http.post("/api/chat/a", json={"id": "c1", "messages": [user(words)], **more})

    async def messages(self) -> list[Any]:
        return (await self.http.get("/api/chat/a/c1/messages")).json()["messages"]

    async def chat(self) -> Chat:
        sessions = self.app.state.sessions
        return Chat(await sessions.get_session("c1"), sessions)


Make = Callable[..., Awaitable[Place]]


@pytest.fixture
def make(serve: Callable[..., Awaitable[httpx.AsyncClient]]) -> Make:
    """Serve an agent whose run answers "from run", with a head start by the given model."""

    async def make(
        warm: Any,
        *,
        tools: Any = (search, ask_user),
        agent: dict[str, Any] | None = None,
        run: Any = ("from run", "again"),
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Place:
        model = ScriptedModel(run)
        requests: list[HeadStartRequest] = []

        def begin(request: HeadStartRequest) -> Any:
            requests.append(request)
            return warm(request) if callable(warm) else stream_text(warm, request.messages, tools=request.tools)

        served = ChatAgent(
            "a", tools=tools, run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **(agent or {})
        )
        app = create_app(served, **{"store": MemoryStore(), "ids": CountingIds(), "head_start": begin, **options})
        return Place(app, await serve(app, headers=headers), model, requests)

    return make


async def endless(request: Any) -> Any:
    """A model that says "from " and then nothing."""
    for part in text(["from "])[:2]:
        yield part
    await asyncio.Event().wait()


def types(answer: list[Any]) -> list[str]:
    return [chunk if chunk == "[DONE]" else chunk["type"] for chunk in answer]


async def is_one_message(place: Place, answer: list[Any]) -> None:
    """What a stock client makes of the chunks is what is stored, under the same id."""
    assert answer[-1] == "[DONE]"
    assert types(answer).count("start") == types(answer).count("finish") == 1
    message = assemble(answer[:-1])
    stored = (await place.messages())[-1]
    assert message["id"] == stored["id"] == answer[0]["messageId"]
    assert message["parts"] == stored["parts"]
