"""An MCP server over standard streams, for tests to start and to kill."""

from __future__ import annotations

import os

from mcp.server import MCPServer

server = MCPServer("stdio", log_level="CRITICAL")


@server.tool()
def pid() -> str:
    """Say which process this is."""
    return str(os.getpid())


@server.tool()
def getenv(name: str) -> str:
    """Say what a variable is."""
    return os.environ.get(name, "")


@server.tool()
def die() -> str:
    """End without an answer."""
    os._exit(3)


if __name__ == "__main__":
    server.run()
