"""Measures how fast and at what cost chunks reach a reader, beside a bare stream in the same run.

Run `python -m tests.bench.streams`. The server has one core and the reader, this process, another, where there are two.
Use the ratios: absolute figures belong to the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

ROUNDS = 7
BURST = 20_000
SLOW_STREAMS, SLOW_CHUNKS, SLOW_PAUSE = 200, 100, 0.02


@dataclass(frozen=True)
class Reading:
    """What one request gave: chunks, seconds from the request to the end, and the server's CPU seconds."""

    chunks: int
    seconds: float
    cpu: float


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, user and system."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def chat_request(chat_id: str, count: int, pause: float) -> bytes:
    message = {"id": f"u-{chat_id}", "role": "user", "parts": [{"type": "text", "text": "go"}]}
    body = json.dumps({"id": chat_id, "messages": [message], "clientData": [count, pause]}).encode()
    head = f"POST /api/chat/bench HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


def bare_request(count: int, pause: float) -> bytes:
    return f"GET /bare?count={count}&pause={pause} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()


def read_burst(port: int, pid: int, request: bytes) -> Reading:
    """Send a request over a raw socket and count the text deltas until the server closes."""
    before, start = cpu_seconds(pid), time.perf_counter()
    deltas, rest = 0, b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        while data := connection.recv(1 << 20):
            data = rest + data
            deltas += data.count(b'"text-delta"')
            rest = data[-11:] if not data.endswith(b'"text-delta"') else b""
            deltas -= rest.count(b'"text-delta"')
    return Reading(deltas, time.perf_counter() - start, cpu_seconds(pid) - before)


async def read_slow(port: int, requests: list[bytes]) -> tuple[list[float], list[float], int]:
    """Read many paced streams at once; returns first-chunk delays, gaps between arrivals, and the number of deltas."""
    firsts: list[float] = []
    gaps: list[float] = []
    total = 0

    async def one(request: bytes) -> None:
        nonlocal total
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        start = last = time.perf_counter()
        seen = 0
        while data := await reader.read(1 << 16):
            count = data.count(b'"text-delta"')
            now = time.perf_counter()
            if count and not seen:
                firsts.append(now - start)
            elif count:
                gaps.append(now - last)
            if count:
                seen, last = seen + count, now
        total += seen
        writer.close()

    await asyncio.gather(*(one(request) for request in requests))
    return firsts, gaps, total


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def burst(port: int, pid: int) -> None:
    readings: dict[str, list[Reading]] = {"bare": [], "chatrt": []}
    for number in range(ROUNDS + 1):
        pair = {
            "bare": read_burst(port, pid, bare_request(BURST, 0)),
            "chatrt": read_burst(port, pid, chat_request(f"burst-{number}", BURST, 0)),
        }
        if number:  # the first round warms up
            for name, reading in pair.items():
                assert reading.chunks == BURST, (name, reading)
                readings[name].append(reading)
    rates = {name: statistics.median(r.chunks / r.seconds for r in rs) for name, rs in readings.items()}
    print(f"burst, one stream of {BURST:,} chunks, median of {ROUNDS} interleaved rounds")
    for name, rs in readings.items():
        cpu = statistics.median(r.cpu / r.chunks for r in rs) * 1e6
        print(f"  {name:7} {rates[name]:10,.0f} chunks/s   {cpu:6.2f} us CPU per chunk")
    print(f"  ratio   {rates['chatrt'] / rates['bare']:10.2f}")


def slow(port: int, pid: int) -> None:
    print(f"slow, {SLOW_STREAMS} streams of {SLOW_CHUNKS} chunks, {SLOW_PAUSE * 1000:.0f} ms apart")
    costs: dict[str, float] = {}
    for name in ("bare", "chatrt"):
        if name == "bare":
            requests = [bare_request(SLOW_CHUNKS, SLOW_PAUSE)] * SLOW_STREAMS
        else:
            requests = [chat_request(f"slow-{number}", SLOW_CHUNKS, SLOW_PAUSE) for number in range(SLOW_STREAMS)]
        before = cpu_seconds(pid)
        firsts, gaps, total = asyncio.run(read_slow(port, requests))
        assert total == SLOW_STREAMS * SLOW_CHUNKS, (name, total)
        costs[name] = cpu_seconds(pid) - before
        print(
            f"  {name:7} {costs[name]:6.2f} s CPU   first chunk p50 {percentile(firsts, 0.5) * 1e3:6.1f} ms"
            f"   p99 {percentile(firsts, 0.99) * 1e3:6.1f} ms   gap p99 {percentile(gaps, 0.99) * 1e3:6.1f} ms"
        )
    print(f"  ratio   {costs['chatrt'] / costs['bare']:6.2f}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.serve_streams", f"{folder}/chat.db", str(port)]
        with subprocess.Popen(command) as server:
            try:
                cores = sorted(os.sched_getaffinity(0))
                if len(cores) > 1:
                    os.sched_setaffinity(server.pid, {cores[0]})
                    os.sched_setaffinity(0, {cores[1]})
                wait_for(port)
                burst(port, server.pid)
                slow(port, server.pid)
            finally:
                server.terminate()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
        else:
            return


if __name__ == "__main__":
    main()
