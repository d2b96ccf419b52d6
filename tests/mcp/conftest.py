"""A toolbox, and the ways to reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from chatrt.mcp import MCPTools, mcp_tools
from tests.mcp.toolbox import ECHO, Plug, Toolbox, echo


@dataclass
class Reached:
    """A toolbox and where it is."""

    toolbox: Toolbox
    place: Any

    def tools(self, **options: Any) -> MCPTools:
        return mcp_tools(self.place, **options)


@pytest.fixture(params=["in-process", "streams", "legacy-streams", "http", "legacy-http"])
async def reached(request: pytest.FixtureRequest, serve: Callable[..., Any]) -> Reached:
    """The same server by every way and in both ages of the protocol; it has the tool `echo`."""
    toolbox = Toolbox(legacy="legacy" in request.param)
    toolbox.add("echo", echo, **ECHO)
    match request.param:
        case "in-process":
            return Reached(toolbox, toolbox.server)
        case "streams" | "legacy-streams":
            return Reached(toolbox, Plug(toolbox))
        case _:
            client = await serve(toolbox.server.streamable_http_app())
            return Reached(toolbox, f"{client.server.base_url}/mcp")


@pytest.fixture
def toolbox() -> Toolbox:
    """A server with the tool `echo`."""
    toolbox = Toolbox()
    toolbox.add("echo", echo, **ECHO)
    return toolbox
