"""What a client's streams do to one another."""

from __future__ import annotations

import pytest

from chatrt.client import AgentChat
from chatrt.runtime import SessionManager
from chatrt.testing.playbook import playbook


@pytest.mark.behaviour(219)
async def test_leaving_one_stream_leaves_the_next_alone():
    """A stream that is stopped and left does not end the stream of the message sent after it."""
    async with SessionManager(playbook) as sessions, AgentChat(playbook, sessions=sessions) as chat:
        first = chat.send_message("sleep")
        async for chunk in first:
            if chunk["type"] == "text-delta":
                break
        await chat.stop()
        second = chat.send_message("count 5")
        words: list[str] = []
        async for chunk in second:
            if not words:
                await first.aclose()
            words.append(chunk.get("delta", ""))

    assert "".join(words) == "w0 w1 w2 w3 w4 "
    assert second.status == "completed"
