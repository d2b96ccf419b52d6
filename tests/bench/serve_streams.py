"""The server under measurement: a scripted model through session, SQLite and SSE, beside a bare Starlette stream."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from chatrt import ChatAgent, FunctionModel, create_app, stream_text

DELTA = {"type": "text-delta", "id": "t", "delta": "word"}
FRAME = b'data: {"type":"text-delta","id":"t","delta":"word"}\n\n'
FINISH = {"type": "finish", "finishReason": {"unified": "stop", "raw": "stop"}, "usage": {}}


async def parts(count: int, pause: float) -> AsyncIterator[dict[str, Any]]:
    """A model that says `count` words, as fast as it is read or with a pause before each."""
    yield {"type": "text-start", "id": "t"}
    for _ in range(count):
        if pause:
            await asyncio.sleep(pause)
        yield DELTA
    yield {"type": "text-end", "id": "t"}
    yield FINISH


def respond(turn: Any) -> Any:
    count, pause = turn.client_data
    return stream_text(FunctionModel(lambda request: parts(count, pause)), turn.messages)


async def bare(request: Request) -> StreamingResponse:
    """The peer: frames that are encoded already, one write for each."""
    count, pause = int(request.query_params["count"]), float(request.query_params["pause"])

    async def frames() -> AsyncIterator[bytes]:
        for _ in range(count):
            if pause:
                await asyncio.sleep(pause)
            yield FRAME

    return StreamingResponse(frames(), media_type="text/event-stream")


def main(path: str, port: int) -> None:
    # No idle time: a run ends right after its turn, so that no round pays for the runs that another one left behind.
    app = create_app(
        ChatAgent("bench", run=respond, idle_timeout=0.0),
        store=f"sqlite:///{path}",
        routes=[Route("/bare", bare, methods=["GET"])],
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, loop="uvloop", http="httptools")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
