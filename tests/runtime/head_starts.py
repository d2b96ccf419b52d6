"""Plays the process that makes the first step of an answer, and agents whose runs take it over."""

from __future__ import annotations

import json
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.stores import Appended
from chatrt.tools import Tool, tool
from tests.runtime.driver import Chat, user

ANSWER = "warm-1"


def begun(*deltas: str, text_id: str = "t", done: bool = True) -> list[dict[str, Any]]:
    """The chunks of a step that says a text."""
    chunks: list[dict[str, Any]] = [
        {"type": "start", "messageId": ANSWER},
        {"type": "start-step"},
        {"type": "text-start", "id": text_id},
        *({"type": "text-delta", "id": text_id, "delta": delta} for delta in deltas),
    ]
    return [*chunks, {"type": "text-end", "id": text_id}, {"type": "finish-step"}] if done else chunks


def called(*calls: tuple[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a step that says "let me see" and calls tools; the ids are `call-0`, `call-1`, ..."""
    made = [
        {"type": "tool-input-available", "toolCallId": f"call-{index}", "toolName": name, "input": value}
        for index, (name, value) in enumerate(calls)
    ]
    return [*begun("let me see")[:-1], *made, {"type": "finish-step"}]


class Warm:
    """The other process, for one message.

    Attributes:
        sent: The message.
        relayed: How many chunks were relayed.
    """

    def __init__(self, chat: Chat, sent: Appended) -> None:
        self.chat = chat
        self.sent = sent
        self.relayed = 0

    @classmethod
    async def start(cls, chat: Chat, text: str = "hi", **options: Any) -> Warm:
        return cls(chat, await chat.inbox.send_with_head_start(user(text, "u1"), ANSWER, **options))

    async def says(self, chunks: list[Any]) -> None:
        await self.chat.inbox.relay_chunks(self.sent.seq, self.relayed, chunks)
        self.relayed += len(chunks)

    async def hands_over(self, *, final: bool, reason: str | None = None, **options: Any) -> None:
        finish: Any = {"type": "finish", "finishReason": reason or ("stop" if final else "tool-calls")}
        await self.chat.inbox.hand_over(self.sent.seq, is_final=final, finish=finish, **options)

    async def skips(self) -> None:
        await self.chat.inbox.skip_handover(self.sent.seq)

    async def settled(self) -> Any:
        return await self.chat.settled(self.sent)


# --- agents


HOOKS = (
    "on_boot",
    "on_preload",
    "on_validate_messages",
    "on_chat_start",
    "on_turn_start",
    "prepare_messages",
    "on_before_turn_complete",
    "on_turn_complete",
)
PASSING = {
    "on_validate_messages": lambda event: event.messages,
    "prepare_messages": lambda event: event.messages,
}


def watched(fired: list[str], **options: Any) -> ChatAgent:
    """An agent that writes down which hooks fire, and `run` as well."""

    def note(name: str) -> Any:
        def hook(event: Any) -> Any:
            fired.append(name)
            return PASSING.get(name, lambda event: None)(event)

        return hook

    def run(turn: Any) -> str:
        fired.append("run")
        return "from run"

    return ChatAgent("a", run=run, **{**{name: note(name) for name in HOOKS}, **options})


def counting(model: ScriptedModel, *tools: Tool, **options: Any) -> ChatAgent:
    """An agent that answers with a model and its tools."""
    return ChatAgent("a", tools=tools, run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options)


@tool
async def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@tool
def ask_user(question: str) -> str:
    """Ask the person."""


async def outcomes(chat: Chat) -> list[str]:
    """The outcomes of the seams on `.out`."""
    async for batch in chat.session.outbox.read(live=False):
        return [json.loads(record.body)["outcome"] for record in batch if record.kind == "handover"]
    return []
