"""Sub-agents: conversations that a run has with other agents, and the tool that makes one of an agent.

A sub-agent is a session of its own, with its own history, durable like every other. Its parent is the session whose run
asked for it first; closing or deleting the parent closes or deletes it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal, cast

from chatrt.agent import ChatAgent
from chatrt.client.agent_chat import AgentChat
from chatrt.client.http import HTTPTransport, Token
from chatrt.client.local import LocalTransport
from chatrt.client.transport import Transport
from chatrt.errors import UsageError
from chatrt.run_control import RunControl, current_run
from chatrt.runtime.asks import find_asks
from chatrt.tools import ToModelOutput, Tool, ToolContext
from chatrt.turn import current_turn
from chatrt.ui import UIMessage, last_text

NO_ANSWER = "The agent ended without saying anything."
SNAPSHOT_SECONDS = 0.1
"""How often a tool that is an agent shows how far it is: each time costs the whole message so far."""

_MESSAGE = {"type": "string", "description": "What to say to the agent."}
_CONVERSATION = {
    "type": "string",
    "description": "A name for the conversation. The same name goes on with it; a new one, or none, begins another.",
}


def sub_agent(
    agent: str | ChatAgent,
    *,
    key: str | None = None,
    close: Literal["never", "turn"] = "never",
    client_data: Any = None,
    base_url: str | None = None,
    token: Token | None = None,
) -> AgentChat:
    """Return this session's conversation with another agent, from inside of a run.

    The same agent and key name the same conversation in every turn and every run of this session, and nobody else's;
    so any number of them go on side by side.

    Args:
        agent: The agent or its id. Without `base_url` it is served by the same session manager.
        key: Names the conversation, any text; without one it is new.
        close: `"turn"` closes it for good when this turn is settled; the key then counts for this turn only.
        client_data: As in `AgentChat`.
        base_url: A chatrt server that serves the agent.
        token: For that server, which has to let it close the session too when `close` is `"turn"`.

    Raises:
        UsageError: Outside of a run, or outside of a turn with `close="turn"`.
    """
    run = current_run()
    scope = current_turn().message_id if close == "turn" else ""
    transport: Transport
    if base_url is None:
        transport = LocalTransport.of_run(run, own=key is not None)
    else:
        transport = HTTPTransport(base_url, token=token)
    agent_id = agent if isinstance(agent, str) else agent.id
    chat_id = None if key is None else sub_agent_id(run, agent_id, key, scope=scope)
    chat = AgentChat(agent_id, id=chat_id, client_data=client_data, transport=transport)
    if close == "turn":
        asks = find_asks()
        if asks is None:
            raise UsageError("no turn is running here")
        asks.close_at_end(chat.close)
    return chat


def sub_agent_id(run: RunControl, agent_id: str, key: str, *, scope: str = "") -> str:
    """Return the chat id of a keyed conversation: of fixed length, whatever the names it is made of.

    Args:
        run: The run of the session that has it.
        agent_id: The other agent.
        key: Names the conversation among those with this agent.
        scope: What it is limited to; empty for the whole session.
    """
    names = (run.tenant, run.chat_id, agent_id, key, scope)
    # Lengths go in too, so that no two lists of names look alike.
    text = "".join(f"{len(name)}:{name}" for name in names)
    return f"sub_{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def agent_tool(
    agent: str | ChatAgent,
    *,
    description: str,
    name: str | None = None,
    key: str | None = None,
    close: Literal["never", "turn"] = "never",
    client_data: Any = None,
    base_url: str | None = None,
    token: Token | None = None,
    every: float = SNAPSHOT_SECONDS,
    to_model_output: ToModelOutput | None = None,
) -> Tool:
    """Make a tool of an agent: the model sends it a message and gets its answer.

    What the agent says is shown live in the tool's part, as a message that grows. The model is given the last text of
    it only, in this turn and in later ones (`turn.tools` has to be passed to `stream_text` for that).

    Args:
        agent: As in `sub_agent`.
        description: For the model: what the agent is good for.
        name: Of the tool; the agent's id, with dots as dashes, if left out.
        key: The conversation that all calls go on with. Without one the model may name conversations itself, and a call
            that names none begins a new one.
        close: As in `sub_agent`.
        client_data: As in `sub_agent`.
        base_url: As in `sub_agent`.
        token: As in `sub_agent`.
        every: Seconds between two looks at the growing message.
        to_model_output: What the model is given instead; see `Tool`.
    """
    agent_id = agent if isinstance(agent, str) else agent.id
    named = {} if key is not None else {"conversation": _CONVERSATION}

    async def ask(values: Mapping[str, Any], context: ToolContext) -> AsyncIterator[UIMessage]:
        conversation = values.get("conversation")
        own_key = key or (f"name {conversation}" if conversation else f"call {context.tool_call_id}")
        async with sub_agent(
            agent_id, key=own_key, close=close, client_data=client_data, base_url=base_url, token=token
        ) as chat:
            async for message in chat.send_message(values["message"]).messages(every=every):
                yield message

    return Tool.from_schema(
        name or agent_id.replace(".", "-"),
        description,
        {"type": "object", "properties": {"message": _MESSAGE, **named}, "required": ["message"]},
        cast("Callable[[Any, ToolContext], Any]", ask),
        validate=_check_input,
        to_model_output=to_model_output or last_text_output,
    )


def last_text_output(_tool_call_id: str, _input: Any, output: Any) -> Mapping[str, Any]:
    """Give the model the last text of a message that a tool gave: a `to_model_output` for tools that are agents."""
    text = last_text(cast("UIMessage", output)) if isinstance(output, dict) and "parts" in output else ""
    return {"type": "text", "value": text or NO_ANSWER}


def _check_input(value: Any) -> Any:
    match value:
        case {"message": str(message)} if message.strip():
            conversation = cast("dict[str, Any]", value).get("conversation")
            if conversation is None or isinstance(conversation, str):
                return cast("dict[str, Any]", value)
            raise TypeError("conversation: a text is expected")
        case _:
            raise ValueError("message: a text that is not empty is expected")
