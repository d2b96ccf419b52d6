"""Agents that say something and wait, workers that die meanwhile, and what is left for the next run."""

from __future__ import annotations

from typing import Any

from chatrt.agent import ChatAgent
from chatrt.codec import dumps
from chatrt.stores import NewRecord, SessionKey
from tests.runtime.driver import Chat, Gate, House, user

KEY = SessionKey("", "chat")


def text(words: str) -> list[dict[str, Any]]:
    return [
        {"type": "text-start", "id": "t"},
        {"type": "text-delta", "id": "t", "delta": words},
        {"type": "text-end", "id": "t"},
    ]


def saying(gate: Gate, *chunks: dict[str, Any], at: int = 0, **options: Any) -> ChatAgent:
    """An agent that gives these chunks in one turn and waits then; in the others it says what it was asked."""

    async def run(turn):
        if turn.ui_messages[-1]["role"] == "user" and turn.trigger == "message" and len(turn.ui_messages) == 2 * at + 1:
            for chunk in chunks:
                yield chunk
            await gate.wait()
            return
        for chunk in text(f"to {turn.ui_messages[-1]['parts'][0].get('text')}"):
            yield chunk

    return ChatAgent("a", run=run, **options)


async def crashed(house: House, chat: Chat, gate: Gate, *, last: str = "text-end", after: int = 0) -> None:
    """Kill the worker once it waits at the gate and the last chunk it has said, of this type, is stored."""
    await gate.reached.wait()
    await chat.until(lambda chunk: chunk["type"] == last, after)
    await house.crash()
    gate.opened.set()


async def left_behind(house: House, *records: NewRecord) -> None:
    """Append to the inbox while nobody serves it."""
    await house.store.open()
    for record in records:
        await house.store.append_in(KEY, record, part_id=None, at=0.0)


def message(words: str, message_id: str, **body: Any) -> NewRecord:
    return NewRecord("message", dumps({"message": user(words, message_id), **body}))
