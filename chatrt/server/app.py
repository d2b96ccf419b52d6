"""The HTTP application: agents and a store in, a Starlette application out."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from chatrt.agent import ChatAgent
from chatrt.attachments import Attachments
from chatrt.clock import Clock, SystemClock
from chatrt.errors import UsageError
from chatrt.ids import Ids, RandomIds
from chatrt.runtime import Retention, Role, SessionManager
from chatrt.server.ag_ui import AGUIEndpoints
from chatrt.server.ai_sdk import CHAT_ID_HEADER, TOKEN_HEADER, VERSION_HEADER, AISDKEndpoints
from chatrt.server.attachments import FILENAME_HEADER, AttachmentEndpoints
from chatrt.server.auth import Authority
from chatrt.server.errors import ErrorBoundary, from_http_exception, json_response
from chatrt.server.head_start import HeadStart, HeadStarts
from chatrt.server.limits import Limits
from chatrt.server.links import FileLinks
from chatrt.server.metrics import metrics_route
from chatrt.server.native import NativeEndpoints
from chatrt.server.openapi import OpenAPIEndpoint
from chatrt.server.paths import SegmentPaths
from chatrt.server.probe import probe_route
from chatrt.server.service import Service, StartOnFirstRequest
from chatrt.server.streams import OpenStreams
from chatrt.server.trigger import ALLOWED_HEADERS, EXPOSED_HEADERS, TriggerEndpoints
from chatrt.server.webhooks import Webhook, WebhookEndpoints
from chatrt.stores.base import Store

DEFAULT_STORE = "sqlite:///chatrt.db"
DEFAULT_HEARTBEAT = 15.0
DEFAULT_LEASE_TTL = 10.0


def create_app(
    agents: ChatAgent | Sequence[ChatAgent],
    *,
    store: Store | str | None = None,
    secret_key: str | None = None,
    cors_origins: Sequence[str] = (),
    limits: Limits | None = None,
    heartbeat: float = DEFAULT_HEARTBEAT,
    debug: bool = False,
    playground: bool = False,
    head_start: HeadStart | Mapping[str, HeadStart] | None = None,
    attachments: Attachments | None = None,
    webhooks: Sequence[Webhook] = (),
    retention: Retention | None = None,
    lease_ttl: float | None = None,
    role: Role | None = None,
    max_runs: int | None = None,
    routes: Sequence[BaseRoute] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> Starlette:
    """Return an application that serves these agents.

    `app.state.sessions` is its `SessionManager`, `app.state.authority` mints session tokens, `app.state.metrics` are
    the figures of `GET /metrics`, `app.state.drain()` ends the open streams and takes no new work. Run by a server it
    starts and stops with the lifespan. Mounted under another application it starts with its first request; then whoever
    mounted it calls `await app.state.aclose()` at the end.

    Args:
        agents: What is served.
        store: A store or its URL; default `CHATRT_STORE`, else a SQLite file in the working directory.
        secret_key: What servers authenticate with and session tokens are derived from; default `CHATRT_SECRET_KEY`.
            Without one, everybody on this machine is let in and nobody else.
        cors_origins: Origins of web pages that may call, such as `https://example.com`.
        limits: Sizes and times.
        heartbeat: Seconds between comments that keep a quiet stream alive.
        debug: Tell clients the text of exceptions; for development only.
        playground: Serve the chat page at `/`.
        head_start: Begins the answer to the first message of a chat on the AI SDK wire, for all agents or by agent id;
            see `chatrt.server.head_start`.
        attachments: How large the files of chats may be, of which types, and where they are kept; see
            `chatrt.attachments`.
        webhooks: What other services may tell; see `chatrt.server.webhooks`.
        retention: How long sessions are kept; for ever by default.
        lease_ttl: Seconds after which another process may take over from one that is silent; default
            `CHATRT_LEASE_TTL`, else 10.
        role: What this process does: `web` takes inputs and serves readers, `worker` answers, and of HTTP has only
            `/healthz`, `/readyz` and `/metrics`, `all` does both; default `CHATRT_ROLE`, else `all`.
        max_runs: How many sessions this process serves at once at most; default `CHATRT_MAX_RUNS`, else any number.
        routes: More routes, looked at after the application's own.
        clock: Time, for tests.
        ids: Fresh ids, for tests.

    Raises:
        UsageError: If the store's URL, the lease's time or the role is not understood, or the store has no place for
            processes of different roles, or no agent or the same id twice is given, or two webhooks have the same name.
    """
    clock, ids, limits = clock or SystemClock(), ids or RandomIds(), limits or Limits()
    if not 0 < heartbeat <= DEFAULT_HEARTBEAT:
        raise UsageError(f"a heartbeat is more than 0 and at most {DEFAULT_HEARTBEAT:g} seconds, not {heartbeat!r}")
    if "*" in cors_origins:
        raise UsageError("name the origins that may call: '*' would let every page of the web in")
    chosen = store or os.environ.get("CHATRT_STORE") or DEFAULT_STORE
    sessions = SessionManager(
        agents,
        chosen,
        clock=clock,
        ids=ids,
        lease_ttl=_read_lease_ttl(lease_ttl),
        attachments=attachments,
        retention=retention,
        role=cast("Role", role or os.environ.get("CHATRT_ROLE") or "all"),
        max_runs=_read_max_runs(max_runs),
    )
    service = Service(
        sessions=sessions,
        authority=Authority(
            secret_key or os.environ.get("CHATRT_SECRET_KEY"), clock=clock, ids=ids, allowed_origins=cors_origins
        ),
        limits=limits,
        streams=OpenStreams(clock=clock, limits=limits, heartbeat=heartbeat, metrics=sessions.metrics),
        head_starts=HeadStarts(head_start),
    )
    links = FileLinks(service.authority.derive_key("chatrt attachment link v1"), clock)
    wires = (
        AISDKEndpoints(service),
        AGUIEndpoints(service),
        NativeEndpoints(service),
        TriggerEndpoints(service, debug=debug),
        AttachmentEndpoints(service, links),
        WebhookEndpoints(service, webhooks, clock),
        OpenAPIEndpoint(service),
    )
    looked_at: list[BaseRoute] = [*_health(service), metrics_route(sessions.metrics, service.authority)]
    talked_to: list[BaseRoute] = [
        probe_route(service),
        *(route for wire in wires for route in wire.routes()),
        *routes,
        *(_playground() if playground else ()),
    ]
    app = Starlette(
        routes=looked_at if sessions.role == "worker" else [*looked_at, *talked_to],
        middleware=_middleware(service, ids, cors_origins, debug=debug),
        exception_handlers={HTTPException: _raise_ours},
        lifespan=_lifespan(service),
    )
    app.router.redirect_slashes = False
    app.state.sessions = sessions
    app.state.metrics = sessions.metrics
    app.state.authority = service.authority
    app.state.drain = service.drain
    app.state.aclose = service.aclose
    return app


def _read_lease_ttl(given: float | None) -> float:
    written = os.environ.get("CHATRT_LEASE_TTL") or DEFAULT_LEASE_TTL if given is None else given
    try:
        ttl = float(written)
    except ValueError:
        ttl = 0.0
    if not 0 < ttl < float("inf"):
        raise UsageError(f"a lease lasts some seconds, not {written!r}")
    return ttl


def _read_max_runs(given: int | None) -> int | None:
    written = os.environ.get("CHATRT_MAX_RUNS")
    if given is not None or not written:
        return given
    if not (written.isascii() and written.isdigit()):
        raise UsageError(f"CHATRT_MAX_RUNS is how many sessions are served at once, not {written!r}")
    return int(written)


def _middleware(service: Service, ids: Ids, cors_origins: Sequence[str], *, debug: bool) -> list[Middleware]:
    return [
        # Outermost, so that a page can read errors too.
        Middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=[
                "authorization",
                "content-disposition",
                "content-type",
                "idempotency-key",
                "if-none-match",
                "last-event-id",
                "range",
                FILENAME_HEADER,
                VERSION_HEADER,
                *ALLOWED_HEADERS,
            ],
            expose_headers=[
                "content-disposition",
                "content-range",
                "etag",
                "retry-after",
                "www-authenticate",
                "x-vercel-ai-ui-message-stream",
                CHAT_ID_HEADER,
                TOKEN_HEADER,
                *EXPOSED_HEADERS,
            ],
        ),
        Middleware(ErrorBoundary, ids=ids, debug=debug),
        Middleware(StartOnFirstRequest, service=service),
        Middleware(SegmentPaths),
    ]


def _lifespan(service: Service):  # noqa: ANN202 - the type is Starlette's own riddle
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.aclose()

    return lifespan


def _health(service: Service) -> list[Route]:
    async def healthz(_request: Request) -> Response:
        return json_response({"ok": True})

    async def readyz(_request: Request) -> Response:
        ready = not (service.streams.draining or service.sessions.draining)
        return json_response({"ok": ready}, status=200 if ready else 503)

    return [Route("/healthz", healthz, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]


async def _raise_ours(_request: Request, error: Exception) -> Response:
    raise from_http_exception(error) if isinstance(error, HTTPException) else error


def _playground() -> Sequence[BaseRoute]:
    # By name: the page is a floor above and no part of a server that does not ask for it.
    return importlib.import_module("chatrt.playground").routes()
