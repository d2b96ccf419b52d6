"""Steering: what a person says while the agent works is read before its next step, instead of waiting for the end."""

from __future__ import annotations

import os

from chatrt import ChatAgent, PendingBatch, PendingMessages, Turn, create_app, step_count_is, stream_text, tool
from chatrt.ui import ModelMessage, message_text

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")


@tool
async def read_chapter(number: int) -> str:
    """Read a chapter of the report."""
    return f"Chapter {number}: nothing unusual."


def prepare(batch: PendingBatch) -> list[ModelMessage]:
    """Tell the model that this was said while it was working; clients still see the messages as they are."""
    said = "\n".join(message_text(message) for message in batch.messages)
    text = f"While you were working, the user added:\n{said}\nGo on with this in mind."
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


reader = ChatAgent("reader", tools=[read_chapter], when_busy="steer", pending_messages=PendingMessages(prepare=prepare))


@reader.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages, tools=turn.tools, stop_when=step_count_is(30))


app = create_app(reader)
