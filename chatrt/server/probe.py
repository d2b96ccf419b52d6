"""`GET /v1/probe`: a slow answer on purpose, by which `chatrt doctor` sees what stands before a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.codec import dumps
from chatrt.errors import InvalidInputError
from chatrt.server.service import Service
from chatrt.server.streams import HEADERS

MAX_TICKS = 50
MAX_EVERY = 5.0
MAX_QUIET = 600.0


def probe_route(service: Service) -> Route:
    """Return the endpoint; it streams in the way that answers are streamed in."""

    async def probe(request: Request) -> Response:
        principal = service.authority.identify(request)
        principal.require_full()
        service.check_open()
        ticks = int(_number(request, "ticks", 5, MAX_TICKS))
        every = _number(request, "every", 0.25, MAX_EVERY)
        quiet = _number(request, "quiet", 0, MAX_QUIET)
        frames = _frames(service, _received(request), ticks=ticks, every=every, quiet=quiet)
        return service.streams.open(frames, headers=HEADERS, when_cut="break", expires_at=None)

    return Route("/v1/probe", probe, methods=["GET"])


def _received(request: Request) -> dict[str, Any]:
    """What came through; of credentials only that they did."""
    return {
        "authorization": "authorization" in request.headers,
        "lastEventId": request.headers.get("last-event-id", ""),
        "httpVersion": request.scope.get("http_version", ""),
        "forwarded": any(name in request.headers for name in ("forwarded", "x-forwarded-for", "via")),
        "path": request.url.path,
    }


async def _frames(
    service: Service, received: dict[str, Any], *, ticks: int, every: float, quiet: float
) -> AsyncIterator[bytes]:
    yield _frame("received", {**received, "heartbeat": service.streams.heartbeat})
    for number in range(ticks):
        await service.streams.clock.sleep(every)
        yield _frame("tick", {"number": number + 1})
    if quiet:
        yield _frame("quiet", {"seconds": quiet})
        await service.streams.clock.sleep(quiet)
    yield _frame("end", {})


def _frame(event: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), dumps(data))


def _number(request: Request, name: str, default: float, most: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:  # also refuses nan
        raise InvalidInputError(f"not 0 to {most:g}", path=name)
    return value
