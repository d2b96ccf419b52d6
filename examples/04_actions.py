"""Actions: typed commands that rewrite the conversation. They are durable, in order with the messages, and no turns."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel

from chatrt import ActionEvent, ChatAgent, Turn, create_app, stream_text

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")


class Undo(BaseModel):
    type: Literal["undo"]


class Rollback(BaseModel):
    type: Literal["rollback"]
    message_id: str


class Edit(BaseModel):
    type: Literal["edit"]
    message_id: str
    text: str


class Summarize(BaseModel):
    type: Literal["summarize"]


writer = ChatAgent("writer", action=Undo | Rollback | Edit | Summarize)


@writer.on_action
async def act(event: ActionEvent):
    match event.action:
        case Undo():
            event.history.slice(0, -2)
        case Rollback(message_id=message_id):
            event.history.rollback_to(message_id)
        case Edit(message_id=message_id, text=text):
            edited = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}
            event.history.rollback_to(message_id)
            event.history.replace(message_id, edited)
            return stream_text(MODEL, event.messages)  # what an action returns is said, and kept
        case Summarize():
            return stream_text(MODEL, event.messages, system="Summarize the conversation in two sentences.")
    return None


@writer.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages)


app = create_app(writer)
