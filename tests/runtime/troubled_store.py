"""A store that waits, fails or loses its lease where a test wants; otherwise the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from chatrt.errors import StoreUnavailableError
from chatrt.stores.memory import MemoryStore
from tests.runtime.driver import Gate

Step = Callable[[], Awaitable[None]]


class TroubledStore(MemoryStore):
    """Runs what a test planned before or after a call of the memory store.

    Attributes:
        calls: The names of the methods that were called, of those that can be troubled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._before: dict[str, list[Step]] = {}
        self._after: dict[str, list[Step]] = {}

    def hold(self, method: str, *, after: bool = False) -> Gate:
        """The next call of a method waits at a gate, before or after it took effect."""
        gate = Gate()
        self._plan(method, gate.wait, after=after)
        return gate

    def fail(self, method: str, times: int = 1, *, after: bool = False) -> None:
        """The next calls of a method find the store unavailable, before or after they took effect."""

        async def refuse() -> None:
            raise StoreUnavailableError("the disk is on fire")

        for _ in range(times):
            self._plan(method, refuse, after=after)

    def lose_lease(self, method: str, *, after: bool = False) -> None:
        """At the next call of a method another worker has taken the session over."""

        async def take_over() -> None:
            for key, stored in self._sessions.items():
                stored.owner = None
                await MemoryStore.acquire_lease(self, key, owner="another", ttl=1e9, at=stored.updated_at)

        self._plan(method, take_over, after=after)

    def _plan(self, method: str, step: Step, *, after: bool) -> None:
        (self._after if after else self._before).setdefault(method, []).append(step)

    async def _call(self, method: str, *args: Any, **options: Any) -> Any:
        self.calls.append(method)
        if self._before.get(method):
            await self._before[method].pop(0)()
        result = await getattr(super(), method)(*args, **options)
        if self._after.get(method):
            await self._after[method].pop(0)()
        return result

    async def commit(self, *args: Any, **options: Any) -> Any:
        return await self._call("commit", *args, **options)

    async def append_out_groups(self, *args: Any, **options: Any) -> Any:
        return await self._call("append_out_groups", *args, **options)

    async def read_cursors(self, *args: Any, **options: Any) -> Any:
        return await self._call("read_cursors", *args, **options)

    async def append_in(self, *args: Any, **options: Any) -> Any:
        return await self._call("append_in", *args, **options)

    async def read_in(self, *args: Any, **options: Any) -> Any:
        return await self._call("read_in", *args, **options)

    async def load_snapshot(self, *args: Any, **options: Any) -> Any:
        return await self._call("load_snapshot", *args, **options)

    async def acquire_lease(self, *args: Any, **options: Any) -> Any:
        return await self._call("acquire_lease", *args, **options)

    async def claim_leases(self, *args: Any, **options: Any) -> Any:
        return await self._call("claim_leases", *args, **options)

    async def release_lease(self, *args: Any, **options: Any) -> Any:
        return await self._call("release_lease", *args, **options)

    async def renew_leases(self, *args: Any, **options: Any) -> Any:
        return await self._call("renew_leases", *args, **options)

    async def find_unserved(self, *args: Any, **options: Any) -> Any:
        return await self._call("find_unserved", *args, **options)


async def until(condition: Callable[[], Any]) -> None:
    """Let the other tasks run until a condition holds."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def idle(turns: int = 50) -> None:
    """Let the other tasks do all they can do without waiting."""
    for _ in range(turns):
        await asyncio.sleep(0)
