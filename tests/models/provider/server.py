"""A model provider on loopback: it plays byte-exact scripts over HTTP and notices when its client goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

Step = bytes | Literal["silence", "cut", "endless"]
"""What the server does next.

bytes: written to the socket and flushed, one HTTP transfer chunk each;
"silence": nothing more is sent, and the server waits until the client closes;
"cut": the connection is reset in the middle of the answer;
"endless": the bytes step before it is repeated until the client closes.
"""

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
}


@dataclass(frozen=True)
class Answer:
    """One HTTP response: a status, a content type, and the steps of its body."""

    steps: tuple[Step, ...]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()
    silent_before_headers: bool = False


@dataclass
class Received:
    """One request as the provider got it; `closed` is done once the client has dropped the connection."""

    path: str
    headers: dict[str, str]
    body: Any
    closed: Future[None] = field(default_factory=Future)


class ProviderServer:
    """Plays one queued answer for each request, in its own thread so that a blocked client cannot block it."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._answers: list[Answer] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """The base address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> ProviderServer:
        """Listen on a free port of the loopback interface."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def close(self) -> None:
        """Drop every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def reset(self) -> None:
        """Forget the queued answers and the requests seen."""
        self.requests.clear()
        self._answers.clear()

    def play(self, *steps: Step, **options: Any) -> None:
        """Queue one answer made of these steps."""
        self._answers.append(Answer(steps, **options))

    def refuse(self, status: int, body: Any, *, content_type: str = "application/json", **options: Any) -> None:
        """Queue one plain answer: a status and a body, JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answers.append(Answer((data,), status=status, content_type=content_type, **options))

    async def closed(self, index: int = 0, *, within: float = 2.0) -> bool:
        """Whether the client of that request drops the connection within so many seconds."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self.requests[index].closed), within)
        except TimeoutError:
            return False
        return True

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shutdown(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        data = await reader.readexactly(int(headers.get("content-length", "0")))
        received = Received(head[0].split(" ")[1], headers, json.loads(data) if data else None)
        self.requests.append(received)
        answer = self._answers.pop(0) if self._answers else Answer((b"no answer was queued",), status=404)
        try:
            return await self._answer(answer, reader, writer, received)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._gone(received)
            return False

    async def _answer(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received
    ) -> bool:
        if answer.silent_before_headers:
            return await self._until_gone(reader, received)
        lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Error')}"]
        lines += [f"{name}: {value}" for name, value in self._headers(answer)]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        last = b""
        for step in answer.steps:
            if isinstance(step, bytes):
                last = step
                writer.write(b"%x\r\n%s\r\n" % (len(step), step))
                await writer.drain()
            elif step == "cut":
                writer.transport.abort()
                return False
            elif step == "silence":
                return await self._until_gone(reader, received)
            else:
                return await self._endless(last, reader, writer, received)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _headers(self, answer: Answer) -> Iterable[tuple[str, str]]:
        return (("Content-Type", answer.content_type), ("Transfer-Encoding", "chunked"), *answer.headers)

    async def _endless(
        self, step: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: Received
    ) -> bool:
        gone = asyncio.ensure_future(reader.read(1))
        while not gone.done():
            writer.write(b"%x\r\n%s\r\n" % (len(step), step))
            await asyncio.wait([asyncio.ensure_future(writer.drain()), gone], return_when=asyncio.FIRST_COMPLETED)
        self._gone(received)
        return False

    async def _until_gone(self, reader: asyncio.StreamReader, received: Received) -> bool:
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        self._gone(received)
        return False

    def _gone(self, received: Received) -> None:
        if not received.closed.done():
            received.closed.set_result(None)
