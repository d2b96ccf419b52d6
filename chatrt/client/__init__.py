"""The client: `AgentChat`, one conversation with an agent from Python, in this process or over HTTP."""

from __future__ import annotations

from chatrt.client.agent_chat import AgentChat
from chatrt.client.http import HTTPTransport
from chatrt.client.local import LocalTransport
from chatrt.client.result import ChatResult, ToolCall, ToolResult, pending_tool_calls
from chatrt.client.stream import ChatStream
from chatrt.client.sub_agents import agent_tool, last_text_output, sub_agent
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
    "agent_tool",
    "last_text_output",
    "pending_tool_calls",
    "sub_agent",
]
