"""A TCP proxy that hurts what passes through it: late, slow, one way only, cut at a byte, reset, or not let in at all.

It lives in a thread of its own, so that blocking and asynchronous tests drive it alike and no busy loop slows it down:

    with FaultProxy(port) as proxy:
        connect_to(proxy.port)
        proxy.to_client.black_hole()    # what the server says is held back from now on
        proxy.heal()                    # and comes late, as TCP would have it
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from weakref import WeakSet

from tests.served import free_port

PIECE = 65_536
SLICES_PER_SECOND = 100
UNDER_WAY = 64
"""How many pieces of one connection may be under way before the sender has to wait."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time at all: closing says RST."""

How = Literal["reset", "close", "half-close", "hole"]
"""What a cut does: RST both ways, FIN both ways, FIN this way only, or nothing more passes this way."""


class Way:
    """One direction of everything that passes; every property may change while connections are open.

    Attributes:
        latency: Seconds that each piece is late.
        jitter: How much more than that it may be, at random; the order is kept.
        rate: The most bytes a second for each connection; None is as fast as it goes.
        passed: How many bytes went this way so far.
        cuts: How often a cut took place.
    """

    def __init__(self, call: Callable[[Callable[[], Any]], Any]) -> None:
        self._call = call
        self._open = asyncio.Event()
        self._open.set()
        self._left: int | None = None
        self._how: How = "reset"
        self.latency = 0.0
        self.jitter = 0.0
        self.rate: float | None = None
        self.passed = 0
        self.cuts = 0

    def black_hole(self) -> None:
        """Let nothing pass from now on; what comes is held, up to what a connection may have under way."""
        self._call(self._open.clear)

    def heal(self) -> None:
        """Let everything pass again, what was held first, and forget a cut that did not take place."""
        self._call(self._heal)

    def cut(self, after: int, how: How = "reset") -> None:
        """Let exactly `after` more bytes pass, then cut the connection that carries the next one; once."""

        def arm() -> None:
            self._left, self._how = after, how

        self._call(arm)

    def _heal(self) -> None:
        self._left, self.latency, self.jitter, self.rate = None, 0.0, 0.0, None
        self._open.set()

    # --- in the loop of the proxy

    async def _copy(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)
        link.start(self._deliver(link, pieces, writer))
        now = asyncio.get_running_loop().time
        try:
            while data := await reader.read(PIECE):
                await pieces.put((now() + self.latency + random.uniform(0, self.jitter), data))
        except OSError:
            await self._open.wait()
            link.close("reset")
            return
        await pieces.put((now() + self.latency, b""))

    async def _deliver(
        self, link: _Link, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due, data = await pieces.get()
            if (early := due - now()) > 0:
                await asyncio.sleep(early)
            await self._open.wait()
            if not data:
                link.end_way(writer)
                return
            with suppress(OSError):
                if not await self._write(link, data, writer):
                    return

    async def _write(self, link: _Link, data: bytes, writer: asyncio.StreamWriter) -> bool:
        while data:
            size = PIECE if self.rate is None else max(1, int(self.rate / SLICES_PER_SECOND))
            now, data = data[:size], data[size:]
            if self._left is not None:
                if len(now) > self._left:
                    now, data, self._left = now[: self._left], now[self._left :] + data, None
                    await self._send(now, writer)
                    self.cuts += 1
                    if not await self._carry_out(link, writer):
                        return False
                    continue
                self._left -= len(now)
            await self._send(now, writer)
            if self.rate is not None:
                await asyncio.sleep(len(now) / self.rate)
                await self._open.wait()
        return True

    async def _send(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        self.passed += len(data)  # first: who gets the data may ask at once how much it was
        writer.write(data)
        await writer.drain()

    async def _carry_out(self, link: _Link, writer: asyncio.StreamWriter) -> bool:
        if self._how == "hole":
            self._open.clear()
            await self._open.wait()
            return True
        if self._how == "half-close":
            link.end_way(writer)
        else:
            link.close(self._how)
        return False


@dataclass(eq=False)
class _Link:
    """One connection that passes: its two ends and what copies between them."""

    links: set[_Link]
    ends: list[asyncio.StreamWriter]
    ended: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def end_way(self, writer: asyncio.StreamWriter) -> None:
        """Say FIN to one end; when both have heard it the connection is over."""
        if writer in self.ended:
            return
        with suppress(OSError, RuntimeError):
            writer.write_eof()
        self.ended.add(writer)
        if len(self.ended) == len(self.ends):
            self.close("close")

    def close(self, how: How) -> None:
        self.links.discard(self)
        for end in self.ends:
            connection = end.get_extra_info("socket")
            if how == "reset" and connection is not None and connection.fileno() >= 0:
                with suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.transport.abort()
            else:
                end.close()
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()


class FaultProxy:
    """Stands before a server and passes on what comes, as well or as badly as it is told.

    Args:
        port: Of the server.
        host: Of the server.
        listen: The address where the proxy is found.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, listen: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._listen = listen
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._ends: WeakSet[asyncio.StreamWriter] = WeakSet()
        self.port = free_port()
        self.to_server = Way(self._call)
        self.to_client = Way(self._call)
        self.accepted = 0
        """How many connections came in so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._run(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open_connections(self) -> int:
        """How many connections pass right now."""
        return len(self._links)

    @property
    def ways(self) -> tuple[Way, Way]:
        """Both directions."""
        return self.to_server, self.to_client

    def black_hole(self) -> None:
        """Let nothing pass, neither way; connections stay open and new ones are taken."""
        for way in self.ways:
            way.black_hole()

    def heal(self) -> None:
        """Let everything pass as it comes; what was held back comes now."""
        for way in self.ways:
            way.heal()
        self.accept()

    def reset(self) -> None:
        """End every open connection with RST, to both sides."""
        self._call(lambda: [link.close("reset") for link in list(self._links)])

    def half_close(self, *, to_client: bool) -> None:
        """Say FIN to one side of every open connection; the other direction stays."""
        self._call(lambda: [link.end_way(link.ends[0 if to_client else 1]) for link in list(self._links)])

    def refuse(self) -> None:
        """Take no new connection: whoever comes is refused."""
        self._call(self._stop_listening)

    def accept(self) -> None:
        """Take connections, again."""
        self._run(self._start_listening())

    # --- inside of the thread

    def _call(self, work: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return work()

        return self._run(call())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start_listening(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._take, self._listen, self.port)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _settle(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for end in list(self._ends):
            end.transport.abort()
        await asyncio.sleep(0.01)  # what was aborted is closed in the rounds of the loop that come now

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._ends.add(writer)
        link = _Link(self._links, [writer])
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            link.close("reset")
            return
        self._ends.add(to_server)
        link.ends.append(to_server)
        self._links.add(link)
        link.start(self.to_server._copy(link, reader, to_server))
        link.start(self.to_client._copy(link, from_server, writer))
