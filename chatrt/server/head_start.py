"""Head start: the first step of a chat's first answer is made by whoever takes the message, while the run boots.

    def warm(request: HeadStartRequest) -> TextStream:
        return stream_text("anthropic/claude-sonnet-4-5", request.messages, tools=request.tools)

    app = create_app(support, head_start=warm)

The first token does not wait for `on_boot` and the hooks. The step is made with the tools as a model sees them: the run
carries out its calls, with their approvals, and goes on with the same message. When the step fails the run answers as
if there had been none. Later turns never come here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatrt.agent import ChatAgent
from chatrt.errors import UsageError
from chatrt.events import ToolsEvent
from chatrt.generate import TextStream
from chatrt.history import History
from chatrt.runtime import Session, SessionManager
from chatrt.server.first_step import FirstStep, Handover
from chatrt.tools import Tool, tool_map
from chatrt.ui import ModelMessage, UIMessage, convert_to_model_messages

logger = logging.getLogger("chatrt.server")

GRACE_SECONDS = 5.0
"""How long the steps under way have to end by themselves when the server stops."""


@dataclass(frozen=True, kw_only=True)
class HeadStartRequest:
    """The first message of a chat, for a function that begins its answer.

    Attributes:
        chat_id: The public id of the session.
        agent: The agent that answers.
        message: What was said.
        messages: The same as a model is shown it.
        tools: The agent's, without their bodies: calls are left to the run.
        client_data: What the client sent along, as the agent's `client_data` type.
        message_id: The id of the answer.
    """

    chat_id: str
    agent: ChatAgent
    message: UIMessage
    messages: list[ModelMessage] = field(repr=False)
    tools: list[Tool] = field(repr=False)
    client_data: Any
    message_id: str


HeadStart = Callable[[HeadStartRequest], TextStream | Awaitable[TextStream | None] | None]
"""Begins an answer: returns a `stream_text(...)`, of which only the first step is made; None for no head start."""


@dataclass(frozen=True, kw_only=True)
class StartedHeadStart:
    """A head start that nobody reads here; the answer is on the session's `.out`.

    Attributes:
        chat_id: The public id of the session.
        message_id: The id of the answer.
        in_seq: The message on `.in`.
        completion: Done when the step was handed over, with how it ended; None if there was none or the run went on
            without it. Raises what the step failed with; the run answers then.
    """

    chat_id: str
    message_id: str
    in_seq: int
    completion: asyncio.Task[Handover | None]


class HeadStarts:
    """The head starts of one application.

    Args:
        head_start: For all agents, or by agent id.
    """

    def __init__(self, head_start: HeadStart | Mapping[str, HeadStart] | None = None) -> None:
        self._head_start = head_start
        self._tasks: set[asyncio.Task[Handover | None]] = set()

    def find(self, agent_id: str) -> HeadStart | None:
        """Return what begins the answers of an agent, or None."""
        head_start = self._head_start
        return head_start if head_start is None or callable(head_start) else head_start.get(agent_id)

    async def begin(
        self, sessions: SessionManager, session: Session, warm: HeadStart, message: UIMessage, *, client_data: Any
    ) -> tuple[FirstStep, asyncio.Task[Handover | None]]:
        """Append a message and begin its answer; the message is durable when this returns.

        Raises:
            InvalidMessageError: If the message is not acceptable.
            SessionClosedError: If the session is closed.
        """
        message_id, after = sessions.ids.new("msg"), session.outbox.last_seq
        accepted = session.inbox.accept(message)
        appended = await session.inbox.send_with_head_start(accepted, message_id, client_data=client_data)
        step = FirstStep(session, sessions.clock, in_seq=appended.seq, message_id=message_id, after=after)

        async def ask() -> TextStream | None:
            if appended.seq > 1:
                return None  # somebody was faster: this is no first message any more
            return await _ask(session, warm, accepted, message_id, client_data)

        task = asyncio.create_task(step.run(ask))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return step, task

    def _done(self, task: asyncio.Task[Handover | None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.warning("a head start failed; the run answers instead", exc_info=task.exception())

    async def aclose(self, *, grace: float = GRACE_SECONDS) -> None:
        """Give the steps under way `grace` seconds, then leave their messages to the runs."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


_DETACHED = HeadStarts()


async def start_head_start(
    sessions: SessionManager,
    agent_id: str,
    warm: HeadStart,
    message: UIMessage,
    *,
    chat_id: str | None = None,
    tenant: str = "",
    client_data: Any = None,
    metadata: dict[str, Any] | None = None,
) -> StartedHeadStart:
    """Start a chat with a head start and without a response to stream it to; clients watch `.out`.

    Args:
        sessions: Where the session is; the run may be another process's.
        agent_id: The agent.
        warm: Begins the answer.
        message: The chat's first message.
        chat_id: As in `SessionManager.start_session`, like `tenant` and `metadata`.
        tenant: The same.
        client_data: What the agent's `client_data` type describes; for the run, no client gets to see it.
        metadata: Kept with the session.

    Raises:
        UsageError: If something was said in this chat before.
        ChatrtError: What `start_session` and `Inbox.send_message` raise.
    """
    session = await sessions.start_session(agent_id, chat_id, tenant=tenant, metadata=metadata)
    if not await is_untouched(session):
        raise UsageError(f"chat {session.chat_id!r} has begun: only a first message can have a head start")
    step, task = await _DETACHED.begin(sessions, session, warm, message, client_data=client_data)
    return StartedHeadStart(chat_id=session.chat_id, message_id=step.message_id, in_seq=step.in_seq, completion=task)


async def is_untouched(session: Session) -> bool:
    """Tell whether nothing has come in for a session yet."""
    return (await session.position()).last_in_seq == 0


async def _ask(
    session: Session, warm: HeadStart, message: UIMessage, message_id: str, client_data: Any
) -> TextStream | None:
    agent = session.agent
    parsed = agent.parse_client_data(client_data, default=session.row.client_data)
    tools: Any = agent.tools
    if callable(tools):
        event = ToolsEvent(chat_id=session.chat_id, history=History(), client_data=parsed, turn=0, continuation=False)
        tools = tools(event)
        if inspect.isawaitable(tools):
            tools = await tools
    request = HeadStartRequest(
        chat_id=session.chat_id,
        agent=agent,
        message=message,
        messages=await session.files().fill(convert_to_model_messages([message])),
        tools=[tool.without_body() for tool in tool_map(tools).values()],
        client_data=parsed,
        message_id=message_id,
    )
    stream = warm(request)
    if inspect.isawaitable(stream):
        stream = await stream
    if stream is not None and not isinstance(stream, TextStream):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a head start returns a stream_text(...) or None, not a {type(stream).__name__}")
    return stream
