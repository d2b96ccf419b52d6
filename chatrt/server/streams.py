"""The streamed response: a log reader spoken through sse-starlette, ended between two records when its time is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal, cast

import anyio
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import AppStatus, EventSourceResponse, SendTimeoutError
from starlette.types import Message, Receive, Scope, Send

from chatrt.clock import Clock
from chatrt.metrics import LOOP_LAG, OPEN_STREAMS, STALLED, STREAMS_CUT, Metrics
from chatrt.server.limits import Limits
from chatrt.wires.ai_sdk import StreamCutError
from chatrt.wires.formats import EVENT_STREAM, KEEP_ALIVE

logger = logging.getLogger("chatrt.server")

LOOKS_PER_SEND = 8
"""How often a stalled reader is looked at within the time it may stall."""

LAG_SECONDS = 0.5
"""How long the event loop is left alone between two looks at how late it is."""

GRACE_SECONDS = 2.0
"""How long a stream has to end by itself when the server stops, before sse-starlette cancels it."""

HEADERS = {
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
AI_SDK_HEADERS = {**HEADERS, "x-vercel-ai-ui-message-stream": "v1"}

WhenCut = Literal["close", "break"]


class OpenStreams:
    """The streams of one application, so that all of them can end when it stops.

    sse-starlette notices that uvicorn is about to stop (within half a second) and sets `stopping`; whoever knows it
    earlier calls `drain`.
    """

    def __init__(self, *, clock: Clock, limits: Limits, heartbeat: float, metrics: Metrics | None = None) -> None:
        self.clock = clock
        self.metrics = metrics or Metrics()
        self.metrics.watch(OPEN_STREAMS, lambda: len(self._open))
        self.metrics.watch(STALLED, self._longest_stall)
        self.limits = limits
        self.heartbeat = heartbeat
        self.draining = False
        self.stopping: anyio.Event | None = None
        self._open: set[EventStream] = set()
        self._watchers: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Begin to watch for the server's end; needs a running loop."""
        # The flag is the process's and nobody takes it back: a server that ended here earlier must not end ours.
        AppStatus.should_exit = False
        # sse-starlette logs every chunk at this level: what people write is none of a log's business.
        logging.getLogger("sse_starlette.sse").setLevel(logging.INFO)
        self.stopping = anyio.Event()
        loop = asyncio.get_running_loop()
        watchers = (self._watch(self.stopping), self._cut_stalled(), self._measure_lag())
        self._watchers = [loop.create_task(watcher) for watcher in watchers]

    async def _watch(self, stopping: anyio.Event) -> None:
        await stopping.wait()
        self.drain()

    async def _cut_stalled(self) -> None:
        """Cut off readers that take nothing: one look at all of them costs less than a timer for each write."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.send_seconds / LOOKS_PER_SEND)
            for stream in tuple(self._open):
                since = stream.sending_since
                if since is not None and loop.time() - since > self.limits.send_seconds:
                    stream.cut()

    async def _measure_lag(self) -> None:
        """Notice when something keeps the event loop from turning: everybody's stream stands still then."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self.metrics.record(LOOP_LAG, max(loop.time() - due, 0.0))

    def _longest_stall(self) -> float:
        now = time.monotonic()  # the loop's own clock; whoever looks may be in another thread
        stalls = [now - since for stream in list(self._open) if (since := stream.sending_since) is not None]
        return max(stalls, default=0.0)

    def drain(self) -> None:
        """End every open stream at a record boundary; the application takes no new work from now on."""
        self.draining = True
        if self.stopping is not None:
            self.stopping.set()
        for stream in tuple(self._open):
            stream.end()

    async def aclose(self) -> None:
        """Drain and stop watching."""
        self.drain()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers = []

    def open(
        self,
        frames: AsyncIterator[bytes],
        *,
        headers: dict[str, str],
        when_cut: WhenCut,
        expires_at: float | None,
        media_type: str = EVENT_STREAM,
        heartbeat: bytes = KEEP_ALIVE,
        on_end: Callable[[], None] | None = None,
    ) -> EventStream:
        """Return the response that sends these frames.

        Args:
            frames: Whole frames; each item is one write.
            headers: Of the response.
            when_cut: What happens when the stream's time is over or its source fails: `close` ends the body as if it
                were complete, for readers with a cursor; `break` drops the connection, for readers who would take a
                complete body for a complete answer.
            expires_at: When the reader's rights end, in seconds since 1970.
            media_type: What the frames are.
            heartbeat: What is sent while there is nothing to send; empty for a stream that never waits.
            on_end: Called when the response is over, however it ends.
        """
        seconds = self.limits.stream_seconds
        if expires_at is not None:
            seconds = min(seconds, expires_at - self.clock.now())
        return EventStream(
            self,
            frames,
            headers=headers,
            media_type=media_type,
            heartbeat=heartbeat,
            when_cut=when_cut,
            seconds=seconds,
            on_end=on_end,
        )

    def add(self, stream: EventStream) -> None:
        self._open.add(stream)
        if self.draining:
            stream.end()

    def remove(self, stream: EventStream) -> None:
        self._open.discard(stream)


class _EndedError(Exception):
    """The stream's time is over."""


class EventStream(EventSourceResponse):
    """One reader's stream. A reader that goes away ends the reading of the log and nothing else (D16)."""

    def __init__(
        self,
        streams: OpenStreams,
        frames: AsyncIterator[bytes],
        *,
        headers: dict[str, str],
        media_type: str,
        heartbeat: bytes,
        when_cut: WhenCut,
        seconds: float,
        on_end: Callable[[], None] | None,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] - a bare `dict` in its signature
            frames,
            headers=headers,
            media_type=media_type,
            ping=streams.heartbeat if heartbeat else 0,
            # It may give bytes as well: what it gives is encoded only where it is none.
            ping_message_factory=lambda: cast("ServerSentEvent", heartbeat),
            send_timeout=streams.limits.send_seconds,
            shutdown_event=streams.stopping,
            shutdown_grace_period=GRACE_SECONDS,
        )
        self._streams = streams
        self._when_cut = when_cut
        self._seconds = seconds
        self._on_end = on_end
        self._frames = frames
        self._data_since: float | None = None
        self._heartbeat_since: float | None = None
        self._ended = False
        self._broken = False
        self._waiting = False
        self._wait: asyncio.Timeout | None = None
        self._life: asyncio.Timeout | None = None

    @property
    def sending_since(self) -> float | None:
        """When the write that the reader has not taken began, by the loop's time; a heartbeat may wait behind data."""
        return self._data_since if self._data_since is not None else self._heartbeat_since

    def end(self) -> None:
        """End at the next record boundary: at once if the reader waits, else after the write under way."""
        self._ended = True
        if self._waiting and self._wait is not None:
            self._wait.reschedule(asyncio.get_running_loop().time())

    def cut(self) -> None:
        """Drop a reader that takes nothing."""
        if self._life is not None:
            self._life.reschedule(asyncio.get_running_loop().time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.add(self)
        timer = asyncio.get_running_loop().create_task(self._end_later())
        try:
            async with asyncio.timeout(None) as self._life:
                await super().__call__(scope, receive, send)
        except (SendTimeoutError, TimeoutError):
            logger.info("a reader took nothing for %g s and was cut off", self._streams.limits.send_seconds)
            self._streams.metrics.add(STREAMS_CUT, 1, "stalled")
        except _EndedError:
            pass  # the response stays incomplete, so the server breaks the connection
        finally:
            timer.cancel()
            self._streams.remove(self)
            if self._on_end is not None:
                self._on_end()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        # For heartbeats, in place of a cancel scope for each write: see `OpenStreams._cut_stalled`.
        self._heartbeat_since = asyncio.get_running_loop().time()
        await send(message)
        self._heartbeat_since = None

    async def _end_later(self) -> None:
        await self._streams.clock.sleep(max(self._seconds, 0))
        self.end()

    async def _stream_response(self, send: Send) -> None:
        # In place of sse-starlette's own loop: frames are bytes already, and each layer between the log and the socket
        # would be paid for with every chunk.
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with asyncio.timeout(None) as self._wait:
                await self._copy(send)
        except _EndedError:
            self._break_or_close()
        except TimeoutError:
            if self._wait is None or not self._wait.expired():
                raise
            self._break_or_close()
        finally:
            close = getattr(self._frames, "aclose", None)
            if close is not None:
                await close()
        async with self._send_lock:
            self.active = False
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _break_or_close(self) -> None:
        reason = "failed" if self._broken else "shutdown" if self._streams.draining else "time"
        self._streams.metrics.add(STREAMS_CUT, 1, reason)
        if self._when_cut == "break":
            raise _EndedError from None

    async def _copy(self, send: Send) -> None:
        """Send frame after frame; waiting for the next one is the one place where a stream is interrupted."""
        now = asyncio.get_running_loop().time
        try:
            if self._ended:
                raise _EndedError
            self._waiting = True
            async for data in self._frames:
                self._waiting = False
                self._data_since = now()
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._data_since = None
                if self._ended:
                    raise _EndedError
                self._waiting = True
        except StreamCutError:
            self._when_cut, self._broken = "break", True
            raise _EndedError from None
        except Exception as error:
            if not self._waiting:
                raise  # of the connection, not of the log
            # The status has been sent: all that can still be told is that the stream is not complete.
            logger.exception("a stream broke off")
            self._when_cut, self._broken = "break", True
            raise _EndedError from error
        finally:
            self._waiting = False
