"""Hooks with a database as the truth: the application owns the messages, chatrt runs the turns.

`hydrate_messages` gives the history of each turn; what it returns is what the model sees. The user's message is stored
before the model is asked, the answer when the turn is over; both by message id, so that doing it again changes nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3

from chatrt import ChatAgent, HydrateMessagesEvent, Turn, TurnCompleteEvent, UIMessage, create_app, stream_text
from chatrt.ui import upsert_incoming_message

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")

database = sqlite3.connect(os.environ.get("MESSAGES_DB", "messages.db"), isolation_level=None, check_same_thread=False)
database.execute(
    "CREATE TABLE IF NOT EXISTS message (chat TEXT, id TEXT, place INTEGER, body TEXT, PRIMARY KEY (chat, id))"
)


def load(chat_id: str) -> list[UIMessage]:
    rows = database.execute("SELECT body FROM message WHERE chat = ? ORDER BY place", (chat_id,))
    return [json.loads(body) for (body,) in rows]


def save(chat_id: str, messages: list[UIMessage]) -> None:
    rows = [(chat_id, message["id"], place, json.dumps(message)) for place, message in enumerate(messages)]
    database.execute("BEGIN")
    database.execute("DELETE FROM message WHERE chat = ?", (chat_id,))
    database.executemany("INSERT INTO message VALUES (?, ?, ?, ?)", rows)
    database.execute("COMMIT")


support = ChatAgent("support")


@support.hydrate_messages
def hydrate(event: HydrateMessagesEvent) -> list[UIMessage]:
    messages = load(event.chat_id)
    if event.trigger == "regenerate":
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
    if upsert_incoming_message(messages, trigger=event.trigger, incoming_messages=event.incoming_messages):
        save(event.chat_id, messages)
    return messages


@support.on_turn_complete
def store(event: TurnCompleteEvent) -> None:
    save(event.chat_id, event.ui_messages)


@support.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages)


app = create_app(support)
