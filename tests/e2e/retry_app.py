"""An agent that dies in its first answer and answers the question again in its next life, as far as somebody lets it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.agent import ChatAgent
from chatrt.events import RecoveryBootEvent, RecoveryPlan
from chatrt.server import create_app

recovered, finished = asyncio.Event(), asyncio.Event()


async def answer(_turn: Any) -> AsyncIterator[dict[str, Any]]:
    yield {"type": "text-start", "id": "t"}
    yield {"type": "text-delta", "id": "t", "delta": "half"}
    await finished.wait()
    yield {"type": "text-delta", "id": "t", "delta": " and whole"}
    yield {"type": "text-end", "id": "t"}


async def recover(event: RecoveryBootEvent) -> RecoveryPlan:
    await recovered.wait()
    return RecoveryPlan(messages=event.settled_messages, turns=event.in_flight_users)


async def die(_request: Request) -> Response:
    os.kill(os.getpid(), signal.SIGKILL)
    return Response()


async def go_on(_request: Request) -> Response:
    recovered.set()
    return Response()


async def finish(_request: Request) -> Response:
    finished.set()
    return Response()


app = create_app(
    ChatAgent("playbook", run=answer, on_recovery_boot=recover),
    routes=[
        Route("/die", die, methods=["POST"]),
        Route("/go-on", go_on, methods=["POST"]),
        Route("/finish", finish, methods=["POST"]),
    ],
)
