"""What an MCP client can do with agents: list them, and start, continue, stop, read and close chats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from chatrt.client import AgentChat, pending_tool_calls
from chatrt.errors import AgentNotFoundError, InvalidInputError, TurnFailedError, TurnInterruptedError
from chatrt.ui import UIMessage, get_tool_name, is_tool_part, message_text

OpenChat = Callable[[str, str | None], AgentChat]
"""Opens a chat with an agent, by the agent's id and the chat id, or None for a new chat."""

Report = Callable[[str], None]
"""Told of each step forward of an answer, with the text that is new, which may be empty."""

ANY_AGENT = ""
"""For what is done with a chat that is there: it has its agent."""

CHAT_ID = Field(description="The chat, as start_chat named it.")


class Wire(BaseModel):
    """JSON as it crosses the wire: camelCase, and nothing that is not known."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_name=True, validate_by_alias=True)


class Nothing(Wire):
    """No arguments."""


class Agent(Wire):
    """An agent that can be talked to."""

    id: str
    description: str = ""


class AgentList(Wire):
    """The agents."""

    agents: list[Agent]


class StartChat(Wire):
    """Arguments of start_chat."""

    agent: str | None = Field(None, description="The agent's id; may be left out if there is only one agent.")
    chat_id: str | None = Field(None, description="An id of your own for the chat; one is made up if left out.")


class Chat(Wire):
    """A chat with an agent."""

    chat_id: str
    agent: str


class SendMessage(Wire):
    """Arguments of send_message."""

    chat_id: str = CHAT_ID
    text: str = Field(description="What to say.", min_length=1)
    agent: str | None = Field(None, description="The chat's agent; may be left out if there is only one agent.")


class PendingCall(Wire):
    """A tool call that waits for a person or a client, not for the model."""

    tool_call_id: str
    tool_name: str
    input: Any = None
    needs_approval: bool


class Answer(Wire):
    """What an agent answered. With pending tool calls it waits until they are answered, or for another message."""

    chat_id: str
    text: str
    status: Literal["completed", "stopped"]
    pending_tool_calls: list[PendingCall] = []


class ChatName(Wire):
    """Arguments of what needs only a chat."""

    chat_id: str = CHAT_ID


class GetMessages(ChatName):
    """Arguments of get_messages."""

    limit: int = Field(20, ge=1, le=1000, description="How many of the newest messages to return.")


class ToolUse(Wire):
    """A tool call in a message."""

    tool_name: str
    state: str


class Message(Wire):
    """A message of a chat."""

    id: str
    role: str
    text: str
    tool_calls: list[ToolUse] = []


class MessageList(Wire):
    """Messages of a chat, the oldest first, and how many it has in all."""

    messages: list[Message]
    total: int


class Stopped(Wire):
    """Whether an answer was being given."""

    stopped: bool


class Closed(Wire):
    """Whether there was a chat to close."""

    closed: bool


class Operations:
    """Carries out what clients ask for, each time with an `AgentChat` of its own: nothing is kept between calls."""

    def __init__(self, agents: Mapping[str, str], open_chat: OpenChat) -> None:
        """Create it.

        Args:
            agents: What each agent is for, by id.
            open_chat: See its type.
        """
        self._agents = agents
        self._open = open_chat

    async def list_agents(self, arguments: Nothing, report: Report) -> AgentList:
        """Return the agents."""
        del arguments, report
        return AgentList(agents=[Agent(id=name, description=text) for name, text in self._agents.items()])

    async def start_chat(self, arguments: StartChat, report: Report) -> Chat:
        """Create a chat, or return the one of that id.

        Raises:
            AgentNotFoundError: If there is no such agent.
            AgentMismatchError: If the chat is another agent's.
            InvalidInputError: If no agent is named and there are several, or the chat id is unusable.
        """
        del report
        agent = self._choose(arguments.agent)
        async with self._open(agent, arguments.chat_id) as chat:
            await chat.preload()
            return Chat(chat_id=chat.id, agent=agent)

    async def send_message(self, arguments: SendMessage, report: Report) -> Answer:
        """Say something and wait for the answer. Whoever stops waiting does not stop the answer (D16).

        Raises:
            TurnFailedError: If the turn fails.
            ChatrtError: Whatever `start_chat` raises, and what refuses the message.
        """
        async with self._open(self._choose(arguments.agent), arguments.chat_id) as chat:
            stream = chat.send_message(arguments.text)
            said: list[str] = []
            called = False
            async with aclosing(stream):
                async for chunk in stream:
                    delta: str = chunk["delta"] if chunk["type"] == "text-delta" else ""
                    said.append(delta)
                    called = called or chunk["type"] == "tool-input-available"
                    if delta or not chunk["type"].endswith("-delta"):
                        report(delta)
            match stream.status:
                case "completed" | "stopped" as status:
                    pending = _pending(await chat.messages()) if called else []
                    return Answer(chat_id=chat.id, text="".join(said), status=status, pending_tool_calls=pending)
                case _:
                    error = stream.error or {}
                    raise TurnFailedError(
                        error.get("message", "the run that served the turn died"),
                        turn_code=error.get("code", TurnInterruptedError.code),
                        error_id=error.get("id", ""),
                    )

    async def stop(self, arguments: ChatName, report: Report) -> Stopped:
        """Stop the answer that is being given; what was said is kept."""
        del report
        async with self._open(ANY_AGENT, arguments.chat_id) as chat:
            return Stopped(stopped=await chat.stop())

    async def get_messages(self, arguments: GetMessages, report: Report) -> MessageList:
        """Return the newest messages; none of a chat that does not exist."""
        del report
        async with self._open(ANY_AGENT, arguments.chat_id) as chat:
            messages = await chat.messages()
        return MessageList(
            messages=[_to_message(message) for message in messages[-arguments.limit :]], total=len(messages)
        )

    async def close_chat(self, arguments: ChatName, report: Report) -> Closed:
        """Close a chat for good."""
        del report
        async with self._open(ANY_AGENT, arguments.chat_id) as chat:
            return Closed(closed=await chat.close())

    def _choose(self, agent: str | None) -> str:
        if agent is None and len(self._agents) == 1:
            return next(iter(self._agents))
        if agent is None:
            raise InvalidInputError(f"say which agent: {', '.join(self._agents)}", path="/agent")
        if agent not in self._agents:
            raise AgentNotFoundError(agent)
        return agent


def _pending(messages: list[UIMessage]) -> list[PendingCall]:
    return [
        PendingCall(
            tool_call_id=call.tool_call_id,
            tool_name=call.tool_name,
            input=call.input,
            needs_approval=call.approval_id is not None,
        )
        for call in pending_tool_calls(messages[-1] if messages else None)
    ]


def _to_message(message: UIMessage) -> Message:
    calls = [part for part in message["parts"] if is_tool_part(part)]
    return Message(
        id=message["id"],
        role=message["role"],
        text=message_text(message),
        tool_calls=[ToolUse(tool_name=get_tool_name(part), state=part["state"]) for part in calls],
    )
