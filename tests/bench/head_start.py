"""Measures what a head start is worth: the time to the first word of a new chat, with and without one.

Run `python -m tests.bench.head_start`. The run takes 200 ms to boot and the model 300 ms to its first word, then speaks
at 100 words a second. Served over HTTP from SQLite with `synchronous=FULL`; each chat is a new one. Told as well: the
time to the whole answer, how many records the relay appended to `.in`, and how far the log is behind the first reader.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx

from chatrt import ChatAgent, FunctionModel, create_app, stream_text
from tests.conftest import run_server

BOOT, FIRST_WORD, PAUSE, WORDS, CHATS = 0.2, 0.3, 0.01, 100, 12


async def speak(_request: Any) -> AsyncIterator[dict[str, Any]]:
    await asyncio.sleep(FIRST_WORD)
    yield {"type": "text-start", "id": "t"}
    for index in range(WORDS):
        yield {"type": "text-delta", "id": "t", "delta": f"w{index} "}
        await asyncio.sleep(PAUSE)
    yield {"type": "text-end", "id": "t"}
    usage = {"inputTokens": {"total": 1}, "outputTokens": {"total": WORDS}}
    yield {"type": "finish", "finishReason": {"unified": "stop", "raw": "stop"}, "usage": usage}


def make_agent() -> ChatAgent:
    async def boot(_event: Any) -> None:
        await asyncio.sleep(BOOT)

    return ChatAgent("bench", on_boot=boot, run=lambda turn: stream_text(FunctionModel(speak), turn.messages))


async def read(http: httpx.AsyncClient, chat_id: str) -> tuple[float, float]:
    """Return the seconds to the first word and to the end."""
    message = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    begin, first = time.perf_counter(), 0.0
    async with http.stream("POST", "/api/chat/bench", json={"id": chat_id, "messages": [message]}) as response:
        async for data in response.aiter_raw():
            if not first and b"text-delta" in data:
                first = time.perf_counter() - begin
    return first, time.perf_counter() - begin


async def lag(http: httpx.AsyncClient, chat_id: str) -> float:
    """Return by how many seconds a reader of the log sees the middle word later than the one who asked."""
    seen: dict[str, float] = {}

    async def watch(method: str, url: str, **options: Any) -> None:
        async with http.stream(method, url, **options) as response:
            async for data in response.aiter_raw():
                if b'"w50 "' in data:
                    seen[method] = time.perf_counter()
                if b"[DONE]" in data:
                    return

    message = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
    asked = asyncio.create_task(watch("POST", "/api/chat/bench", json={"id": chat_id, "messages": [message]}))
    await asyncio.sleep(BOOT + FIRST_WORD)
    await watch("GET", f"/api/chat/bench/{chat_id}/stream")
    await asked
    return seen["GET"] - seen["POST"]


async def measure(folder: str, *, head_start: bool) -> None:
    warm = (lambda request: stream_text(FunctionModel(speak), request.messages)) if head_start else None
    app = create_app(make_agent(), store=f"sqlite:///{folder}/{head_start}.db", head_start=warm)
    async with AsyncExitStack() as stack:
        server = await run_server(app, stack)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=server.base_url, timeout=30))
        times = [await read(http, f"c{index}") for index in range(CHATS)][2:]
        first = statistics.median(first for first, _ in times)
        whole = statistics.median(whole for _, whole in times)
        session = await app.state.sessions.get_session("c5")
        relayed = (await session.position()).last_in_seq - 1
        behind = f", the log {1000 * await lag(http, 'lag'):.0f} ms behind" if head_start else ""
    name = "with a head start" if head_start else "without"
    print(
        f"{name:>18}: first word {1000 * first:4.0f} ms, whole answer {1000 * whole:5.0f} ms, {relayed} relayed{behind}"
    )


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for head_start in (False, True):
            await measure(folder, head_start=head_start)


if __name__ == "__main__":
    asyncio.run(main())
