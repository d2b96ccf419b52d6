"""The endpoints of the AG-UI wire, under `/api/ag-ui`."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.server.chats import check_agent_of, identify_chat, open_chat
from chatrt.server.errors import json_response
from chatrt.server.limits import Limits, check_chat_id, read_json
from chatrt.server.service import Service
from chatrt.server.streams import HEADERS


class AGUIEndpoints:
    """What `HttpAgent` calls, and two things it does not: connect and stop."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes; chat ids are whole segments."""
        chat = "/api/ag-ui/{agent:segment}/{chat_id:segment}"
        return [
            Route("/api/ag-ui/{agent:segment}", self.post, methods=["POST"]),
            Route(f"{chat}/connect", self.connect, methods=["GET"]),
            Route(f"{chat}/stop", self.stop, methods=["POST"]),
        ]

    async def post(self, request: Request) -> Response:
        """Take what is new and stream the run that answers it."""
        service = self._service
        principal = service.authority.identify(request)
        service.check_open()
        agent: str = request.path_params["agent"]
        body = await read_json(request, _with_history(service))
        await _load_wire()
        from chatrt.wires.ag_ui import run
        from chatrt.wires.ag_ui_input import parse_run

        wanted = parse_run(body)
        check_chat_id(wanted.thread_id, path="/threadId")
        principal.require(wanted.thread_id, "read", "write", agent=agent)
        service.check_agent(agent)
        session = await open_chat(service, principal, agent, wanted.thread_id)
        frames, detach = await run(session, wanted, service.sessions.store)
        return service.streams.open(
            frames, headers=HEADERS, when_cut="break", expires_at=principal.expires_at, on_end=detach
        )

    async def connect(self, request: Request) -> Response:
        """Tell the history and stream what runs and waits; a chat that nobody began has an empty one."""
        service = self._service
        principal, agent, chat_id = identify_chat(service, request, "read")
        await _load_wire()
        from chatrt.wires.ag_ui import connect

        session = await service.sessions.find_session(chat_id, tenant=principal.tenant)
        if session is not None:
            check_agent_of(session, agent)
        frames = connect(session, service.sessions.store, chat_id, request.query_params.get("runId"))
        return service.streams.open(frames, headers=HEADERS, when_cut="break", expires_at=principal.expires_at)

    async def stop(self, request: Request) -> Response:
        """Stop the turn that runs."""
        principal, agent, chat_id = identify_chat(self._service, request, "write")
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        check_agent_of(session, agent)
        appended = await session.inbox.stop()
        return json_response({"seq": appended.seq}, status=202)


def _with_history(service: Service) -> Limits:
    limits = service.limits
    return replace(limits, bytes=limits.bytes * limits.history_factor, nodes=limits.nodes * limits.history_factor)


async def _load_wire() -> None:
    # The models of the protocol take a tenth of a second to build, which only those pay who speak it; in a thread, so
    # that no other stream waits for them.
    await asyncio.to_thread(importlib.import_module, "chatrt.wires.ag_ui")
