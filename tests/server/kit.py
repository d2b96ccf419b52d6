"""An agent whose answers are scripted by the words of the last message, and how its tests speak to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from chatrt.agent import ChatAgent
from chatrt.errors import PublicError
from chatrt.sse import SSEDecoder
from chatrt.tools import tool

KEY = "test-secret-key-0123456789abcdef"


@tool
def ask_user(question: str) -> str:
    """Ask the person."""


@tool(needs_approval=True)
async def send_email(to: str) -> dict[str, bool]:
    """Send it."""
    return {"sent": True}


class Gates:
    """Places where a test holds the agent."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}

    def __getitem__(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def open_all(self) -> None:
        for gate in self._gates.values():
            gate.set()


def text_chunks(*deltas: str, text_id: str = "t") -> list[dict[str, Any]]:
    return [
        {"type": "text-start", "id": text_id},
        *({"type": "text-delta", "id": text_id, "delta": delta} for delta in deltas),
        {"type": "text-end", "id": text_id},
    ]


async def respond(turn: Any, gates: Gates) -> AsyncIterator[dict[str, Any]]:
    last = turn.ui_messages[-1]
    if last["role"] == "assistant":
        async for chunk in follow_up(last["parts"]):
            yield chunk
        return
    words = last["parts"][0]["text"]
    kind, _, rest = words.partition(" ")
    yield {"type": "start-step"}
    match kind:
        case "echo":
            for chunk in text_chunks(rest):
                yield chunk
        case "count":
            for chunk in text_chunks(*(f"w{index} " for index in range(int(rest)))):
                yield chunk
        case "hold":  # a word, then nothing until the gate opens, then another word
            yield {"type": "text-start", "id": "t"}
            yield {"type": "text-delta", "id": "t", "delta": "before "}
            await gates[rest].wait()
            yield {"type": "text-delta", "id": "t", "delta": "after"}
            yield {"type": "text-end", "id": "t"}
        case "note":  # transient and lasting data, then a gate
            yield {"type": "data-note", "data": "gone", "transient": True}
            yield {"type": "data-status", "id": "s", "data": {"step": 1}}
            await gates[rest].wait()
            yield {"type": "data-note", "data": "live", "transient": True}
        case "ask":
            call = {"toolCallId": "call-1", "toolName": "ask_user", "input": {"question": rest}}
            yield {"type": "tool-input-available", **call}
        case "approve":
            call = {"toolCallId": "call-2", "toolName": "send_email", "input": {"to": rest}}
            yield {"type": "tool-input-available", **call}
            yield {"type": "tool-approval-request", "approvalId": "approval-1", "toolCallId": "call-2"}
        case "new-chunks":
            yield {"type": "custom", "kind": "acme.thing"}
            for chunk in text_chunks("text"):
                yield chunk
        case "fail":
            raise RuntimeError("boom-secret")
        case "public":
            raise PublicError("the kitchen is closed")
        case _:
            for chunk in text_chunks(f"messages: {len(turn.ui_messages)}"):
                yield chunk
    yield {"type": "finish-step"}


async def follow_up(parts: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    part = next(part for part in reversed(parts) if part["type"].startswith("tool-"))
    if part["state"] == "approval-responded":
        call = {"toolCallId": part["toolCallId"]}
        if part["approval"]["approved"]:
            yield {"type": "tool-output-available", **call, "output": {"sent": True}}
            answer = "sent"
        else:
            yield {"type": "tool-output-denied", **call}
            answer = "not sent"
    else:
        answer = f"answer: {part['output']}"
    yield {"type": "start-step"}
    for chunk in text_chunks(answer, text_id="t2"):
        yield chunk
    yield {"type": "finish-step"}


def make_agent(gates: Gates, **options: Any) -> ChatAgent:
    options = {"id": "kit", "tools": [ask_user, send_email], **options}
    agent = ChatAgent(options.pop("id"), **options)

    @agent.run
    def run(turn: Any) -> AsyncIterator[dict[str, Any]]:
        return respond(turn, gates)

    @agent.on_action
    def act(event: Any) -> None:
        match event.action:
            case {"type": "undo"}:
                event.history.slice(0, -2)
            case _:
                raise ValueError("action-secret")

    return agent


@dataclass
class Kit:
    """A served application and its inside."""

    app: Any
    http: httpx.AsyncClient
    gates: Gates
    clock: Any

    @property
    def sessions(self) -> Any:
        return self.app.state.sessions

    async def say(self, chat_id: str, text: str, *, message_id: str | None = None) -> list[Any]:
        """Send a user message on the AI SDK wire and return the chunks of the answer."""
        body = {"id": chat_id, "messages": [user(text, message_id)], "trigger": "submit-message"}
        return chunks((await self.http.post("/api/chat/kit", json=body)).raise_for_status().content)

    async def new(self, chat_id: str) -> None:
        (await self.http.post("/v1/sessions", json={"agent": "kit", "chatId": chat_id})).raise_for_status()

    async def put(self, chat_id: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        response = await self.http.post(f"/v1/sessions/{chat_id}/in", json=body, headers=headers)
        return response.raise_for_status().json()


def user(text: str, message_id: str | None = None) -> dict[str, Any]:
    return {"id": message_id or f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}


def chunks(body: bytes) -> list[Any]:
    """Decode an AI SDK body: chunks, and `[DONE]` as it is."""
    decoder = SSEDecoder()
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in decoder.decode(body)]


def text_of(answer: list[Any]) -> str:
    return "".join(chunk["delta"] for chunk in answer if chunk != "[DONE]" and chunk["type"] == "text-delta")


@dataclass
class Feed:
    """Reads the events of an open stream one by one."""

    response: httpx.Response
    decoder: SSEDecoder = field(default_factory=SSEDecoder)
    ready: list[Any] = field(default_factory=list)
    raw: bytes = b""

    def __post_init__(self) -> None:
        self._bytes = self.response.aiter_raw()

    async def next(self) -> Any:
        while not self.ready:
            data = await anext(self._bytes)
            self.raw += data
            self.ready.extend(self.decoder.decode(data))
        return self.ready.pop(0)

    async def until(self, text: str) -> list[Any]:
        """Return the events up to the first one whose data hold the text."""
        events = [await self.next()]
        while text not in events[-1].data:
            events.append(await self.next())
        return events

    async def rest(self) -> list[Any]:
        events = []
        try:
            while True:
                events.append(await self.next())
        except StopAsyncIteration:
            return events
