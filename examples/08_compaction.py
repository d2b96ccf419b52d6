"""Compaction: when a chat has grown too large for its model, a summary stands for the older part of it.

People go on seeing every message; only the prompt shrinks. It happens by itself, between two steps of a long answer or
at the end of a turn, and on request: `{"type": "compact"}`. A reviewer looks over each answer while nobody waits; what
it finds is shown to the model with the next question.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import BaseModel

from chatrt import (
    ActionEvent,
    ChatAgent,
    CompactedEvent,
    Compaction,
    ModelMessage,
    Turn,
    TurnCompleteEvent,
    create_app,
    current_turn,
    stream_text,
    summarize_with,
)

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")
THRESHOLD = 100_000
"""Tokens: well below what the model can read, so that one more answer still fits."""

REVIEW: ModelMessage = {"role": "user", "content": "What was wrong or missing in your last answer? One line."}


class Compact(BaseModel):
    """Summarize the chat now."""

    type: Literal["compact"]


compaction = Compaction(threshold=THRESHOLD, summarize=summarize_with(MODEL))
keeper = ChatAgent("keeper", action=Compact, compaction=compaction)


@keeper.run
async def respond(turn: Turn[Any]):
    return stream_text(MODEL, turn.messages)


@keeper.on_action
async def act(event: ActionEvent) -> str:
    result = await current_turn().compact()
    return f"Compaction: {result.status} ({result.reason})."


@keeper.on_compacted
async def tell(event: CompactedEvent) -> None:
    print(f"{event.chat_id}: a summary stands for {event.message_count} messages ({event.source})")


@keeper.on_turn_complete
async def review(event: TurnCompleteEvent) -> None:
    """Let the next turn know what a second look at this one found."""
    messages, turn = event.messages, current_turn()

    async def look_over() -> None:
        remark = await stream_text(MODEL, [*messages, REVIEW]).text()
        turn.inject([{"role": "system", "content": f"A reviewer of your last answer says: {remark}"}])

    turn.defer(look_over)


app = create_app(keeper)
