"""The client: `AgentChat`, one conversation with an agent from Python, in this process or over HTTP."""

from __future__ import annotations

from chatrt.client.agent_chat import AgentChat
from chatrt.client.http import HTTPTransport
from chatrt.client.local import LocalTransport
from chatrt.client.stream import ChatResult, ChatStream, ToolCall, ToolResult, pending_tool_calls
from chatrt.client.transport import ChatState, OutRecord, Transport

__all__ = [
    "AgentChat",
    "ChatResult",
    "ChatState",
    "ChatStream",
    "HTTPTransport",
    "LocalTransport",
    "OutRecord",
    "ToolCall",
    "ToolResult",
    "Transport",
    "pending_tool_calls",
]
