"""The line between a worker and its database, with a proxy in it that may hurt it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from chatrt.errors import StoreUnavailableError
from tests.faults.proxy import FaultProxy

TTL = 1.0
"""How long a lease lasts in these tests."""

WRITE_SECONDS = 2.0
"""How long a write may take before its outcome counts as unknown."""

HOLES = {
    "both ways": lambda proxy: proxy.black_hole(),
    "requests lost": lambda proxy: proxy.to_server.black_hole(),
    "answers lost": lambda proxy: proxy.to_client.black_hole(),
}
"""The ways in which a line may say nothing."""


def through(proxy: FaultProxy, direct: str) -> str:
    """The URL of a database that leads through a proxy."""
    head, _, database = direct.rpartition("/")
    return f"{head.rpartition(':')[0]}:{proxy.port}/{database}"


async def eventually(call) -> Any:
    """Call until it succeeds; what it gives."""
    end = time.monotonic() + 10
    while True:
        try:
            return await call()
        except StoreUnavailableError:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
