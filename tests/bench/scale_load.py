"""The load of `tests.bench.scale`: chats that are asked at one process and read at another, over raw sockets."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

NEEDLE = b'"text-delta"'
END = b"event: turn-complete"


@dataclass
class Seen:
    """What readers saw: delays up to the first word and gaps between arrivals in seconds, and how many words."""

    firsts: list[float] = field(default_factory=list[float])
    gaps: list[float] = field(default_factory=list[float])
    acks: list[float] = field(default_factory=list[float])
    words: int = 0

    def add(self, other: Seen) -> None:
        self.firsts += other.firsts
        self.gaps += other.gaps
        self.acks += other.acks
        self.words += other.words


async def create(urls: Sequence[str], names: Sequence[str]) -> None:
    """Make sessions."""
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=20)) as http:

        async def one(name: str) -> None:
            body = {"agent": "bench", "chatId": name}
            (await http.post(f"{random.choice(urls)}/v1/sessions", json=body)).raise_for_status()

        await asyncio.gather(*(one(name) for name in names))


async def converse(asked: str, read: Sequence[str], name: str, count: int, pause: float) -> Seen:
    """Ask for `count` words `pause` seconds apart at one process, and read them at each of some."""
    seen = Seen()
    opened = [asyncio.Event() for _ in read]
    began: dict[str, float] = {}
    reading = [asyncio.create_task(_read(url, name, began, flag, seen)) for url, flag in zip(read, opened, strict=True)]
    await asyncio.gather(*(flag.wait() for flag in opened))
    message = {"id": f"u-{name}-{time.monotonic_ns()}", "role": "user", "parts": [{"type": "text", "text": "go"}]}
    began["at"] = time.perf_counter()
    await _post(asked, f"/v1/sessions/{name}/in", {"kind": "message", "message": message, "clientData": [count, pause]})
    seen.acks.append(time.perf_counter() - began["at"])
    await asyncio.gather(*reading)
    return seen


async def attach(url: str, name: str) -> asyncio.StreamWriter:
    """Read a chat, and go on reading until what is returned is closed."""
    reader, writer = await _open_stream(url, name)
    assert (await reader.read(100)).startswith(b"HTTP/1.1 200")
    return writer


async def append(url: str, name: str) -> float:
    """Append what is no work, and return the seconds up to its ack."""
    began = time.perf_counter()
    await _post(url, f"/v1/sessions/{name}/in", {"kind": "stop"})
    return time.perf_counter() - began


async def _post(url: str, path: str, body: dict[str, Any]) -> None:
    target = urlsplit(url)
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {target.netloc}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\nconnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(head.encode() + data)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 2"), answer[:400]


async def _read(url: str, name: str, began: dict[str, float], opened: asyncio.Event, seen: Seen) -> None:
    reader, writer = await _open_stream(url, name)
    last, rest = 0.0, b""
    while data := await reader.read(1 << 16):
        if not opened.is_set():
            assert data.startswith(b"HTTP/1.1 200"), data[:400]
            opened.set()
        data = rest + data
        found = data.count(NEEDLE)
        rest = data[1 - len(END) :] if found == 0 else data[data.rfind(NEEDLE) + len(NEEDLE) :]
        if found:
            now = time.perf_counter()
            if last:
                seen.gaps.append(now - last)
            else:
                seen.firsts.append(now - began["at"])
            last = now
            seen.words += found
        if END in data:
            break
    writer.close()


async def _open_stream(url: str, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    head = f"GET /v1/sessions/{name}/out HTTP/1.1\r\nhost: {target.netloc}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode())
    return reader, writer
