"""Measures what a record costs a client and the server in each format of the native wire, side by side.

Run `python -m tests.bench.formats`. A stored answer is read whole (burst), and many answers are read while they are made
(live), once as MessagePack frames and once as server-sent events, in turns. Use the ratios: absolute figures belong to
the machine.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from chatrt.client import HTTPTransport
from chatrt.packed import MEDIA_TYPE
from tests.bench.streams import cpu_seconds, free_port, wait_for

ROUNDS, BURST = 7, 20_000
LIVE_ROUNDS, LIVE_STREAMS, LIVE_CHUNKS, LIVE_PAUSE = 3, 100, 100, 0.02
SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Reading:
    """What one round gave: records, and the CPU seconds of either side."""

    records: int
    client: float
    server: float


async def say(transport: HTTPTransport, chat_id: str, count: int, pause: float) -> int:
    message = {"id": f"u-{chat_id}", "role": "user", "parts": [{"type": "text", "text": "go"}]}
    await transport.start(chat_id, "bench", client_data=[count, pause])
    return await transport.append(chat_id, {"kind": "message", "message": message}, part_id="p")


async def read_turn(transport: HTTPTransport, chat_id: str) -> int:
    records = 0
    async with aclosing(transport.read(chat_id, after=0)) as batches:
        async for batch in batches:
            records += len(batch)
            if batch[-1].kind == "turn-complete":
                break
    return records


async def burst(transport: HTTPTransport, pid: int) -> Reading:
    client, server = time.process_time(), cpu_seconds(pid)
    records = await read_turn(transport, "burst")
    return Reading(records, time.process_time() - client, cpu_seconds(pid) - server)


async def live(transport: HTTPTransport, pid: int, name: str) -> Reading:
    chats = [f"{name}-{number}" for number in range(LIVE_STREAMS)]
    client, server = time.process_time(), cpu_seconds(pid)
    await asyncio.gather(*(say(transport, chat_id, LIVE_CHUNKS, LIVE_PAUSE) for chat_id in chats))
    records = sum(await asyncio.gather(*(read_turn(transport, chat_id) for chat_id in chats)))
    await asyncio.sleep(SETTLE_SECONDS)
    return Reading(records, time.process_time() - client, cpu_seconds(pid) - server)


def show(label: str, rounds: list[tuple[Reading, Reading]]) -> None:
    print(label)
    for name, readings in zip(("frames", "events"), zip(*rounds, strict=True), strict=True):
        client = statistics.median(reading.client / reading.records for reading in readings)
        server = statistics.median(reading.server / reading.records for reading in readings)
        print(f"  {name:7} {client * 1e6:7.2f} us of the client   {server * 1e6:7.2f} us of the server   per record")
    for side in ("client", "server"):
        ratios = [getattr(events, side) / getattr(frames, side) for frames, events in rounds]
        print(f"  {side}    events cost {statistics.median(ratios):5.2f} x frames, {min(ratios):5.2f} at worst")


async def sizes(url: str) -> tuple[int, int]:
    found = []
    async with httpx.AsyncClient(base_url=url) as http:
        for accept in (MEDIA_TYPE, "text/event-stream"):
            response = await http.get("/v1/sessions/burst/out?until=idle", headers={"accept": accept}, timeout=60)
            assert response.headers["content-type"].startswith(accept)
            found.append(len(response.content))
    return found[0], found[1]


async def measure(url: str, pid: int) -> None:
    frames, events = HTTPTransport(url), HTTPTransport(url, frames=False)
    await say(frames, "burst", BURST, 0)
    await read_turn(frames, "burst")
    await read_turn(events, "burst")
    rounds = [(await burst(frames, pid), await burst(events, pid)) for _ in range(ROUNDS)]
    show(f"burst, {rounds[0][0].records:,} stored records", rounds)
    packed, plain = await sizes(url)
    print(f"  bytes     frames {packed / BURST:.1f}, events {plain / BURST:.1f} per record")
    rounds = [
        (await live(frames, pid, f"frames-{turn}"), await live(events, pid, f"events-{turn}"))
        for turn in range(LIVE_ROUNDS + 1)
    ]
    show(f"live, {LIVE_STREAMS} answers of {LIVE_CHUNKS} chunks, {LIVE_PAUSE * 1000:.0f} ms apart", rounds[1:])
    await frames.aclose()
    await events.aclose()


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    print(f"{len(cores)} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}", flush=True)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.serve_streams", f"{folder}/chat.db", str(port)]
        with subprocess.Popen(command) as server:
            try:
                wait_for(port)
                asyncio.run(measure(f"http://127.0.0.1:{port}", server.pid))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
