"""Measures how fast and at what cost chunks reach a reader, beside a bare stream in the same run.

Run `python -m tests.bench.streams`. The server has one core and the reader, this process, another, where there are two.
Rounds of both kinds take turns and each gives a ratio, so that what else the machine does meets both. Use the ratios:
absolute figures belong to the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

BURST_ROUNDS, BURST = 7, 20_000
SLOW_ROUNDS, SLOW_STREAMS, SLOW_CHUNKS, SLOW_PAUSE = 5, 200, 100, 0.02
SHORT_ROUNDS = 7
SETTLE_SECONDS = 0.3
"""How long the server is given to put away what its streams leave behind; an idle one costs nothing meanwhile."""

NEEDLE = b'"text-delta"'


@dataclass(frozen=True)
class Burst:
    """What one request gave: chunks, seconds from the request to the end, and the server's CPU seconds."""

    chunks: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.chunks / self.seconds


@dataclass(frozen=True)
class Paced:
    """What many requests at once gave: chunks, the server's CPU seconds, and delays and gaps at the reader in seconds."""

    chunks: int
    cpu: float
    firsts: list[float]
    gaps: list[float]


class Counter:
    """Counts chunks in pieces of a body, wherever it was cut."""

    def __init__(self) -> None:
        self.chunks = 0
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Take a piece; returns how many chunks it completed."""
        data = self._rest + data
        found = data.count(NEEDLE)
        # Shorter than what is looked for, so that nothing is counted twice.
        self._rest = data[1 - len(NEEDLE) :]
        self.chunks += found
        return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, user and system, of all its threads."""
    # The number that clock_getcpuclockid(3) gives for a process on Linux; the clock counts nanoseconds, /proc only ticks.
    return time.clock_gettime((~pid << 3) | 2)


def chat_request(chat_id: str, count: int, pause: float) -> bytes:
    message = {"id": f"u-{chat_id}", "role": "user", "parts": [{"type": "text", "text": "go"}]}
    body = json.dumps({"id": chat_id, "messages": [message], "clientData": [count, pause]}).encode()
    head = f"POST /api/chat/bench HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


def bare_request(count: int, pause: float) -> bytes:
    return f"GET /bare?count={count}&pause={pause} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()


def read_burst(port: int, pid: int, request: bytes) -> Burst:
    """Send a request over a raw socket and count the text deltas until the server closes."""
    before, start = cpu_seconds(pid), time.perf_counter()
    counter = Counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        while data := connection.recv(1 << 20):
            counter.feed(data)
    return Burst(counter.chunks, time.perf_counter() - start, cpu_seconds(pid) - before)


async def read_slow(port: int, requests: list[bytes]) -> tuple[list[float], list[float], int]:
    """Read many paced streams at once; returns first-chunk delays, gaps between arrivals, and the number of deltas."""
    firsts: list[float] = []
    gaps: list[float] = []

    async def one(request: bytes) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        start = last = time.perf_counter()
        counter = Counter()
        while data := await reader.read(1 << 16):
            now = time.perf_counter()
            if not counter.feed(data):
                continue
            if last == start:
                firsts.append(now - start)
            else:
                gaps.append(now - last)
            last = now
        writer.close()
        return counter.chunks

    totals = await asyncio.gather(*(one(request) for request in requests))
    return firsts, gaps, sum(totals)


def read_paced(port: int, pid: int, requests: list[bytes]) -> Paced:
    """`read_slow` with the server's CPU time."""
    before = cpu_seconds(pid)
    firsts, gaps, total = asyncio.run(read_slow(port, requests))
    time.sleep(SETTLE_SECONDS)
    return Paced(total, cpu_seconds(pid) - before, firsts, gaps)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def summary(ratios: list[float], *, worst: float) -> str:
    return f"  ratio     {statistics.median(ratios):5.2f} median   {worst:5.2f} worst of {len(ratios)} rounds"


def burst(port: int, pid: int) -> None:
    rounds: list[tuple[Burst, Burst]] = []
    for number in range(BURST_ROUNDS + 1):
        pair = (
            read_burst(port, pid, bare_request(BURST, 0)),
            read_burst(port, pid, chat_request(f"burst-{number}", BURST, 0)),
        )
        assert all(reading.chunks == BURST for reading in pair), pair
        rounds.append(pair)
    del rounds[0]  # it warmed up
    print(f"burst, one stream of {BURST:,} chunks; higher ratios are better")
    for name, readings in zip(("bare", "chatrt"), zip(*rounds, strict=True), strict=True):
        rate = statistics.median(reading.rate for reading in readings)
        cpu = statistics.median(reading.cpu / reading.chunks for reading in readings)
        print(f"  {name:7} {rate:10,.0f} chunks/s   {cpu * 1e6:6.2f} us CPU per chunk")
    ratios = [chatrt.rate / bare.rate for bare, chatrt in rounds]
    print(summary(ratios, worst=min(ratios)))


def paced(port: int, pid: int, label: str, count: int, repeat: int) -> None:
    """Measure `repeat` rounds of many streams at once, each of `count` chunks."""
    read_paced(port, pid, [bare_request(1, SLOW_PAUSE)] * SLOW_STREAMS)
    read_paced(port, pid, [chat_request(f"{label}-warm-{number}", 1, SLOW_PAUSE) for number in range(SLOW_STREAMS)])
    rounds: list[tuple[Paced, Paced]] = []
    for turn in range(repeat):
        names = [f"{label}-{turn}-{number}" for number in range(SLOW_STREAMS)]
        pair = (
            read_paced(port, pid, [bare_request(count, SLOW_PAUSE)] * SLOW_STREAMS),
            read_paced(port, pid, [chat_request(name, count, SLOW_PAUSE) for name in names]),
        )
        assert all(reading.chunks == SLOW_STREAMS * count for reading in pair), [reading.chunks for reading in pair]
        rounds.append(pair)
    print(
        f"{label}, {SLOW_STREAMS} streams of {count} chunks, {SLOW_PAUSE * 1000:.0f} ms apart; lower ratios are better"
    )
    for name, readings in zip(("bare", "chatrt"), zip(*rounds, strict=True), strict=True):
        print(f"  {name:7} {describe(list(readings))}")
    ratios = [chatrt.cpu / bare.cpu for bare, chatrt in rounds]
    print(summary(ratios, worst=max(ratios)))


def describe(readings: list[Paced]) -> str:
    cpu = statistics.median(reading.cpu for reading in readings)
    firsts = [delay for reading in readings for delay in reading.firsts]
    gaps = [gap for reading in readings for gap in reading.gaps]
    text = f"{cpu:6.3f} s CPU, {cpu / SLOW_STREAMS * 1e3:5.2f} ms per stream   first chunk"
    text += f" p50 {percentile(firsts, 0.5) * 1e3:6.1f} ms   p99 {percentile(firsts, 0.99) * 1e3:6.1f} ms"
    return text + (f"   gap p99 {percentile(gaps, 0.99) * 1e3:6.1f} ms" if gaps else "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{len(cores)} cores ({platform.machine()}), {versions}, load {os.getloadavg()[0]:.1f}", flush=True)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.serve_streams", f"{folder}/chat.db", str(port)]
        with subprocess.Popen(command) as server:
            try:
                if len(cores) > 1:
                    os.sched_setaffinity(server.pid, {cores[0]})
                    os.sched_setaffinity(0, {cores[1]})
                wait_for(port)
                burst(port, server.pid)
                paced(port, server.pid, "slow", SLOW_CHUNKS, SLOW_ROUNDS)
                paced(port, server.pid, "short", 1, SHORT_ROUNDS)
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
