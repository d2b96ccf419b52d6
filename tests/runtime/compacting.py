"""An agent that compacts, and how its tests read prompts."""

from __future__ import annotations

from typing import Any

from chatrt.agent import ChatAgent
from chatrt.compaction import SUMMARY_HEADING, Compaction
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, finish, text, tool_call
from chatrt.tools import tool

BIG, SMALL = 900, 10


@tool
async def look(place: str) -> str:
    """Look somewhere."""
    return f"seen {place}"


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def looks(place: str, tokens: int = SMALL, call_id: str | None = None) -> Any:
    """A step that calls the tool and takes so many tokens."""
    return call(
        tool_call("look", {"place": place}, id=call_id or f"call_{place}"), finish("tool-calls", input_tokens=tokens)
    )


def says(words: str, tokens: int = SMALL) -> Any:
    """A step that ends the answer."""
    return call(text(words), finish("stop", input_tokens=tokens))


class Summaries:
    """A `summarize` that gives "summary 1", "summary 2", ... and keeps what it was asked."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def __call__(self, event: Any) -> str:
        self.events.append(event)
        return f"summary {len(self.events)}"


def compacting(*script: Any, compaction: dict[str, Any] | None = None, **options: Any) -> ChatAgent:
    """An agent with a scripted model that compacts above 500 tokens."""
    model, summaries = ScriptedModel(list(script)), Summaries()
    policy = {"summarize": summaries, "threshold": 500, **(compaction or {})}
    if "should_compact" in policy:
        del policy["threshold"]
    options.setdefault("tools", [look, ask_user])
    agent = ChatAgent(
        "a",
        run=options.pop("run", lambda turn: stream_text(model, turn.messages, tools=turn.tools)),
        compaction=Compaction(**policy),
        **options,
    )
    agent.model, agent.summaries = model, summaries
    return agent


def prompt(request: Any) -> list[Any]:
    """A prompt, row by row: its texts, or what its tools called and gave."""
    return [[brief(part) for part in parts(row)] for row in request.messages]


def parts(row: Any) -> list[Any]:
    return [{"type": "text", "text": row["content"]}] if isinstance(row["content"], str) else row["content"]


def brief(part: Any) -> str:
    match part["type"]:
        case "text":
            return part["text"].replace(f"{SUMMARY_HEADING}\n\n", "SUM ")
        case "tool-call":
            return f"call {part['input'].get('place', part['input'].get('question'))}"
        case "tool-result":
            return str(part["output"].get("value", part["output"]["type"]))
        case kind:
            return kind


def last_prompt(agent: Any) -> list[Any]:
    return prompt(agent.model.requests[-1])
