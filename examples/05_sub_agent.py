"""An agent that asks another one, for one turn: the researcher is a tool of the writer.

What the researcher says shows live in the part of the call; the writer's model is given only the last text of it. A
stop of the writer's turn stops the researcher too. Run it with

    CHATRT_MODEL=anthropic/claude-sonnet-4-5 chatrt chat examples/05_sub_agent.py --agent writer
"""

from __future__ import annotations

import os

from chatrt import (
    ChatAgent,
    Turn,
    agent_tool,
    create_app,
    current_tool,
    session_writer,
    stream_text,
    tool,
)

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")

PAPERS = {
    "caching": ["Prompt caching halves the cost of long conversations."],
    "agents": [
        "Agents that plan before they act need fewer steps.",
        "Sub-agents keep the prompt of their parent small.",
    ],
}


@tool
async def find_papers(topic: str) -> list[str]:
    """Find papers about a topic and return their main claims."""
    found = PAPERS.get(topic.lower(), [])
    # The family's first session is the writer's: its reader sees this while the research goes on.
    note = {"type": "data-progress", "id": current_tool().tool_call_id, "data": {"topic": topic, "papers": len(found)}}
    await session_writer("root").write(note)
    return found


researcher = ChatAgent("researcher", tools=[find_papers])


@researcher.run
async def research(turn: Turn):
    system = "Find papers, then sum up what they claim in one paragraph. Say so when there are none."
    return stream_text(MODEL, turn.messages, system=system, tools=turn.tools)


writer = ChatAgent(
    "writer",
    tools=[agent_tool(researcher, description="Researches a question in a library of papers.", close="turn")],
)


@writer.run
async def write(turn: Turn):
    system = "You write short articles. Ask the researcher before you claim anything."
    return stream_text(MODEL, turn.messages, system=system, tools=turn.tools)


app = create_app([writer, researcher])
