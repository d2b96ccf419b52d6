"""Agents that ask one another, one session manager after another over one store, and what the tests look at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from chatrt import AgentChat, ChatAgent, FunctionModel, SessionManager, stream_text
from chatrt.models.scripted import call, text, tool_call
from chatrt.stores import SessionKey
from chatrt.stores.memory import MemoryStore


class Child:
    """An agent that says what the test lets through, word by word; `heard` has what it was told."""

    def __init__(self, name: str = "child", **options: Any) -> None:
        self._words: asyncio.Queue[str | None] = asyncio.Queue()
        self.heard: list[str] = []
        self.turns: list[Any] = []
        self.began = asyncio.Event()
        self.agent = ChatAgent(name, run=self._run, **options)

    def say(self, *words: str) -> None:
        for word in words:
            self._words.put_nowait(word)

    def end(self) -> None:
        self._words.put_nowait(None)

    async def _run(self, turn: Any) -> AsyncIterator[dict[str, Any]]:
        self.heard.append(turn.ui_messages[-1]["parts"][0]["text"])
        self.turns.append(turn)
        self.began.set()
        yield {"type": "text-start", "id": "t"}
        while (word := await self._words.get()) is not None:
            if word == "boom":
                raise RuntimeError("boom")
            yield {"type": "text-delta", "id": "t", "delta": word}
        yield {"type": "text-end", "id": "t"}


def echo(name: str = "echo", **options: Any) -> ChatAgent:
    """An agent that repeats what it hears and how many messages it knows."""

    async def run(turn: Any) -> str:
        messages = turn.ui_messages
        return f"{messages[-1]['parts'][0]['text']} ({len(messages)})"

    return ChatAgent(name, run=run, **options)


def asking(name: str, ask: Callable[[Any], Any], **options: Any) -> ChatAgent:
    """An agent whose run function is given; what it raises ends up in its answer, by name."""

    async def run(turn: Any) -> Any:
        try:
            return await ask(turn)
        except Exception as error:
            return f"{type(error).__name__}"

    return ChatAgent(name, run=run, **options)


def calling(name: str, tools: list[Any], requests: list[Any] | None = None, **options: Any) -> ChatAgent:
    """An agent whose model calls a tool with what the user says, as `tool_name {json}`, and then says what it got."""

    def answer(request: Any) -> Any:
        if requests is not None:
            requests.append(request)
        last = request.messages[-1]
        if last["role"] == "tool":
            return call(text(f"got {last['content'][0]['output']['value']}"))
        said = last["content"][0]["text"] if isinstance(last["content"], list) else last["content"]
        tool_name, _, given = said.partition(" ")
        return call(tool_call(tool_name, json.loads(given), id=f"call_{len(request.messages)}"))

    agent = ChatAgent(name, tools=tools, **options)

    @agent.run
    async def run(turn: Any) -> Any:
        return stream_text(FunctionModel(answer), turn.messages, tools=turn.tools)

    return agent


class Family:
    """A store and the session managers that serve it, one after another."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.sessions: Any = None
        self.agents: list[ChatAgent] = []

    def serve(self, *agents: ChatAgent, **options: Any) -> Family:
        self.agents = list(agents)
        self.sessions = SessionManager(self.agents, self.store, **options)
        return self

    def chat(self, agent: str, chat_id: str = "top", **options: Any) -> AgentChat:
        return AgentChat(agent, id=chat_id, sessions=self.sessions, **options)

    async def crash(self) -> None:
        """Drop the worker as a kill does."""
        await self.store.close()
        await self.sessions.aclose(grace=0.0)
        await self.store.open()

    async def inbox(self, chat_id: str) -> list[tuple[str, dict[str, Any]]]:
        """What stands on a session's `.in`."""
        records = await self.store.read_in(SessionKey("", chat_id), after=0)
        return [(record.kind, json.loads(record.body)) for record in records]

    async def stops(self, chat_id: str) -> list[int]:
        """The inputs whose turns were to be stopped."""
        return [body["inSeq"] for kind, body in await self.inbox(chat_id) if kind == "stop"]

    async def children(self, chat_id: str = "top") -> list[str]:
        return [row.key.chat_id async for row in self.sessions.iter_sessions(parent=chat_id)]

    async def settled(self, chat_id: str, in_seq: int = 1) -> str:
        """How the turn of an input ended, once it has."""
        session = await self.sessions.get_session(chat_id)
        async for batch in session.outbox.read(0):
            for record in batch:
                if record.kind == "turn-complete":
                    body = json.loads(record.body)
                    if body["inSeq"] >= in_seq:
                        return body["status"]
        raise AssertionError("the log ended")
