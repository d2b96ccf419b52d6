"""Which way an `AgentChat` takes to its session."""

from __future__ import annotations

import httpx

from chatrt.client.http import HTTPTransport, Token
from chatrt.client.local import LocalTransport
from chatrt.client.transport import Transport
from chatrt.errors import UsageError
from chatrt.run_control import find_current_run
from chatrt.runtime import SessionManager


def choose_transport(
    transport: Transport | None,
    *,
    sessions: SessionManager | None,
    tenant: str,
    base_url: str | None,
    token: Token | None,
    http: httpx.AsyncClient | None,
    timeout: float,
) -> Transport:
    """Return the way that was named; inside of a run that of the run, when none was.

    Raises:
        UsageError: If more than one was named, or none outside of a run.
    """
    if sum(way is not None for way in (sessions, base_url, transport)) > 1:
        raise UsageError("an AgentChat takes one of sessions, base_url and transport")
    if transport is not None:
        return transport
    if sessions is not None:
        return LocalTransport(sessions, tenant=tenant)
    if base_url is not None:
        return HTTPTransport(base_url, token=token, http=http, timeout=timeout)
    run = find_current_run()
    if run is None:
        raise UsageError("outside of a run an AgentChat needs sessions=SessionManager(...) or base_url='http://...'")
    return LocalTransport.of_run(run)
