"""An agent with a background, and how its tests read prompts and let time pass."""

from __future__ import annotations

import asyncio
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.clock import ManualClock
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from tests.runtime.driver import Chat, House


def note(words: str) -> Any:
    return {"role": "system", "content": words}


@tool
async def look(place: str) -> str:
    """Look somewhere."""
    return f"seen {place}"


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def looks(place: str) -> Any:
    return call(tool_call("look", {"place": place}, id=f"call_{place}"))


def scripted(*script: Any, **options: Any) -> ChatAgent:
    """An agent whose model plays the script."""
    model = ScriptedModel(list(script))
    options.setdefault("tools", [look, ask_user])
    options.setdefault("run", lambda turn: stream_text(model, turn.messages, tools=turn.tools))
    agent = ChatAgent("a", **options)
    agent.model = model
    return agent


def prompt(request: Any) -> list[str]:
    """A prompt, row by row: its text, or what kind of tool parts it has."""
    return [
        row["content"]
        if isinstance(row["content"], str)
        else " ".join(part.get("text", part["type"]) for part in row["content"])
        for row in request.messages
    ]


def last_prompt(agent: Any) -> list[str]:
    return prompt(agent.model.requests[-1])


async def stored(house: House, chat: Chat, what: str) -> Any:
    """Wait until the session's layers in the store have something of a kind."""
    while what not in (layers := (await house.store.load_snapshot(chat.session.key)).state.get("layers", {})):
        await asyncio.sleep(0)
    return layers[what]


async def let_pass(clock: ManualClock, seconds: float) -> None:
    """Let so much time pass, in steps, with everything that happens on the way."""
    for _ in range(int(seconds * 2)):
        clock.advance(0.5)
        for _ in range(20):
            await asyncio.sleep(0)
