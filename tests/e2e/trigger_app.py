"""The playbook, and agents whose hooks and tools the clients of Trigger.dev have to live with, behind a secret key."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from pydantic import BaseModel

from chatrt import ChatAgent, Turn, create_app, stream_text, tool
from chatrt.events import PreloadEvent
from chatrt.models import FunctionModel, ModelRequest
from chatrt.models.scripted import call, text, tool_call
from chatrt.testing.playbook import playbook


class Person(BaseModel):
    name: str


# --- greets ahead of the first message, and knows who writes

greeter = ChatAgent("greeter", client_data=Person)


@greeter.on_preload
async def prepare(event: PreloadEvent[Person]) -> None:
    event.response.write({"type": "data-ready", "data": {"for": event.client_data.name}})
    event.response.write({"type": "text-start", "id": "t"})
    event.response.write({"type": "text-delta", "id": "t", "delta": "nobody asked"})
    event.response.write({"type": "text-end", "id": "t"})


@greeter.run
async def greet(turn: Turn[Person]) -> str:
    return f"Hello {turn.client_data.name}"


# --- takes its time over a tool between two steps

busy = ChatAgent("busy")


@tool
async def look_up(what: str) -> str:
    """Look something up, slowly."""
    await asyncio.sleep(1.5)
    return f"found {what}"


async def think(request: ModelRequest) -> Any:
    rows = request.messages
    users = [row["content"][0]["text"] for row in rows if row["role"] == "user"]
    looked_up = any(row["role"] == "tool" for row in rows)
    if users[-1].startswith("look") and not looked_up:
        for part in call(tool_call("look_up", {"what": "it"}, id="call-1")):
            yield part
        return
    for part in call(text(f"heard: {', '.join(users)}")):
        yield part


@busy.run
def work(turn: Turn) -> Any:
    return stream_text(FunctionModel(think, name="thinker"), turn.messages, tools=[look_up])


# --- answers a tool's output with a bare text

plain = ChatAgent("plain")


@tool
def pick(question: str) -> str:
    """Let the person pick."""


plain.tools = [pick]


@plain.run
async def answer(turn: Turn) -> Any:
    last = turn.ui_messages[-1]
    if last["role"] == "user":
        return _asked()
    return f"picked {last['parts'][-1]['output']}"


async def _asked() -> Any:
    yield {"type": "start-step"}
    yield {"type": "tool-input-available", "toolCallId": "call-1", "toolName": "pick", "input": {"question": "?"}}
    yield {"type": "finish-step"}


app = create_app([playbook, greeter, busy, plain], secret_key=os.environ["TRIGGER_APP_KEY"])
