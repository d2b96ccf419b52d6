"""The endpoints of the Trigger-compatible wire, under `/api/v1` and `/realtime/v1`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.errors import InvalidInputError, SessionClosedError, SessionNotFoundError
from chatrt.runtime import Session
from chatrt.server.ai_sdk import VERSION_HEADER
from chatrt.server.auth import Principal, Scope
from chatrt.server.errors import describe, error_headers, json_response
from chatrt.server.limits import check_chat_id
from chatrt.server.service import Service
from chatrt.server.streams import HEADERS
from chatrt.server.trigger_ids import chat_id_of, run_id
from chatrt.server.trigger_sessions import list_page, metadata_of, to_item, to_patch
from chatrt.server.trigger_tokens import CLAIMS, OPEN_TOKEN, TriggerTokens
from chatrt.wires.chunk_versions import parse_version
from chatrt.wires.native import parse_part_id
from chatrt.wires.trigger import find_cursor, find_settled, list_records, parse_window, read_settled, read_window
from chatrt.wires.trigger_input import StartRequest, append, boot, parse_start

STREAM_HEADERS = {**HEADERS, "x-stream-version": "v2"}
SETTLED_HEADER = "x-session-settled"

ALLOWED_HEADERS = ("x-part-id", "x-trigger-source", "x-trigger-branch", "timeout-seconds", "x-peek-settled")
"""What the published clients send from a page, beside what the other wires know."""

EXPOSED_HEADERS = ("x-stream-version", SETTLED_HEADER)
"""What they read."""

CODES = {"session-closed": "session_closed"}
"""Codes that these clients know by another name."""

DEFAULT_VERSION = "6"
"""What is assumed of clients that do not say theirs."""

SNAPSHOT_SECONDS = 60
MAX_REASON = 256

Endpoint = Callable[[Request], Awaitable[Response]]


class TriggerEndpoints:
    """What `TriggerChatTransport`, `AgentChat` and the rest of the published SDK call about chats.

    Args:
        service: What all endpoints share.
        debug: Tell clients the text of exceptions.
    """

    def __init__(self, service: Service, *, debug: bool = False) -> None:
        self._service = service
        self._debug = debug
        self._clock = service.sessions.clock
        self._tokens = TriggerTokens(service.authority, clock=self._clock, ids=service.sessions.ids)

    def routes(self) -> list[Route]:
        """Return the routes; chat ids are whole segments."""
        session = "/api/v1/sessions/{chat_id:segment}"
        realtime = "/realtime/v1/sessions/{chat_id:segment}"
        return [
            self._route("/api/v1/sessions", self.start, "POST"),
            self._route("/api/v1/sessions", self.index, "GET"),
            self._route(session, self.retrieve, "GET"),
            self._route(session, self.update, "PATCH"),
            self._route(f"{session}/close", self.close, "POST"),
            self._route(f"{session}/transcript", self.transcript, "GET"),
            self._route(f"{session}/snapshot-url", self.snapshot_url, "GET"),
            self._route(f"{session}/snapshot", self.snapshot, "GET"),
            self._route("/api/v1/auth/jwt/claims", self.claims, "POST"),
            self._route("/api/v1/auth/public-tokens", self.public_token, "POST"),
            self._route(f"{realtime}/in/append", self.append, "POST"),
            self._route(f"{realtime}/out", self.out, "GET"),
            self._route(f"{realtime}/out/records", self.records, "GET"),
        ]

    def _route(self, path: str, endpoint: Endpoint, method: str) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return self._refusal(error)

        return Route(path, answer, methods=[method], name=endpoint.__name__)

    # --- sessions

    async def start(self, request: Request) -> Response:
        """Create a session and start its run, or return the one that is there, silently."""
        principal = self._identify_full(request)
        self._service.check_open()
        body = await self._service.read_body(request)
        wanted = parse_start(body)
        if wanted.chat_id is not None:
            check_chat_id(wanted.chat_id, path="/externalId")
        self._service.check_agent(wanted.agent)
        session, new = await self._open_session(principal, wanted)
        if session.row.status == "closed":
            raise _ClosedError(session)
        answer = {
            **to_item(session.row),
            "runId": run_id(session.chat_id),
            "publicAccessToken": self._session_token(session, principal),
            "isCached": not new,
            "triggerConfig": wanted.config,
        }
        return json_response(answer, status=201 if new else 200)

    async def _open_session(self, principal: Principal, wanted: StartRequest) -> tuple[Session, bool]:
        sessions, tenant = self._service.sessions, principal.tenant
        found = None if wanted.chat_id is None else await sessions.find_session(wanted.chat_id, tenant=tenant)
        session = await sessions.start_session(
            wanted.agent,
            wanted.chat_id,
            tenant=tenant,
            client_data=wanted.payload.get("metadata"),
            metadata=metadata_of(wanted),
        )
        # Also when it was there: whoever made it may have died before its run was asked for, or is about to ask.
        if session.row.status == "open" and (await session.position()).last_in_seq == 0:
            await boot(session, wanted.payload)
        return session, found is None

    def _session_token(self, session: Session, principal: Principal) -> str:
        authority = self._service.authority
        if not authority.mints:
            return OPEN_TOKEN
        return authority.mint(session.chat_id, tenant=principal.tenant, agent=session.agent.id).token

    async def index(self, request: Request) -> Response:
        """List sessions."""
        principal = self._identify_full(request)
        sessions = self._service.sessions
        return json_response(await list_page(sessions, principal.tenant, request.query_params, self._clock.now()))

    async def retrieve(self, request: Request) -> Response:
        """Return one session."""
        session = await self._session_of_server(request)
        return await self._item(session)

    async def update(self, request: Request) -> Response:
        """Change the metadata and the tags of a session."""
        session = await self._session_of_server(request)
        body = _object(await self._service.read_body(request))
        await session.update_metadata(to_patch(await session.read_row(), body))
        return await self._item(session)

    async def close(self, request: Request) -> Response:
        """Close a session for good, and stop what runs."""
        session = await self._session_of_server(request)
        reason = _object(await self._service.read_body(request) if _has_body(request) else {}).get("reason")
        if reason is not None and (not isinstance(reason, str) or len(reason) > MAX_REASON):
            raise InvalidInputError(f"not a string of at most {MAX_REASON} characters", path="/reason")
        if session.row.status == "open":
            await self._stop_and_close(session, reason)
        return await self._item(session)

    async def _item(self, session: Session) -> Response:
        # From the store: what is kept in memory does not know when the session was last used.
        return json_response(to_item(await session.read_row()))

    async def _stop_and_close(self, session: Session, reason: str | None) -> None:
        running = await session.find_running()
        if running is not None:
            try:
                await session.inbox.stop(in_seq=running, reason=reason)
            except SessionClosedError:
                return  # somebody was faster, and his reason stays
        await self._service.sessions.close_session(session.chat_id, tenant=session.key.tenant, reason=reason)

    # --- what is in them

    async def transcript(self, request: Request) -> Response:
        """Return a page of messages, the newest last, and the cursors that belong to all of them."""
        session = await self._session_of_server(request)
        limit, before = _limit(request.query_params.get("limit")), request.query_params.get("before")
        state = await session.load()
        messages = state.messages
        if before is not None:
            places = [index for index, message in enumerate(messages) if message["id"] == before]
            messages = messages[: places[0]] if places else []
        page = messages[-limit:] if limit else messages
        answer: dict[str, Any] = {
            "messages": page,
            "cursors": {"lastOutEventId": str(state.cursor), "lastInEventId": str(state.in_cursor)},
        }
        if len(page) < len(messages):
            answer["nextCursor"] = page[0]["id"]
        return json_response(answer)

    async def snapshot_url(self, request: Request) -> Response:
        """Return an address that the messages can be fetched from, for a minute and without other credentials."""
        session = await self._session_of_server(request)
        url = f"{request.base_url}api/v1/sessions/{quote(session.chat_id, safe='')}/snapshot"
        authority = self._service.authority
        if authority.mints:
            minted = authority.mint(
                session.chat_id,
                tenant=session.key.tenant,
                agent=session.agent.id,
                scopes=["read"],
                ttl=SNAPSHOT_SECONDS,
            )
            url += f"?token={minted.token}"
        return json_response({"presignedUrl": url})

    async def snapshot(self, request: Request) -> Response:
        """Return all messages and the cursors that belong to them."""
        token = request.query_params.get("token")
        if token is None or not self._service.authority.mints:
            principal = self._identify(request)
        else:
            principal = self._tokens.verify(token)
        state = await (await self._session(request, principal, "read")).load()
        return json_response(
            {
                "version": 1,
                "savedAt": int(self._clock.now() * 1000),
                "messages": state.messages,
                "lastOutEventId": str(state.cursor),
                "lastInEventId": str(state.in_cursor),
            }
        )

    async def append(self, request: Request) -> Response:
        """Append to the inbox; the answer means durable."""
        principal = self._identify(request)
        principal.require(_chat_id(request), "write")
        self._service.check_open()
        part_id = parse_part_id(request.headers.get("x-part-id"))
        body = await self._service.read_body(request)
        session = await self._session(request, principal, "write")
        try:
            appended = await append(session, body, part_id=part_id)
        except SessionClosedError:
            raise _ClosedError(session) from None
        return json_response({"ok": True, "seq": appended.seq})

    async def out(self, request: Request) -> Response:
        """Stream the outbox from a cursor on, until nothing came for a while, or up to its end where all is settled."""
        principal = self._identify(request)
        session = await self._session(request, principal, "read")
        dialect = parse_version(request.headers.get(VERSION_HEADER, DEFAULT_VERSION))
        after = await find_cursor(session, request.headers.get("last-event-id"))
        headers = STREAM_HEADERS
        # The stream of a closed session ends as well: nothing comes after what is left.
        peeks = request.headers.get("x-peek-settled") == "1" or session.row.status == "closed"
        settled = await find_settled(session, self._service.sessions.store) if peeks else None
        if settled is not None:
            headers = {**headers, SETTLED_HEADER: "true"}
            frames = read_settled(session, after=after, until=settled, dialect=dialect, clock=self._clock)
        else:
            window = parse_window(request.headers.get("timeout-seconds"))
            frames = read_window(session, after=after, window=window, dialect=dialect, clock=self._clock)
        return self._service.streams.open(frames, headers=headers, when_cut="close", expires_at=principal.expires_at)

    async def records(self, request: Request) -> Response:
        """Return what is in the outbox now."""
        principal = self._identify(request)
        session = await self._session(request, principal, "read")
        after = await find_cursor(session, request.query_params.get("afterEventId"))
        dialect = parse_version(request.headers.get(VERSION_HEADER, DEFAULT_VERSION))
        return json_response({"records": await list_records(session, after=after, dialect=dialect)})

    # --- tokens

    async def claims(self, request: Request) -> Response:
        """Return what the SDK puts into a token that it signs itself."""
        self._identify_full(request)
        return json_response(CLAIMS)

    async def public_token(self, request: Request) -> Response:
        """Make a token."""
        self._identify_full(request)
        body = _object(await self._service.read_body(request))
        return json_response({"token": self._tokens.mint(body)})

    # --- who asks

    def _identify(self, request: Request) -> Principal:
        return self._service.authority.identify(request, verify=self._tokens.verify)

    def _identify_full(self, request: Request) -> Principal:
        principal = self._identify(request)
        principal.require_full()
        return principal

    async def _session(self, request: Request, principal: Principal, scope: Scope) -> Session:
        chat_id = _chat_id(request)
        principal.require(chat_id, scope)
        return await self._service.sessions.get_session(chat_id, tenant=principal.tenant)

    async def _session_of_server(self, request: Request) -> Session:
        principal = self._identify_full(request)
        return await self._service.sessions.get_session(_chat_id(request), tenant=principal.tenant)

    # --- refusals

    def _refusal(self, error: Exception) -> Response:
        known, told = describe(error, self._service.sessions.ids, debug=self._debug)
        body: dict[str, Any] = {
            "ok": False,
            "error": told["message"],
            "code": CODES.get(known.code, known.code),
            "id": told["id"],
        }
        if "detail" in told:
            body["detail"] = told["detail"]
        if isinstance(error, _ClosedError):
            body["closedReason"] = error.reason
        # Clients try a conflict again and again, for nine seconds, unless they are told.
        headers = {**dict(error_headers(known)), "x-should-retry": "true" if known.retryable else "false"}
        return json_response(body, status=known.status, headers=headers)


class _ClosedError(SessionClosedError):
    """The session is closed, and why."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.chat_id)
        self.reason = session.row.closed_reason


def _chat_id(request: Request) -> str:
    name: str = request.path_params["chat_id"]
    chat_id = chat_id_of(name)
    if chat_id is None:
        raise SessionNotFoundError(name)
    return check_chat_id(chat_id, path="chat id")


def _limit(text: str | None) -> int:
    """Read how many messages are wanted; 0 for all."""
    if text is None:
        return 0
    if not (text.isascii() and text.lstrip("-").isdigit() and len(text) <= 9):
        raise InvalidInputError("not an integer", path="limit")
    return max(int(text), 0)


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInputError("not an object")
    return cast("dict[str, Any]", body)


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
