"""A producer that goes on only when its reader comes back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from chatrt.adapters.lockstep import in_lockstep
from tests.runtime.driver import Gate


async def test_the_producer_waits_for_its_reader():
    """What the producer does after an item happens when the reader asks for the next."""
    done: list[str] = []

    async def produce(emit: Any) -> None:
        await emit("a")
        done.append("after a")
        await emit("b")
        done.append("after b")

    async with aclosing(in_lockstep(produce)) as items:
        assert await anext(items) == "a"
        for _ in range(5):
            await asyncio.sleep(0)
        assert done == []
        assert await anext(items) == "b"
        assert done == ["after a"]


async def test_what_it_raises_comes_last():
    """An exception of the producer is raised behind its last item."""

    async def produce(emit: Any) -> None:
        await emit("a")
        raise ValueError("broken")

    items = in_lockstep(produce)
    assert await anext(items) == "a"
    with pytest.raises(ValueError, match="broken"):
        await anext(items)


async def test_closing_ends_the_producer(gate: Gate):
    """Closing cancels the producer wherever it is, and is over when it is."""
    ended: list[str] = []

    async def produce(emit: Any) -> None:
        try:
            await emit("a")
            await gate.wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    items = in_lockstep(produce)
    await anext(items)
    await items.aclose()

    assert ended == ["cleaned up"]


async def test_a_cancelled_reader_ends_the_producer(gate: Gate):
    """When its reader is cancelled while it waits, the producer is as well."""
    ended: list[str] = []

    async def produce(emit: Any) -> None:
        try:
            await gate.wait()
        finally:
            ended.append("cleaned up")

    async def read() -> None:
        async with aclosing(in_lockstep(produce)) as items:
            async for _ in items:
                pass

    reader = asyncio.create_task(read())
    await gate.reached.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert ended == ["cleaned up"]


async def test_a_producer_that_ignores_its_end_cannot_go_on():
    """A producer that swallows its cancellation is stopped at its next item."""
    said: list[str] = []

    async def produce(emit: Any) -> None:
        try:
            await emit("a")
        except asyncio.CancelledError:
            said.append("ignored")
        await emit("b")
        said.append("went on")

    items = in_lockstep(produce)
    await anext(items)
    await items.aclose()

    assert said == ["ignored"]
