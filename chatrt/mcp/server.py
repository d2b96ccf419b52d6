"""Agents as an MCP server: whoever speaks MCP can talk to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from mcp.server import Server, ServerRequestContext
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ValidationError

from chatrt import __version__, codec
from chatrt.agent import ChatAgent
from chatrt.client import AgentChat
from chatrt.client.http import Token
from chatrt.clock import Clock, SystemClock
from chatrt.errors import ChatrtError, RemoteError, TurnFailedError, UsageError
from chatrt.mcp import operations as ops
from chatrt.mcp.operations import Operations, Report
from chatrt.runtime import SessionManager
from chatrt.server.errors import INTERNAL, public_text
from chatrt.tool_schema import PlainJsonSchema, explain

logger = logging.getLogger("chatrt.mcp")

Agents = Sequence[ChatAgent | str] | Mapping[str, str]
Context = ServerRequestContext[Any]

INSTRUCTIONS = """\
Talk to agents. list_agents says who is there, start_chat begins a chat, send_message says something in it and \
returns the answer. A chat remembers what was said in it. When send_message was given up before the answer came, the \
agent goes on: get_messages has the answer later, stop ends it."""

PROGRESS_PAUSE = 0.1
"""Seconds between two notifications of progress: one for each word would be most of the traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A tool of this server."""

    run: Callable[[Any, Report], Awaitable[BaseModel]]
    description: str
    input: type[BaseModel]
    output: type[BaseModel]
    reads_only: bool = False
    destroys: bool = False


def mcp_server(
    agents: Agents | None = None,
    *,
    sessions: SessionManager | None = None,
    base_url: str | None = None,
    token: Token | None = None,
    tenant: str = "",
    client_data: Any = None,
    http: httpx.AsyncClient | None = None,
    timeout: float = 30.0,
    name: str = "chatrt",
    clock: Clock | None = None,
) -> Server[Any]:
    """Return an MCP server by which agents can be talked to; its tools are those of `chatrt.mcp.operations`.

    It is a server of the package `mcp`: `server.run(...)` serves it over a pair of streams, and
    `server.streamable_http_app()` is an ASGI application, which answers on loopback only unless told otherwise. An
    application that mounts it keeps `server.session_manager.run()` open in its lifespan.

    It has no door of its own: who reaches it may talk to these agents, and read, stop and close every chat whose id is
    known to them, as far as `tenant` or `token` reach. Calls that need approval wait; an MCP client is told of them and
    cannot approve, because it may be a model.

    Args:
        agents: The agents or their ids, or what each is for by id; those of `sessions` if left out.
        sessions: A session manager of this process.
        base_url: Where a chatrt server is mounted, instead of `sessions`.
        token: For that server; see `AgentChat`.
        tenant: Of the chats, with `sessions`.
        client_data: Goes along with each message.
        http: An own HTTP client for that server; it is not closed here.
        timeout: Seconds to go on trying when that server cannot be reached or breaks off.
        name: What the server calls itself.
        clock: Time, for tests.

    Raises:
        UsageError: Unless exactly one of `sessions` and `base_url` is given, or if there are no agents.
    """
    if (sessions is None) == (base_url is None):
        raise UsageError("an MCP server needs either sessions=SessionManager(...) or base_url='http://...'")
    described = _describe(agents if agents is not None or sessions is None else [*sessions.agents])
    if not described:
        raise UsageError("an MCP server needs agents; with base_url=, name them")
    if sessions is not None and (unknown := described.keys() - sessions.agents.keys()):
        raise UsageError(f"these agents are not served by the session manager: {', '.join(sorted(unknown))}")

    def open_chat(agent: str, chat_id: str | None) -> AgentChat:
        return AgentChat(
            agent,
            id=chat_id,
            sessions=sessions,
            base_url=base_url,
            token=token,
            tenant=tenant,
            client_data=client_data,
            http=http,
            timeout=timeout,
        )

    return _to_server(_operations(Operations(described, open_chat)), name, clock or SystemClock())


def _describe(agents: Agents | None) -> dict[str, str]:
    if isinstance(agents, Mapping):
        return dict(agents)
    return {agent.id if isinstance(agent, ChatAgent) else agent: "" for agent in agents or ()}


def _operations(operations: Operations) -> dict[str, Operation]:
    return {
        "list_agents": Operation(
            run=operations.list_agents,
            description="List the agents that can be talked to.",
            input=ops.Nothing,
            output=ops.AgentList,
            reads_only=True,
        ),
        "start_chat": Operation(
            run=operations.start_chat,
            description="Begin a chat with an agent; returns the chat id that the other tools take.",
            input=ops.StartChat,
            output=ops.Chat,
        ),
        "send_message": Operation(
            run=operations.send_message,
            description="Say something in a chat and wait for the agent's answer.",
            input=ops.SendMessage,
            output=ops.Answer,
        ),
        "stop": Operation(
            run=operations.stop,
            description="Stop the answer that an agent is giving; what was said until then is kept.",
            input=ops.ChatName,
            output=ops.Stopped,
        ),
        "get_messages": Operation(
            run=operations.get_messages,
            description="Read the newest messages of a chat.",
            input=ops.GetMessages,
            output=ops.MessageList,
            reads_only=True,
        ),
        "close_chat": Operation(
            run=operations.close_chat,
            description="Close a chat for good: nothing can be said in it any more.",
            input=ops.ChatName,
            output=ops.Closed,
            destroys=True,
        ),
    }


def _to_server(operations: Mapping[str, Operation], name: str, clock: Clock) -> Server[Any]:
    tools = [_to_tool(tool_name, operation) for tool_name, operation in operations.items()]

    async def list_tools(context: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        del context, params
        return ListToolsResult(tools=tools)

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        operation = operations.get(params.name)
        if operation is None:
            return _to_failure(f"there is no tool {params.name!r}; available: {', '.join(operations)}")
        try:
            arguments = operation.input.model_validate(params.arguments or {})
        except ValidationError as error:
            return _to_failure(explain(error))
        try:
            async with _Progress(context, clock) as progress:
                result = await operation.run(arguments, progress.report)
        except Exception as error:
            return _to_failure(_explain(error, params.name))
        return _to_result(result)

    return Server(
        name, version=__version__, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


class _Progress:
    """Tells a client that asked for it how an answer grows: the messages of the notifications, joined, are its text."""

    def __init__(self, context: Context, clock: Clock) -> None:
        self._session = context.session
        self._clock = clock
        self._steps = 0
        self._text = ""
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._sender: asyncio.Task[None] | None = None

    def report(self, text: str) -> None:
        """Take a step, with new text or without: a tool at work is news too, or else the server would look dead."""
        self._steps += 1
        self._text += text
        self._news.set()

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._sender is not None
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        if error is not None:
            return
        async with self._sending:
            pass  # what is just being sent comes before the result
        if self._news.is_set():
            await self._send()

    async def _send_on(self) -> None:
        while True:
            await self._news.wait()
            # Shielded: what was taken for sending is sent, also when the answer ends meanwhile.
            await asyncio.shield(self._send())
            await self._clock.sleep(PROGRESS_PAUSE)

    async def _send(self) -> None:
        async with self._sending:
            message, self._text = self._text, ""
            self._news.clear()
            await self._session.report_progress(self._steps, message=message or None)


def _to_tool(name: str, operation: Operation) -> Tool:
    return Tool(
        name=name,
        description=operation.description,
        input_schema=_schema(operation.input, "validation"),
        output_schema=_schema(operation.output, "serialization"),
        annotations=ToolAnnotations(
            read_only_hint=operation.reads_only,
            destructive_hint=operation.destroys,
            open_world_hint=not operation.reads_only,
        ),
    )


def _schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=PlainJsonSchema, mode=mode)
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def _to_result(result: BaseModel) -> CallToolResult:
    value = result.model_dump(mode="json", by_alias=True)
    match result:
        case ops.Answer(text=text, status="completed", pending_tool_calls=[]):
            content: list[ContentBlock] = [TextContent(text=text)]
        case ops.Answer(text=text):
            rest = {key: value[key] for key in ("status", "pendingToolCalls")}
            content = [TextContent(text=text), TextContent(text=codec.dumps(rest).decode())]
        case _:
            content = [TextContent(text=codec.dumps(value).decode())]
    return CallToolResult(content=content, structured_content=value)


def _explain(error: Exception, tool: str) -> str:
    """Return what a client may read of a failure (D11); the rest is for the log."""
    match error:
        case TurnFailedError():
            # What a turn tells of its failure was written for clients.
            name = f" {error.error_id}" if error.error_id else ""
            return f"{error} [{error.turn_code}{name}]"
        case RemoteError():
            return f"{error} [{error.remote_code or error.code}]"
        case ChatrtError() if error.status < 500:
            return f"{public_text(error)} [{error.code}]"
        case _:
            logger.error("the MCP tool %s failed", tool, exc_info=error)
            return f"{public_text(error)} [{error.code}]" if isinstance(error, ChatrtError) else INTERNAL


def _to_failure(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)
