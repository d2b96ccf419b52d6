"""The agent that the matrix of failpoints serves: it does what a text names, and its model and tools write histories.

    words N             N words, a few milliseconds apart
    wait                two words, `FAULTY_WAIT` seconds later if a server has that in its environment
    pure | idempotent | unsafe | guarded X
                        a call of the tool of that name, and then two words; `guarded` asks a person first, and a
                        `slow` X takes some time
    else                two words

The action `{"type": "note"}` takes nothing back and says a word. `CHATRT_HISTORIES` names the folder of the histories.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from chatrt import ChatAgent, Turn, stream_text, tool
from chatrt.events import ActionEvent
from chatrt.ids import RandomIds
from chatrt.models import FunctionModel, ModelPart, ModelRequest
from chatrt.models.scripted import finish, tool_call
from chatrt.testing.playbook import Prompt, read_prompt
from chatrt.tools import ToolContext
from chatrt.turn import current_turn
from tests.faults.dumps import has_call
from tests.faults.histories import History, compact

PAUSE = 0.008
SLOW = 0.25
IDLE = 0.5
TOOLS = ("pure", "idempotent", "unsafe", "guarded")

_ids = RandomIds()


@cache
def history() -> History:
    """Return the history of this process; opened when something happens, which is behind the fork."""
    return History(Path(os.environ["CHATRT_HISTORIES"]), "server")


class Note(BaseModel):
    """Say a word."""

    type: Literal["note"]


# --- the model


async def speak(request: ModelRequest) -> AsyncIterator[ModelPart]:
    """Answer a prompt, a word at a time; each names the call of the model that it belongs to."""
    turn, name = current_turn(), _ids.new("m")
    prompt = read_prompt(request.messages)
    facts = {"chat": turn.chat_id, "call": name}
    history().write("model", "called", **facts, message=turn.message_id, prompt=compact(request.messages))
    said = 0
    try:
        if prompt.word in TOOLS and prompt.output is None:
            for part in tool_call(prompt.word, {"what": prompt.rest}, id=_ids.new("call")):
                yield part
        else:
            if prompt.word == "wait":
                await asyncio.sleep(float(os.environ.get("FAULTY_WAIT", "0")))
            yield {"type": "text-start", "id": "text"}
            for number in range(int(prompt.rest) if prompt.word == "words" else 2):
                await asyncio.sleep(PAUSE)
                said += 1
                yield {"type": "text-delta", "id": "text", "delta": f"{name}.{number} "}
            yield {"type": "text-end", "id": "text"}
        yield finish("tool-calls" if _calls(prompt) else "stop")[0]
    except BaseException:
        history().write("model", "cancelled", **facts, words=said)
        raise
    history().write("model", "ended", **facts, words=said)


def _calls(prompt: Prompt) -> bool:
    return prompt.word in TOOLS and prompt.output is None


MODEL = FunctionModel(speak, name="faulty")


# --- the tools


async def _take_effect(context: ToolContext, effect: str, what: str) -> str:
    chat, call = current_turn().chat_id, context.tool_call_id
    if what == "slow":
        await asyncio.sleep(SLOW)
    intent = await has_call(os.environ["CHATRT_STORE"], chat, call)
    history().write(
        "tool",
        "started",
        chat=chat,
        call=call,
        key=context.idempotency_key,
        attempt=context.attempt,
        effect=effect,
        name=context.tool_name,
        args={"what": what},
        intent=intent,
    )
    output = f"{what} done"
    history().write("tool", "done", chat=chat, call=call, key=context.idempotency_key, output=output)
    return output


@tool(effect="pure")
async def pure(what: str, context: ToolContext) -> str:
    """Look something up."""
    return await _take_effect(context, "pure", what)


@tool(effect="idempotent")
async def idempotent(what: str, context: ToolContext) -> str:
    """Do something that counts once."""
    return await _take_effect(context, "idempotent", what)


@tool
async def unsafe(what: str, context: ToolContext) -> str:
    """Do something that counts each time."""
    return await _take_effect(context, "unsafe", what)


@tool(needs_approval=True)
async def guarded(what: str, context: ToolContext) -> str:
    """Do something that a person must allow, and that counts each time."""
    return await _take_effect(context, "unsafe", what)


# --- the agent

agent = ChatAgent("faulty", tools=[pure, idempotent, unsafe, guarded], action=Note, idle_timeout=IDLE)


@agent.run
async def respond(turn: Turn[Any]) -> Any:
    """Answer a turn."""
    return stream_text(MODEL, turn.messages, tools=turn.tools)


@agent.on_action
async def note(event: ActionEvent) -> Any:
    """Say something of the model's own."""
    return stream_text(MODEL, event.messages)
