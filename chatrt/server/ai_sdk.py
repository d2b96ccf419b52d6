"""The endpoints of the AI SDK wire, under `/api/chat`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.runtime import Session
from chatrt.server.auth import Principal
from chatrt.server.chats import check_agent_of, identify_chat, open_chat
from chatrt.server.errors import json_response
from chatrt.server.first_step import FirstStep, StepChunk
from chatrt.server.head_start import HeadStart, is_untouched
from chatrt.server.limits import check_chat_id
from chatrt.server.service import Service
from chatrt.server.streams import AI_SDK_HEADERS
from chatrt.ui import UIMessage
from chatrt.wires.ai_sdk import ChatRequest, parse_request, read_turn, resume, submit
from chatrt.wires.chunk_versions import Dialect, parse_version
from chatrt.wires.frames import writes
from chatrt.wires.handover import Shown, read_behind_seam

VERSION_HEADER = "x-chatrt-ai-sdk"
CHAT_ID_HEADER = "x-chatrt-chat-id"
TOKEN_HEADER = "x-chatrt-session-token"  # noqa: S105 - a name


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
        dialect = parse_version(request.headers.get(VERSION_HEADER))
        chat = parse_request(await self._service.read_body(request))
        check_chat_id(chat.chat_id, path="/id")
        principal.require(chat.chat_id, "read", "write", agent=agent)
        self._service.check_agent(agent)
        session = await open_chat(self._service, principal, agent, chat.chat_id)
        warm = self._service.head_starts.find(agent)
        if warm is not None and chat.is_new_message and await is_untouched(session):
            return await self._post_first(principal, session, chat, warm, dialect)
        after = session.outbox.last_seq
        in_seq, detach = await submit(session, chat)
        return self._service.streams.open(
            read_turn(session, in_seq, after=after, dialect=dialect),
            headers=AI_SDK_HEADERS,
            when_cut="break",
            expires_at=principal.expires_at,
            on_end=detach,
        )

    async def _post_first(
        self, principal: Principal, session: Session, chat: ChatRequest, warm: HeadStart, dialect: Dialect
    ) -> Response:
        """Take a chat's first message, begin its answer here and stream it; the run goes on with it."""
        detach = session.outbox.attach()
        try:
            step, _ = await self._service.head_starts.begin(
                self._service.sessions,
                session,
                warm,
                cast("UIMessage", chat.message),
                client_data=chat.client_data,
            )
        except BaseException:
            detach()
            raise
        headers = {**AI_SDK_HEADERS, CHAT_ID_HEADER: quote(session.chat_id, safe="")}
        if principal.full and self._service.authority.mints:
            minted = self._service.authority.mint(session.chat_id, tenant=principal.tenant, agent=session.agent.id)
            headers[TOKEN_HEADER] = minted.token
        return self._service.streams.open(
            _read_from_first_step(session, step, Shown(dialect)),
            headers=headers,
            when_cut="break",
            expires_at=principal.expires_at,
            on_end=detach,
        )

    async def stream(self, request: Request) -> Response:
        """Replay the message under construction and go on live; 204 when nothing runs, also for an unknown chat."""
        principal, agent, chat_id = identify_chat(self._service, request, "read")
        dialect = parse_version(request.headers.get(VERSION_HEADER))
        session = await self._service.sessions.find_session(chat_id, tenant=principal.tenant)
        if session is None or session.agent.id != agent:
            return Response(status_code=204)
        frames = await resume(session, self._service.sessions.store, dialect=dialect)
        if frames is None:
            return Response(status_code=204)
        return self._service.streams.open(
            frames, headers=AI_SDK_HEADERS, when_cut="break", expires_at=principal.expires_at
        )

    async def stop(self, request: Request) -> Response:
        """Stop the turn that runs."""
        principal, agent, chat_id = identify_chat(self._service, request, "write")
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        check_agent_of(session, agent)
        appended = await session.inbox.stop()
        return json_response({"seq": appended.seq}, status=202)

    async def messages(self, request: Request) -> Response:
        """Return what a page shows before it streams; nothing for a chat that has not begun."""
        principal, agent, chat_id = identify_chat(self._service, request, "read")
        session = await self._service.sessions.find_session(chat_id, tenant=principal.tenant)
        if session is None:
            return json_response({"messages": [], "pending": [], "status": "idle", "cursor": 0})
        check_agent_of(session, agent)
        state = await session.load()
        return json_response(
            {
                "messages": state.messages,
                "pending": [waiting.to_json() for waiting in state.pending],
                "status": state.status,
                "cursor": state.cursor,
            }
        )


async def _read_from_first_step(session: Session, step: FirstStep, shown: Shown) -> AsyncIterator[bytes]:
    async with aclosing(cast("AsyncGenerator[list[StepChunk]]", step.read())) as batches:
        async for batch in batches:
            for data in writes([shown.show(chunk, body) for chunk, body in batch]):
                yield data
    behind = read_behind_seam(session, step.in_seq, after=step.after, shown=shown)
    async with aclosing(cast("AsyncGenerator[bytes]", behind)) as frames:
        async for data in frames:
            yield data
