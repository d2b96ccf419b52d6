"""Applications that serve the scripted agent of `kit.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from chatrt.clock import ManualClock
from chatrt.ids import CountingIds
from chatrt.server import create_app
from chatrt.stores import MemoryStore
from tests.server.head_start_kit import make
from tests.server.kit import KEY, Gates, Kit, make_agent

__all__ = ["gates", "kit", "locked", "make", "make_kit"]


@pytest.fixture
def gates() -> Iterator[Gates]:
    gates = Gates()
    yield gates
    gates.open_all()  # so that no server waits for a turn when it stops


@pytest.fixture
def make_kit(serve: Callable[..., Awaitable[httpx.AsyncClient]], gates: Gates) -> Callable[..., Awaitable[Kit]]:
    """Serve the agent; keyword arguments go to `create_app`, `agent=` to the agent, `headers=` to the client."""

    async def make(
        *, agent: dict[str, Any] | None = None, headers: dict[str, str] | None = None, **options: Any
    ) -> Kit:
        options = {"store": MemoryStore(), "ids": CountingIds(), **options}
        agents = [make_agent(gates, **(agent or {})), make_agent(gates, id="other")]
        app = create_app(agents, **options)
        http = await serve(app, headers=headers)
        return Kit(app, http, gates, options.get("clock"))

    return make


@pytest.fixture
async def kit(make_kit: Callable[..., Awaitable[Kit]]) -> Kit:
    """An application without a secret key."""
    return await make_kit()


@pytest.fixture
async def locked(make_kit: Callable[..., Awaitable[Kit]]) -> Kit:
    """An application with a secret key and a clock that stands still."""
    return await make_kit(secret_key=KEY, clock=ManualClock(), headers={"authorization": f"Bearer {KEY}"})
