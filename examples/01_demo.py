"""The demo: an agent with tools, an approval, a question to the person, and actions; `make demo` serves it with a page.

Without `CHATRT_MODEL` a small scripted model answers by keywords, so no key is needed. With it (a litellm name such as
`anthropic/claude-sonnet-4-5`) the same agent speaks with that model.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from chatrt import (
    ActionEvent,
    ChatAgent,
    FunctionModel,
    History,
    ModelMessage,
    PublicError,
    TextStream,
    Turn,
    create_app,
    step_count_is,
    stream_text,
    tool,
)
from chatrt.ids import RandomIds
from chatrt.models import ModelPart, ModelRequest
from chatrt.models.scripted import finish, tool_call
from chatrt.playground import routes

WORD_PAUSE = float(os.environ.get("CHATRT_DEMO_PAUSE", "0.045"))
"""Seconds between words of the scripted model: slow enough to reload the page in the middle of an answer."""

SYSTEM = """You are the friendly agent of a demo. Keep answers short and use Markdown.
Use get_weather for weather, add for sums, and book_table for a table in a restaurant.
When you need to know something from the person, ask with ask_user instead of writing a question."""


# --- tools


@tool
async def get_weather(city: str) -> dict[str, Any]:
    """Tell the weather in a city (an invented one, the same for the same city)."""
    await asyncio.sleep(10 * WORD_PAUSE)
    number = sum(map(ord, city.lower()))
    skies = ("sunny", "partly cloudy", "rainy", "windy", "clear")
    return {"city": city, "celsius": 8 + number % 20, "sky": skies[number % len(skies)]}


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@tool(needs_approval=True)
async def book_table(restaurant: str, people: int, time: str) -> dict[str, Any]:
    """Book a table in a restaurant. A person has to approve it."""
    return {"booked": True, "number": f"T-{(len(restaurant) * 37 + people * 11) % 900 + 100}", "time": time}


@tool
async def ask_user(question: str, options: list[str]) -> str:
    """Ask the person a question; `options` are answers to choose from, or empty."""


TOOLS = (get_weather, add, book_table, ask_user)


# --- the scripted model


STORY = """## The lighthouse that kept its word

The lighthouse on the northern rock had one rule, painted above its door: *what was seen from here is written down*.
Every ship that passed, every storm, every gull that slept on the railing went into a thick book, one line after the
other, and no line was ever torn out.

One winter the keeper fell ill in the middle of a sentence. His daughter climbed the stairs, found the pen still wet,
read the last word, and went on from exactly there. Nobody at sea noticed that the hand had changed, because **the light
never blinked and the book had no gap**.

Years later the tower itself was struck by lightning. The lamp went out, the stairs burned, and in the morning there was
only the book, dry in its iron box. They built a new tower beside the old one, opened the book, and the first thing they
wrote was the time of the lightning; the second was *the light is on again*.

1. Sailors who had been looking away saw a light, as always.
2. Sailors who had been watching saw it go dark, and come back.
3. Both found the same story in the book.

That is the whole story. Reload this page while it is being told, or stop the server and start it again, and see what
becomes of it."""

HELP = """I am a **scripted** model, so that you can try chatrt without a key. I know a few things:

- *What is the weather in Oslo?* calls a tool
- *What is 17.5 + 24.5?* calls another one
- *Book a table* asks you a question, and then for your approval
- *Tell me a story* is long enough to reload the page in the middle
- *Think about time* shows reasoning
- *Fail* shows what a failure looks like

Set `CHATRT_MODEL` to speak with a real one:

```sh
CHATRT_MODEL=anthropic/claude-sonnet-4-5 make demo
```"""

_ids = RandomIds()


async def play(request: ModelRequest) -> AsyncIterator[ModelPart]:
    """Answer by the keywords of the last user message, and by what the tools called for it have given."""
    said, results = _read(request.messages)
    words = said.lower()
    if "fail" in words:
        raise PublicError("This failure is part of the demo. The chat goes on.")
    if "story" in words:
        parts = _speak(STORY)
    elif "think" in words:
        parts = _think(said)
    elif "weather" in words:
        parts = _weather(said, results)
    elif "table" in words or "book" in words:
        parts = _book(results)
    elif (numbers := re.findall(r"-?\d+(?:\.\d+)?", said)) and len(numbers) > 1:
        parts = _sum(numbers, results)
    else:
        parts = _speak(HELP if len(request.messages) < 3 or "help" in words else f"You said: *{said}*\n\n{HELP}")
    async for part in parts:
        yield part


async def _weather(said: str, results: dict[str, Any]) -> AsyncIterator[ModelPart]:
    seen = results.get("get_weather")
    if seen is None:
        found = re.search(r"\b(?:in|for|at)\s+([^\W\d][\w .'-]*)", said)
        city = found[1].strip(" .?!") if found else "Oslo"
        async for part in _speak("Let me look out of the window."):
            if part["type"] != "finish":
                yield part
        async for part in _call("get_weather", {"city": city}):
            yield part
        return
    async for part in _speak(f"In **{seen['city']}** it is {seen['celsius']} °C and {seen['sky']}."):
        yield part


async def _sum(numbers: list[str], results: dict[str, Any]) -> AsyncIterator[ModelPart]:
    a, b = float(numbers[0]), float(numbers[1])
    parts = _speak(f"That makes **{results['add']:g}**.") if "add" in results else _call("add", {"a": a, "b": b})
    async for part in parts:
        yield part


async def _book(results: dict[str, Any]) -> AsyncIterator[ModelPart]:
    if "ask_user" not in results:
        parts = _call("ask_user", {"question": "For how many people?", "options": ["2", "4", "6"]})
    elif "book_table" not in results:
        found = re.search(r"\d+", str(results["ask_user"]))
        people = int(found[0]) if found else 2
        parts = _call("book_table", {"restaurant": "Trattoria da Nino", "people": people, "time": "19:30"})
    elif isinstance(booked := results["book_table"], dict) and booked.get("booked"):
        parts = _speak(f"Done: your table is booked under **{booked['number']}**, at {booked['time']}.")
    else:
        parts = _speak("All right, I have booked nothing.")
    async for part in parts:
        yield part


async def _think(said: str) -> AsyncIterator[ModelPart]:
    async for part in _speak(f"The person wrote {said!r}. I should weigh it, and then say little.", kind="reasoning"):
        if part["type"] != "finish":
            yield part
    async for part in _speak("I have thought about it: *begin with what you can see*."):
        yield part


async def _speak(value: str, *, kind: str = "text") -> AsyncIterator[ModelPart]:
    block = _ids.new("block")
    yield {"type": f"{kind}-start", "id": block}
    for word in re.findall(r"\s*\S+", value):
        await asyncio.sleep(WORD_PAUSE)
        yield {"type": f"{kind}-delta", "id": block, "delta": word}
    yield {"type": f"{kind}-end", "id": block}
    yield finish("stop")[0]


async def _call(name: str, arguments: dict[str, Any]) -> AsyncIterator[ModelPart]:
    for part in [*tool_call(name, arguments, id=_ids.new("call"), deltas=4), *finish("tool-calls")]:
        await asyncio.sleep(WORD_PAUSE)
        yield part


def _read(messages: Sequence[ModelMessage]) -> tuple[str, dict[str, Any]]:
    """Return the last user text, and the outputs of the tools called since then by their names."""
    last_user = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=-1)
    content: Any = messages[last_user]["content"] if last_user >= 0 else ""
    said = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    results: dict[str, Any] = {}
    for message in messages[last_user + 1 :]:
        if message["role"] == "tool":
            for part in message["content"]:
                if part["type"] == "tool-result":
                    results[part["toolName"]] = _output(part["output"])
    return said, results


def _output(output: dict[str, Any]) -> Any:
    value = output.get("value")
    if output["type"] == "text":
        try:
            return json.loads(value or "")
        except ValueError:
            return value
    return value


def model() -> str | FunctionModel:
    """Return the model that `CHATRT_MODEL` names, else the scripted one."""
    return os.environ.get("CHATRT_MODEL") or FunctionModel(play, name="demo")


# --- the agent


class Undo(BaseModel):
    """Take back the last question and its answer."""

    type: Literal["undo"]


class Rollback(BaseModel):
    """Forget what came after this message."""

    type: Literal["rollback"]
    target_message_id: str = Field(alias="targetMessageId")


class Edit(BaseModel):
    """Change what a message says; what followed is forgotten."""

    type: Literal["edit"]
    message_id: str = Field(alias="messageId")
    text: str


class Regenerate(BaseModel):
    """Answer the last question again."""

    type: Literal["regenerate"]


demo = ChatAgent("demo", tools=TOOLS, action=Undo | Rollback | Edit | Regenerate)


@demo.run
async def respond(turn: Turn[Any]) -> TextStream:
    """Answer a turn."""
    return answer(turn.messages)


@demo.on_action
async def act(event: ActionEvent) -> TextStream | None:
    """Carry out an action; one that asks for a new answer returns its stream."""
    history = event.history
    match event.action:
        case Undo():
            history.slice(0, _last_question(history))
        case Rollback(target_message_id=message_id):
            history.rollback_to(message_id)
        case Edit(message_id=message_id, text=text):
            history.rollback_to(message_id)
            history.replace(message_id, {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]})
            return answer(event.messages)
        case Regenerate():
            if history.get_pending_tool_calls():
                raise PublicError("Something is still waiting for you: answer it first.")
            history.slice(0, _last_question(history) + 1)
            return answer(event.messages)
        case _:
            pass
    return None


def answer(messages: Sequence[ModelMessage]) -> TextStream:
    """Answer what the messages ask."""
    return stream_text(model(), messages, system=SYSTEM, tools=TOOLS, stop_when=step_count_is(8))


def _last_question(history: History) -> int:
    roles = [message["role"] for message in history.all()]
    return len(roles) - 1 - roles[::-1].index("user") if "user" in roles else 0


app = create_app(
    demo,
    routes=routes(
        title="chatrt demo",
        suggestions=["What is the weather in Oslo?", "Book a table", "Tell me a story", "What is 17.5 + 24.5?"],
    ),
)
