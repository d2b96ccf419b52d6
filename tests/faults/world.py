"""An agent whose model and tools write histories: `chatrt serve tests/faults/world.py:app` with CHATRT_HISTORIES.

What it answers to a text:

    say N MS            N words, MS milliseconds apart
    call EFFECT MS N    calls the tool of that effect, which takes MS milliseconds, then says N words
    both A B MS N       calls the tools of two effects at once, then says N words
    steps K MS N        K steps, each with a call of `pure`, then N words
    leave EFFECT MS N   the same as `call` with a tool that needs approval
    else                one word

Every word is `<call>.<number> `, so that it tells which call of the model said it (see `histories`). Actions: `undo`
takes back the last question and what followed it; `speak` says three words.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from chatrt.agent import ChatAgent
from chatrt.events import ActionEvent
from chatrt.generate import TextStream, step_count_is, stream_text
from chatrt.models import FunctionModel, ModelPart, ModelRequest
from chatrt.models.scripted import finish, tool_call
from chatrt.server import create_app
from chatrt.tools import Effect, Tool, ToolContext, tool
from chatrt.turn import Turn, current_turn
from chatrt.ui import ModelMessage
from tests.faults.dumps import has_call
from tests.faults.histories import History, compact

STORE = os.environ["CHATRT_STORE"]
HISTORY = History(Path(os.environ["CHATRT_HISTORIES"]), f"served-{os.urandom(3).hex()}")
LOOKS = os.environ.get("CHATRT_LOOKS", "1") == "1"
"""Whether each tool looks for its own call in the store as it starts."""

_process = os.urandom(4).hex()
_numbers = itertools.count()


# --- tools


def _make_tool(name: str, effect: Effect, *, needs_approval: bool) -> Tool:
    async def body(ms: int, context: ToolContext) -> str:
        call, chat = context.tool_call_id, current_turn().chat_id
        told = {"chat": chat, "call": call, "key": context.idempotency_key}
        intent = await _has_intent(chat, call)
        HISTORY.write(
            "tool", "started", **told, attempt=context.attempt, effect=effect, name=name, args={"ms": ms}, intent=intent
        )
        await asyncio.sleep(ms / 1000)
        output = f"output of {context.idempotency_key}"
        HISTORY.write("tool", "done", **told, output=output)
        return output

    body.__doc__ = f"A tool that is {effect}."
    return tool(name=name, needs_approval=needs_approval, effect=effect)(body)


async def _has_intent(chat: str, call: str) -> bool | None:
    if not LOOKS:
        return None
    try:
        return await has_call(STORE, chat, call)
    except OSError:
        return None  # the store is away: nobody knows


EFFECTS: tuple[Effect, ...] = ("pure", "idempotent", "unsafe")
TOOLS = [_make_tool(effect, effect, needs_approval=False) for effect in EFFECTS]
TOOLS += [_make_tool(f"ask_{effect}", effect, needs_approval=True) for effect in EFFECTS]


# --- the model


async def play(request: ModelRequest) -> AsyncIterator[ModelPart]:
    """Answer the last user text, as far as its calls have not been answered yet."""
    asked, answered = _read_prompt(request.messages)
    call, turn = f"{_process}-{next(_numbers)}", current_turn()
    HISTORY.write(
        "model", "called", chat=turn.chat_id, call=call, message=turn.message_id, prompt=compact(request.messages)
    )
    said = 0
    try:
        match asked.split():
            case ["call", effect, ms, count]:
                plan = [[effect]], int(ms), int(count), 0
            case ["leave", effect, ms, count]:
                plan = [[f"ask_{effect}"]], int(ms), int(count), 0
            case ["both", one, other, ms, count]:
                plan = [[one, other]], int(ms), int(count), 0
            case ["steps", steps, ms, count]:
                plan = [["pure"]] * int(steps), int(ms), int(count), 0
            case ["say", count, ms]:
                plan = [], 0, int(count), int(ms)
            case _:
                plan = [], 0, 1, 0
        calls, ms, count, pause = plan
        if answered < len(calls):
            count = 1
        yield {"type": "text-start", "id": "t"}
        for number in range(count):
            yield {"type": "text-delta", "id": "t", "delta": f"{call}.{number} "}
            said += 1
            await asyncio.sleep(pause / 1000)
        yield {"type": "text-end", "id": "t"}
        for number, name in enumerate(calls[answered] if answered < len(calls) else ()):
            for part in tool_call(name, {"ms": ms}, id=f"{call}-{number}", deltas=2):
                yield part
        HISTORY.write("model", "ended", chat=turn.chat_id, call=call, words=said)
        yield finish("tool-calls" if answered < len(calls) else "stop")[0]
    except (asyncio.CancelledError, GeneratorExit):
        HISTORY.write("model", "cancelled", chat=turn.chat_id, call=call, words=said)
        raise


def _read_prompt(messages: Sequence[ModelMessage]) -> tuple[str, int]:
    """The last user text, and how many rounds of calls were answered since."""
    last = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    content: Any = messages[last]["content"] if last >= 0 else ""
    text = content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")
    return text, sum(message["role"] == "tool" for message in messages[last + 1 :])


MODEL = FunctionModel(play, name="world")


# --- the agent


class Undo(BaseModel):
    """Take back the last question and what followed it."""

    type: Literal["undo"]


class Speak(BaseModel):
    """Say three words."""

    type: Literal["speak"]


world = ChatAgent("world", tools=TOOLS, action=Annotated[Undo | Speak, Field(discriminator="type")], idle_timeout=1.0)


@world.run
def respond(turn: Turn[Any]) -> TextStream:
    """Answer a turn."""
    return stream_text(MODEL, turn.messages, tools=turn.tools, stop_when=step_count_is(8))


@world.on_action
def act(event: ActionEvent) -> TextStream | None:
    """Carry out an action."""
    if isinstance(event.action, Speak):
        return stream_text(MODEL, [{"role": "user", "content": "say 3 5"}])
    messages = event.history.all()
    event.history.slice(0, max((i for i, one in enumerate(messages) if one["role"] == "user"), default=0))
    return None


app = create_app(world)
