"""Plays the process that makes the first step of an answer: says on `.in` what it would relay."""

from __future__ import annotations

from typing import Any

from chatrt.stores import Appended
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
