"""What every endpoint of one application shares: the sessions, who may do what, the limits, the open streams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from chatrt.errors import AgentNotFoundError, ShuttingDownError
from chatrt.models.litellm_upstream import close_litellm
from chatrt.runtime import SessionManager
from chatrt.server.auth import Authority
from chatrt.server.head_start import GRACE_SECONDS as HEAD_START_GRACE
from chatrt.server.head_start import HeadStarts
from chatrt.server.limits import Limits, read_json
from chatrt.server.streams import OpenStreams


@dataclass(slots=True, kw_only=True)
class Service:
    """The state behind one application."""

    sessions: SessionManager
    authority: Authority
    limits: Limits
    streams: OpenStreams
    head_starts: HeadStarts
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _started: bool = False
    _closed: bool = False

    async def start(self) -> None:
        """Open the store and begin to serve; once, whoever comes first.

        Raises:
            ShuttingDownError: If it was closed.
        """
        if self._started:
            return
        async with self._starting:
            if self._closed:
                raise ShuttingDownError
            if not self._started:
                await self.sessions.start()
                self.streams.start()
                self._started = True

    async def aclose(self, *, grace: float = 20.0) -> None:
        """End the streams at a record boundary, then let head starts and running turns finish and close the store.

        Args:
            grace: Seconds they have; what is not through then is cancelled, for others to go on with.
        """
        if self._closed:
            return
        self.drain()
        end = self.streams.clock.monotonic() + grace
        await self.streams.aclose()
        await self.head_starts.aclose(grace=min(grace, HEAD_START_GRACE))
        if self._started:
            await self.sessions.aclose(grace=max(end - self.streams.clock.monotonic(), 0.0))
            await close_litellm()
            self._closed, self._started = True, False

    def drain(self) -> None:
        """Take no new work and end the open streams: the server is about to stop. Call it in the application's loop.

        Sessions that wait for inputs are left to other processes at once.
        """
        self.streams.drain()
        self.sessions.drain()

    def check_agent(self, agent: str) -> None:
        """Make sure that the agent is served here.

        Raises:
            AgentNotFoundError: If it is not.
        """
        if agent not in self.sessions.agents:
            raise AgentNotFoundError(agent)

    def check_open(self) -> None:
        """Make sure that new work is still taken.

        Raises:
            ShuttingDownError: If the server is about to stop.
        """
        if self.streams.draining:
            raise ShuttingDownError

    async def read_body(self, request: Request) -> Any:
        """Read the JSON body under the limits; see `read_json` for what it raises."""
        return await read_json(request, self.limits)


class StartOnFirstRequest:
    """Starts the service when nobody ran the lifespan: a mounted application is never told that it begins."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._service.start()
        await self._app(scope, receive, send)
