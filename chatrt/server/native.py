"""The endpoints of the native wire, under `/v1/sessions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypedDict, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.errors import ForbiddenError, InvalidInputError, SessionNotFoundError
from chatrt.runtime import Session
from chatrt.server.auth import DEFAULT_TTL_SECONDS, SCOPES, Principal, Scope, SessionToken
from chatrt.server.errors import NO_STORE, json_response
from chatrt.server.limits import check_chat_id, check_title
from chatrt.server.service import Service
from chatrt.server.streams import HEADERS
from chatrt.stores import Recency, SessionStatus
from chatrt.wires.formats import choose_format
from chatrt.wires.log import look_up_tail
from chatrt.wires.native import append, parse_cursor, parse_part_id, read_out
from chatrt.wires.session_json import encode_place, parse_place, session_to_json, to_iso

DEFAULT_PAGE = 50
MAX_PAGE = 200
TITLE = "title"
JSON_LINES = "application/x-ndjson"


class _Only(TypedDict):
    """Which sessions are listed."""

    tenant: str
    agent: str | None
    status: SessionStatus | None
    parent: str | None
    limit: int


class NativeEndpoints:
    """Sessions over HTTP: make, look, say, read, end."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes; chat ids are whole segments."""
        session = "/v1/sessions/{chat_id:segment}"
        return [
            Route("/v1/sessions", self.create, methods=["POST"]),
            Route("/v1/sessions", self.index, methods=["GET"]),
            Route(session, self.get, methods=["GET"]),
            Route(session, self.update, methods=["PATCH"]),
            Route(session, self.delete, methods=["DELETE"]),
            Route(f"{session}/close", self.close, methods=["POST"]),
            Route(f"{session}/messages", self.messages, methods=["GET"]),
            Route(f"{session}/token", self.token, methods=["POST"]),
            Route(f"{session}/in", self.append, methods=["POST"]),
            Route(f"{session}/out", self.out, methods=["GET"]),
            Route(f"{session}/export", self.export, methods=["GET"]),
        ]

    # --- sessions

    async def create(self, request: Request) -> Response:
        """Create a session, or return the one that is there."""
        principal = self._service.authority.identify(request)
        self._service.check_open()
        body = _object(await self._service.read_body(request))
        agent = _string(body, "agent")
        if agent is None:
            raise InvalidInputError("the agent's id is missing", path="/agent")
        chat_id = body.get("chatId")
        if chat_id is not None:
            chat_id = check_chat_id(chat_id, path="/chatId")
        metadata = body.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise InvalidInputError("not an object", path="/metadata")
        if not principal.full:
            principal.require(chat_id or "", "write", agent=agent)
        check_metadata_rights(principal, cast("dict[str, Any]", metadata or {}))
        self._service.check_agent(agent)
        session, new = await self._open_session(principal, agent, chat_id, body)
        answer = session_to_json(session.row)
        if principal.full and self._service.authority.mints:
            answer |= _token_json(self._service.authority.mint(session.chat_id, agent=agent))
        return json_response(answer, status=201 if new else 200)

    async def _open_session(
        self, principal: Principal, agent: str, chat_id: str | None, body: dict[str, Any]
    ) -> tuple[Session, bool]:
        sessions, tenant = self._service.sessions, principal.tenant
        found = None if chat_id is None else await sessions.find_session(chat_id, tenant=tenant)
        if found is None and not principal.may_create(agent):
            raise SessionNotFoundError(chat_id or "")
        session = await sessions.start_session(
            agent, chat_id, tenant=tenant, client_data=body.get("clientData"), metadata=body.get("metadata")
        )
        return session, found is None

    async def index(self, request: Request) -> Response:
        """List sessions, ordered by chat id or by their last update."""
        principal = self._service.authority.identify(request)
        principal.require_full()
        query, by_update = request.query_params, _is_by_update(request.query_params.get("order"))
        limit = _limit(query.get("limit"))
        only = _Only(
            tenant=principal.tenant,
            agent=query.get("agent"),
            status=_status(query.get("status")),
            parent=query.get("parent"),
            limit=limit + 1,
        )
        if by_update:
            found = self._service.sessions.iter_recent_sessions(**only, after=parse_place(query.get("after")))
        else:
            found = self._service.sessions.iter_sessions(**only, after=query.get("after", ""))
        rows = [row async for row in found]
        answer: dict[str, Any] = {"sessions": [session_to_json(row) for row in rows[:limit]]}
        if len(rows) > limit:
            last = rows[limit - 1]
            answer["next"] = encode_place(Recency.of(last)) if by_update else last.key.chat_id
        return json_response(answer)

    async def get(self, request: Request) -> Response:
        """Return one session."""
        session = await self._session(request, "read")
        return json_response(session_to_json(await session.read_row()))

    async def update(self, request: Request) -> Response:
        """Lay a merge patch over the metadata; a session token may set the title and nothing else."""
        principal, chat_id = self._identify(request, "write")
        patch = _object(await self._service.read_body(request)).get("metadata")
        if not isinstance(patch, dict):
            raise InvalidInputError("not an object", path="/metadata")
        check_metadata_rights(principal, cast("dict[str, Any]", patch))
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        await session.update_metadata(cast("dict[str, Any]", patch))
        return json_response(session_to_json(session.row))

    async def close(self, request: Request) -> Response:
        """Close a session for good."""
        principal, chat_id = self._identify_full(request)
        body = _object(await self._service.read_body(request)) if await _has_body(request) else {}
        await self._service.sessions.close_session(chat_id, tenant=principal.tenant, reason=_string(body, "reason"))
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        return json_response(session_to_json(session.row))

    async def delete(self, request: Request) -> Response:
        """Remove a session with all it holds."""
        principal, chat_id = self._identify_full(request)
        if not await self._service.sessions.delete_session(chat_id, tenant=principal.tenant):
            raise SessionNotFoundError(chat_id)
        return Response(status_code=204, headers=NO_STORE)

    async def token(self, request: Request) -> Response:
        """Mint a session token for a browser."""
        principal, chat_id = self._identify_full(request)
        body = _object(await self._service.read_body(request)) if await _has_body(request) else {}
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        ttl = body.get("ttl", DEFAULT_TTL_SECONDS)
        if not isinstance(ttl, int) or isinstance(ttl, bool):
            raise InvalidInputError("an integer of seconds is expected", path="/ttl")
        scopes = body.get("scopes", list(SCOPES))
        if not isinstance(scopes, list) or not all(scope in SCOPES for scope in cast("list[Any]", scopes)):
            raise InvalidInputError("a list of read and write", path="/scopes")
        minted = self._service.authority.mint(
            chat_id, tenant=principal.tenant, agent=session.agent.id, scopes=cast("list[Scope]", scopes), ttl=ttl
        )
        return json_response({"token": minted.token, "expiresAt": to_iso(minted.expires_at)})

    # --- what is in them

    async def messages(self, request: Request) -> Response:
        """Return the messages and the cursors that belong to them."""
        session = await self._session(request, "read")
        state = await session.load()
        answer: dict[str, Any] = {
            "messages": state.messages,
            "pending": [waiting.to_json() for waiting in state.pending],
            "cursor": state.cursor,
            "inCursor": state.in_cursor,
            "lastInSeq": state.last_in_seq,
            "status": state.status,
        }
        if state.branches:
            answer["branches"] = state.branches
        return json_response(answer)

    async def append(self, request: Request) -> Response:
        """Append to the inbox; the answer means durable."""
        principal, chat_id = self._identify(request, "write")
        self._service.check_open()
        part_id = parse_part_id(request.headers.get("idempotency-key"))
        body = await self._service.read_body(request)
        if isinstance(body, dict) and cast("dict[str, Any]", body).get("kind") == "write":
            principal.require_full()  # what is written is read as the agent's own words
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        appended = await append(session, body, part_id=part_id)
        return json_response({"seq": appended.seq, "repeated": appended.repeated}, status=202)

    async def out(self, request: Request) -> Response:
        """Stream the outbox from a cursor on."""
        principal, chat_id = self._identify(request, "read")
        after = parse_cursor(request.headers.get("last-event-id") or request.query_params.get("after"))
        until = request.query_params.get("until")
        if until not in (None, "idle"):
            raise InvalidInputError("not `idle`", path="until")
        session = await self._service.sessions.get_session(chat_id, tenant=principal.tenant)
        await look_up_tail(session, after)
        form = choose_format(request.headers.get("accept"))
        return self._service.streams.open(
            read_out(session, self._service.sessions.store, form, after=after, until_idle=until == "idle"),
            headers={**HEADERS, "vary": "Accept"},
            media_type=form.media_type,
            heartbeat=form.heartbeat,
            when_cut="close",
            expires_at=principal.expires_at,
        )

    async def export(self, request: Request) -> Response:
        """Stream a whole session as lines of JSON."""
        principal, chat_id = self._identify_full(request)
        lines = self._service.sessions.export_session(chat_id, tenant=principal.tenant)
        first = await anext(lines)  # what is wrong with the session is told while there is still a status to tell
        return self._service.streams.open(
            _go_on(first, lines),
            headers={**NO_STORE, "content-disposition": 'attachment; filename="session.jsonl"'},
            media_type=JSON_LINES,
            heartbeat=b"",
            when_cut="break",
            expires_at=None,
        )

    # --- who asks

    def _identify(self, request: Request, scope: Scope) -> tuple[Principal, str]:
        principal = self._service.authority.identify(request)
        chat_id = check_chat_id(request.path_params["chat_id"], path="chat id")
        principal.require(chat_id, scope)
        return principal, chat_id

    def _identify_full(self, request: Request) -> tuple[Principal, str]:
        principal = self._service.authority.identify(request)
        principal.require_full()
        return principal, check_chat_id(request.path_params["chat_id"], path="chat id")

    async def _session(self, request: Request, scope: Scope) -> Session:
        principal, chat_id = self._identify(request, scope)
        return await self._service.sessions.get_session(chat_id, tenant=principal.tenant)


async def _go_on(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(cast("AsyncGenerator[bytes]", rest)) as pieces:
        yield first
        async for piece in pieces:
            yield piece


def check_metadata_rights(principal: Principal, metadata: dict[str, Any]) -> None:
    """Let a session token give a title and nothing else: what else stands there may be what the server goes by.

    Raises:
        ForbiddenError: If a session token gives anything else.
        InvalidInputError: If its title is none.
    """
    if principal.full:
        return
    if not metadata.keys() <= {TITLE}:
        raise ForbiddenError
    if metadata.get(TITLE) is not None:
        check_title(metadata[TITLE], path=f"/metadata/{TITLE}")


def _token_json(minted: SessionToken) -> dict[str, Any]:
    return {"token": minted.token, "tokenExpiresAt": to_iso(minted.expires_at)}


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInputError("not an object")
    return cast("dict[str, Any]", body)


def _string(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError("not a string", path=f"/{key}")
    return value


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_PAGE):
        raise InvalidInputError(f"not 1 to {MAX_PAGE}", path="limit")
    return int(text)


def _is_by_update(order: str | None) -> bool:
    if order not in (None, "chatId", "updated"):
        raise InvalidInputError("neither chatId nor updated", path="order")
    return order == "updated"


def _status(text: str | None) -> SessionStatus | None:
    match text:
        case None | "open" | "closed":
            return text
        case _:
            raise InvalidInputError("neither open nor closed", path="status")


async def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
