"""Files that were attached to a chat reach agents of other libraries as their bytes."""

from __future__ import annotations

import base64
from typing import Any

from pydantic_ai import BinaryContent

from chatrt.adapters import stream_openai_agents, stream_pydantic_ai
from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.runtime import SessionManager
from tests import files
from tests.adapters.pydantic_ai_script import scripted
from tests.adapters.sdk_model import agent_of, message


async def ask_about_a_picture(stream: Any, agent: Any) -> str:
    """Attach a picture to a chat of the agent and ask about it."""
    served = ChatAgent("a", run=lambda turn: stream(agent, turn))
    async with SessionManager(served, "memory://") as sessions, AgentChat("a", sessions=sessions) as chat:
        picture = await chat.upload(files.PNG)
        return await chat.send_message(parts=[{"type": "text", "text": "What is it?"}, picture]).text()


async def test_pydantic_ai_is_shown_files():
    """An agent of pydantic-ai gets a picture as binary content."""
    agent = scripted(["A dot."])
    assert await ask_about_a_picture(stream_pydantic_ai, agent) == "A dot."
    (prompt,) = agent.script.prompts[0][0].parts[-1:]
    assert [item.data for item in prompt.content if isinstance(item, BinaryContent)] == [files.PNG]


async def test_openai_agents_are_shown_files():
    """An agent of the OpenAI Agents SDK gets a picture as a data URL."""
    agent = agent_of([message("A dot.")])
    assert await ask_about_a_picture(stream_openai_agents, agent) == "A dot."
    said = str(agent.model.prompts[0])
    assert f"data:image/png;base64,{base64.b64encode(files.PNG).decode()}" in said
