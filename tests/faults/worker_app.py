"""Agents that say which process answers, take their time, or kill it: what the tests of workers serve."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from chatrt import ChatAgent, Turn, stream_text
from chatrt.models import FunctionModel, ModelRequest
from chatrt.models.scripted import call, text, tool_call
from chatrt.tools import tool

TICK = 0.05


def said(message: Any) -> str:
    return message["parts"][0]["text"]


@tool(effect="pure")
async def explode() -> str:
    """Kill the process."""
    os._exit(7)


async def play(_request: ModelRequest) -> AsyncIterator[Any]:
    for part in call(text("Let me see."), tool_call("explode", {})):
        yield part


async def speak(turn: Turn) -> AsyncIterator[dict[str, Any]]:
    """Say the id of the process, `tick` twenty times a second for as long as was asked, and the end."""
    yield {"type": "text-start", "id": "t"}
    yield {"type": "text-delta", "id": "t", "delta": f"pid={os.getpid()} "}
    for _ in range(round(float(said(turn.ui_messages[-1])) / TICK)):
        await asyncio.sleep(TICK)
        yield {"type": "text-delta", "id": "t", "delta": "tick "}
    yield {"type": "text-delta", "id": "t", "delta": "end"}
    yield {"type": "text-end", "id": "t"}


async def stay() -> str:
    """Go on, whatever one is told."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def respond(turn: Turn) -> Any:
    match said(turn.ui_messages[-1]):
        case "exit":
            os._exit(7)
        case "stubborn":
            return stay()
        case "tool":
            return stream_text(FunctionModel(play), turn.messages, tools=turn.tools)
        case _:
            return speak(turn)


agent = ChatAgent("a", run=respond, tools=[explode])


def hydrate(event: Any) -> list[Any]:
    if any(said(message) == "exit" for message in event.incoming_messages):
        os._exit(7)
    return [*event.previous_messages, *event.incoming_messages]


hydrated = ChatAgent("h", run=respond, hydrate_messages=hydrate)
agents = [agent, hydrated]
