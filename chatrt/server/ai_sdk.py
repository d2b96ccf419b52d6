"""The endpoints of the AI SDK wire, under `/api/chat`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.errors import AgentMismatchError
from chatrt.runtime import Session
from chatrt.server.auth import Principal
from chatrt.server.errors import json_response
from chatrt.server.limits import check_chat_id
from chatrt.server.service import Service
from chatrt.server.streams import AI_SDK_HEADERS
from chatrt.wires.ai_sdk import parse_request, read_turn, resume, submit
from chatrt.wires.chunk_versions import parse_major

VERSION_HEADER = "x-chatrt-ai-sdk"


class AISDKEndpoints:
    """What `DefaultChatTransport` calls, and two things it does not: stop and the messages of a page that loads."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes; chat ids are whole segments."""
        chat = "/api/chat/{agent:segment}/{chat_id:segment}"
        return [
            Route("/api/chat/{agent:segment}", self.post, methods=["POST"]),
            Route(f"{chat}/stream", self.stream, methods=["GET"]),
            Route(f"{chat}/stop", self.stop, methods=["POST"]),
            Route(f"{chat}/messages", self.messages, methods=["GET"]),
        ]

    async def post(self, request: Request) -> Response:
        """Take what is new and stream the turn that answers it."""
        principal = self._service.authority.identify(request)
        self._service.check_open()
        agent: str = request.path_params["agent"]
        major = parse_major(request.headers.get(VERSION_HEADER))
        chat = parse_request(await self._service.read_body(request))
        check_chat_id(chat.chat_id, path="/id")
        principal.require(chat.chat_id, "read", "write", agent=agent)
        self._service.check_agent(agent)
        session = await self._open_session(principal, agent, chat.chat_id)
        after = session.outbox.last_seq
        in_seq, detach = await submit(session, chat)
        return self._service.streams.open(
            read_turn(session, in_seq, after=after, major=major),
            headers=AI_SDK_HEADERS,
            when_cut="break",
            expires_at=principal.expires_at,
            on_end=detach,
        )

    async def stream(self, request: Request) -> Response:
        """Replay the message under construction and go on live; 204 when nothing runs, also for an unknown chat."""
        principal, agent, chat_id = self._identify(request, "read")
        major = parse_major(request.headers.get(VERSION_HEADER))
        session = await self._service.sessions.find_session(chat_id, tenant=principal.tenant)
        if session is None or session.agent.id != agent:
            return Response(status_code=204)
        frames = await resume(session, self._service.sessions.store, major=major)
        if frames is None:
            return Response(status_code=204)
        return self._service.streams.open(
            frames, headers=AI_SDK_HEADERS, when_cut="break", expires_at=principal.expires_at
        )

    async def stop(self, request: Request) -> Response:
        """Stop the turn that runs."""
        principal, agent, chat_id = self._identify(request, "write")
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        _check_agent_of(session, agent)
        appended = await session.inbox.stop()
        return json_response({"seq": appended.seq}, status=202)

    async def messages(self, request: Request) -> Response:
        """Return what a page shows before it streams; nothing for a chat that has not begun."""
        principal, agent, chat_id = self._identify(request, "read")
        session = await self._service.sessions.find_session(chat_id, tenant=principal.tenant)
        if session is None:
            return json_response({"messages": [], "pending": [], "status": "idle", "cursor": 0})
        _check_agent_of(session, agent)
        state = await session.load()
        return json_response(
            {
                "messages": state.messages,
                "pending": [waiting.to_json() for waiting in state.pending],
                "status": state.status,
                "cursor": state.cursor,
            }
        )

    def _identify(self, request: Request, scope: str) -> tuple[Principal, str, str]:
        principal = self._service.authority.identify(request)
        agent: str = request.path_params["agent"]
        chat_id = check_chat_id(request.path_params["chat_id"], path="chat id")
        principal.require(chat_id, "write" if scope == "write" else "read", agent=agent)
        self._service.check_agent(agent)
        return principal, agent, chat_id

    async def _open_session(self, principal: Principal, agent: str, chat_id: str) -> Session:
        sessions, tenant = self._service.sessions, principal.tenant
        if principal.may_create(agent):
            return await sessions.start_session(agent, chat_id, tenant=tenant)
        session = await sessions.get_session(chat_id, tenant=tenant)
        _check_agent_of(session, agent)
        return session


def _check_agent_of(session: Session, agent: str) -> None:
    if session.agent.id != agent:
        raise AgentMismatchError(session.chat_id, agent)
