"""A travel guide that needs no model: it answers by the keywords of the question, slowly enough to look at."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from chatrt import FunctionModel, ModelMessage, PublicError
from chatrt.ids import RandomIds
from chatrt.models import ModelPart, ModelRequest
from chatrt.models.scripted import finish, tool_call

PAUSE = float(os.environ.get("CHATRT_DEMO_PAUSE", "0.045"))
"""Seconds between words: slow enough to reload the page in the middle of an answer."""

STORY = """## The station where every train waits

There is a station in the mountains where **no train ever leaves without you**. The board shows a hundred destinations,
and behind each of them stands the same word: *waiting*. A clerk in a blue coat writes down what every traveller said,
line after line, so that nobody has to begin again.

One night the snow brought down the lines. The lamps went out in the middle of an announcement, and for a while nobody
knew how the sentence would have ended. The clerk lit a candle, opened the book, found the last word and
read on from exactly there. Those who had slept did not notice. Those who had been awake said that it was *the same
voice*.

In the morning a second clerk took over. She had never been in the mountains before, but the book was complete, and so
she knew every one of them by name: who wanted to go to the sea, who had changed her mind twice, who was still waiting
for an answer to a letter.

1. Some travellers looked away for an hour, and found everything as they had left it.
2. Some went to another platform, and saw the same board.
3. One walked down to the village and came back in spring. His train was waiting.

> Whoever travels with a good book of records may fall asleep.

That is the whole story. Reload this page while it is told, open it in a second tab, or cut the line."""

HELP = """I am a **scripted** travel guide, so that you can try this page without a key. Ask me, for example:

- *Plan a weekend in Lisbon*: several steps; add a wish while I work
- *What is the weather in Oslo?* calls a tool
- *Book a table* asks you a question, and then for your approval
- *Tell me a story* is long enough to reload the page in the middle
- *Think about the sea* shows reasoning
- *Show me Markdown* shows what text can look like
- *Fail once* fails, and works when you try again

Set `CHATRT_MODEL` to travel with a real model:

```sh
CHATRT_MODEL=anthropic/claude-sonnet-4-5 make react
```"""

MARKDOWN = """### What text can look like

A paragraph with **strong**, *emphasised*, ~~struck~~ and `inline code`, and a [link](https://example.com/).

| Train | Leaves | Arrives |
| --- | :---: | ---: |
| Night train | 21:04 | 08:15 |
| Day train | 09:30 | 16:48 |

```python
def pack(things):
    return [thing for thing in things if thing.fits]
```

- [x] ticket
- [ ] umbrella
  - or a *very* good coat

Dangerous things stay text: <img src=x onerror="alert(1)">, <script>alert(2)</script>,
and [this is no link](javascript:alert(3))."""

KINDS = ("sights", "food", "walks")

_ids = RandomIds()
_failed: set[str] = set()


class Prompt:
    """What the model finds in its prompt about a question: what its tools gave, and what the person added meanwhile.

    Attributes:
        question: The text of the question.
        message_id: The id of the message that it is.
        results: The outputs of the calls made for it, by the name of the tool, in order.
        added: What the person said while the answer was made.
    """

    def __init__(self, question: str, message_id: str, messages: Sequence[ModelMessage]) -> None:
        self.question = question
        self.message_id = message_id
        self.results: dict[str, list[Any]] = {}
        self.added: list[str] = []
        asked = max((i for i, m in enumerate(messages) if m["role"] == "user" and _said(m) == question), default=-1)
        for message in messages[asked + 1 :]:
            if message["role"] == "user":
                self.added.append(_said(message))
            elif message["role"] == "tool":
                for part in message["content"]:
                    if part["type"] == "tool-result":
                        self.results.setdefault(part["toolName"], []).append(part["output"].get("value"))


def travel_model(question: str, message_id: str) -> FunctionModel:
    """Make the model that answers this question, which is the text of this message."""

    async def play(request: ModelRequest) -> AsyncIterator[ModelPart]:
        async for part in _choose(question.lower())(Prompt(question, message_id, request.messages)):
            yield part

    return FunctionModel(play, name="travel-guide")


def _choose(words: str) -> Callable[[Prompt], AsyncIterator[ModelPart]]:
    for keys, answer in (
        (("fail",), _fail),
        (("story",), lambda _prompt: _say(STORY)),
        (("think",), _think),
        (("weather",), _weather),
        (("plan", "weekend", "trip"), _plan),
        (("table", "book"), _book),
        (("markdown",), lambda _prompt: _say(MARKDOWN)),
    ):
        if any(key in words for key in keys):
            return answer
    return _help


def _help(prompt: Prompt) -> AsyncIterator[ModelPart]:
    return _say(HELP if "help" in prompt.question.lower() else f"You said: *{prompt.question}*\n\n{HELP}")


async def _fail(prompt: Prompt) -> AsyncIterator[ModelPart]:
    if "once" in prompt.question.lower() and prompt.message_id in _failed:
        _failed.discard(prompt.message_id)
        async for part in _say("It worked this time."):
            yield part
        return
    _failed.add(prompt.message_id)
    async for part in _speak("Let me see whether this works…"):
        yield part
    raise PublicError("This failure is part of the demo. The chat goes on.")


async def _weather(prompt: Prompt) -> AsyncIterator[ModelPart]:
    if "get_weather" not in prompt.results:
        found = re.search(r"\b(?:in|for|at)\s+([^\W\d][\w .'-]*)", prompt.question)
        city = found[1].strip(" .?!") if found else "Oslo"
        async for part in _call("get_weather", {"city": city}, before="Let me look out of the window."):
            yield part
        return
    seen = prompt.results["get_weather"][-1]
    async for part in _say(f"In **{seen['city']}** it is {seen['celsius']} °C and {seen['sky']}."):
        yield part


async def _plan(prompt: Prompt) -> AsyncIterator[ModelPart]:
    """Look for one kind of places after the other, so that there are steps between which a wish can come in."""
    found = re.search(r"\b(?:in|to)\s+([^\W\d][\w .'-]*)", prompt.question)
    city = found[1].strip(" .?!") if found else "Lisbon"
    places = prompt.results.get("search_places", [])
    if len(places) < len(KINDS):
        kind = KINDS[len(places)]
        async for part in _call("search_places", {"city": city, "kind": kind}, before=f"Looking for {kind} in {city}."):
            yield part
        return
    wishes = "".join(f"\n> You added: *{wish}*. I have kept it in mind.\n" for wish in prompt.added)
    days = zip(("Friday", "Saturday", "Sunday"), *places, strict=True)
    listed = "\n".join(
        f"{number}. **{day}**: {sight}, then {food}, and in the evening {walk}."
        for number, (day, sight, food, walk) in enumerate(days, 1)
    )
    async for part in _say(f"### A weekend in {city}\n{wishes}\n{listed}\n\nHave a good journey!"):
        yield part


async def _book(prompt: Prompt) -> AsyncIterator[ModelPart]:
    if "ask_user" not in prompt.results:
        parts = _call("ask_user", {"question": "For how many people?", "options": ["2", "4", "6"]})
    elif "book_table" not in prompt.results:
        number = re.search(r"\d+", str(prompt.results["ask_user"][-1]))
        people = int(number[0]) if number else 2
        parts = _call("book_table", {"restaurant": "Trattoria da Nino", "people": people, "time": "19:30"})
    elif isinstance(booked := prompt.results["book_table"][-1], dict) and booked.get("booked"):
        parts = _say(f"Done: your table is booked under **{booked['number']}**, at {booked['time']}.")
    else:
        parts = _say("All right, I have booked nothing.")
    async for part in parts:
        yield part


async def _think(prompt: Prompt) -> AsyncIterator[ModelPart]:
    thought = f"The person wrote “{prompt.question}”. I should weigh it, look at the tides, and then say little."
    async for part in _speak(thought, kind="reasoning"):
        yield part
    async for part in _say("I have thought about it: *begin with what you can see*."):
        yield part


async def _say(value: str) -> AsyncIterator[ModelPart]:
    async for part in _speak(value):
        yield part
    yield finish("stop")[0]


async def _speak(value: str, *, kind: str = "text") -> AsyncIterator[ModelPart]:
    block = _ids.new("block")
    yield {"type": f"{kind}-start", "id": block}
    for word in re.findall(r"\s*\S+", value):
        await asyncio.sleep(PAUSE)
        yield {"type": f"{kind}-delta", "id": block, "delta": word}
    yield {"type": f"{kind}-end", "id": block}


async def _call(name: str, arguments: dict[str, Any], *, before: str = "") -> AsyncIterator[ModelPart]:
    if before:
        async for part in _speak(before):
            yield part
    for part in [*tool_call(name, arguments, id=_ids.new("call"), deltas=4), *finish("tool-calls")]:
        await asyncio.sleep(PAUSE)
        yield part


def _said(message: ModelMessage) -> str:
    content: Any = message["content"]
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)
