"""Auditing tool results exactly once: what the client answered is written down when it comes in, and never again.

A browser may send an answer twice, and sends it along with others that were there before.
`history.extract_new_tool_results` compares with what the history holds already, so ask before the message is merged.
"""

from __future__ import annotations

import json
import os
import sqlite3

from chatrt import ChatAgent, Turn, UIMessage, ValidateMessagesEvent, create_app, stream_text, tool

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")

audit = sqlite3.connect(os.environ.get("AUDIT_DB", "audit.db"), isolation_level=None, check_same_thread=False)
audit.execute("CREATE TABLE IF NOT EXISTS result (call TEXT PRIMARY KEY, tool TEXT, output TEXT, error TEXT)")


@tool
async def sign_contract(contract: str) -> str:
    """Let the person sign a contract."""
    # The browser answers this call.


office = ChatAgent("office", tools=[sign_contract])


@office.on_validate_messages
def write_down(event: ValidateMessagesEvent) -> list[UIMessage]:
    for message in event.messages:
        for result in event.history.extract_new_tool_results(message):
            row = (result.tool_call_id, result.tool_name, json.dumps(result.output), result.error_text)
            # The key makes it once also when the process dies right here and the same answer is served again.
            audit.execute("INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?)", row)
    return event.messages


@office.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages, tools=turn.tools)


app = create_app(office)
