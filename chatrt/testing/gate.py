"""A gate: lets a test hold code of an agent at a point, look around, and let it go on."""

from __future__ import annotations

import asyncio


class Gate:
    """Code of the agent waits at it; the test waits until it has come there, and opens it.

    async def run(turn):
        yield {"type": "text-start", "id": "t"}
        await gate.wait()
        ...

    Attributes:
        reached: Set when somebody waits at the gate or has passed it.
        opened: Set when everybody may pass.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the gate is open."""
        self.reached.set()
        await self.opened.wait()

    def open(self) -> None:
        """Let everybody pass, now and later."""
        self.opened.set()
