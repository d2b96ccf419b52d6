"""The Model Context Protocol, both ways: tools of MCP servers for agents, and agents as an MCP server.

    async with mcp_tools("https://example.com/mcp", prefix="shop_") as tools:
        ... stream_text(MODEL, messages, tools=[*tools])

    server = mcp_server(sessions=sessions)

Needs the extra: `pip install 'chatrt[mcp]'`.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("mcp") is None:
    raise ImportError("MCP needs the package mcp: pip install 'chatrt[mcp]'", name="mcp")

from chatrt.mcp.server import mcp_server
from chatrt.mcp.tools import MCPTools, mcp_tools

__all__ = ["MCPTools", "mcp_server", "mcp_tools"]
