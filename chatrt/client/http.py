"""The way to a session over HTTP: the native wire, with retries, one token refresh, and reading on after a break."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from chatrt.client.inputs import file_part
from chatrt.client.patience import Patience
from chatrt.client.records import ACCEPT_EVENTS, ACCEPT_FRAMES, read_batches
from chatrt.client.remote import RETRYABLE_STATUSES, error_from_response
from chatrt.client.transport import ChatState, NewFile, OutRecord
from chatrt.clock import Clock, SystemClock
from chatrt.codec import dumps
from chatrt.errors import AgentMismatchError, ForbiddenError, ServerUnavailableError
from chatrt.file_urls import own_url
from chatrt.packed import MAX_FRAME_BYTES
from chatrt.pending_messages import PendingMessage
from chatrt.ui import UIPart

Token = str | Callable[[], Awaitable[str]]

# The server sends something at least every 15 s, so silence for three times as long is a dead connection.
TIMEOUT = httpx.Timeout(connect=10.0, read=45.0, write=30.0, pool=None)
# A connection that lived this long was no failure to connect, even if nothing came over it.
A_LIFE = 10.0


class HTTPTransport:
    """Talks to a chatrt server.

    Args:
        base_url: Where the server is mounted, without `/v1`.
        token: Sent as bearer token; a callable is asked before the first request and once more after each 401.
        http: Used instead of an own client, and left open.
        timeout: Seconds to go on trying when the server cannot be reached or breaks off.
        frames: Ask for MessagePack frames, which cost both sides less; a server that does not speak them sends events.
        max_record_bytes: What one record of a stream may weigh; nothing behind a larger one is read.
        clock: What to wait by between the attempts.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: Token | None = None,
        http: httpx.AsyncClient | None = None,
        timeout: float = 30.0,
        frames: bool = True,
        max_record_bytes: int = MAX_FRAME_BYTES,
        clock: Clock | None = None,
    ) -> None:
        self._formats = ACCEPT_FRAMES if frames else ACCEPT_EVENTS
        self._max_record_bytes = max_record_bytes
        self._sessions_url = base_url.rstrip("/") + "/v1/sessions"
        self._ask_token = token
        self._token: str | None = token if isinstance(token, str) else None
        self._own_http = http is None
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT)
        self._timeout = timeout
        self._clock = clock or SystemClock()
        self._agent_id = ""

    # --- the contract

    @property
    def clock(self) -> Clock:
        return self._clock

    async def start(self, chat_id: str, agent_id: str, *, client_data: Any) -> bool:
        self._agent_id = agent_id
        body: dict[str, Any] = {"agent": agent_id, "chatId": chat_id}
        if client_data is not None:
            body["clientData"] = client_data
        try:
            response = await self._request("POST", self._sessions_url, chat_id, json=body)
        except ForbiddenError:
            # The token of one chat cannot create sessions, and need not when its chat is there.
            response = await self._request("GET", self._url(chat_id), chat_id)
            if response.json()["agent"] != agent_id:
                raise AgentMismatchError(chat_id, agent_id) from None
            return False
        return response.status_code == HTTPStatus.CREATED

    async def append(self, chat_id: str, body: Mapping[str, Any], *, part_id: str) -> int:
        headers = {"Idempotency-Key": part_id}
        response = await self._request("POST", self._url(chat_id, "in"), chat_id, json=dict(body), headers=headers)
        return int(response.json()["seq"])

    async def read(self, chat_id: str, *, after: int) -> AsyncGenerator[Sequence[OutRecord], None]:
        patience = Patience(self._clock, self._timeout)
        cursor = after
        while True:
            connected_at = self._clock.monotonic()
            at_least = 0.0
            try:
                async with (
                    self._connect(chat_id, cursor) as response,
                    aclosing(read_batches(response, cursor, max_bytes=self._max_record_bytes)) as batches,
                ):
                    async for batch in batches:
                        patience.progress()
                        yield batch
                        cursor = batch[-1].seq
            except httpx.TransportError as error:
                failure: Exception = error
            except _TryAgainError as error:
                failure, at_least = error.failure, error.at_least
            except ServerUnavailableError as error:
                failure = error
            else:
                failure = ServerUnavailableError("the server ended the stream")
            if self._clock.monotonic() - connected_at > A_LIFE:
                patience.progress()
            if not await patience.wait(at_least=at_least):
                raise _give_up(failure) from failure

    async def load(self, chat_id: str) -> ChatState:
        response = await self._request("GET", self._url(chat_id, "messages"), chat_id)
        body = orjson.loads(response.content)
        return ChatState(
            messages=body["messages"],
            cursor=body["cursor"],
            in_cursor=body["inCursor"],
            last_in_seq=body["lastInSeq"],
            status=body["status"],
            pending=[
                PendingMessage(in_seq=waiting["inSeq"], message=waiting["message"]) for waiting in body["pending"]
            ],
            branches=body.get("branches", {}),
        )

    async def upload(self, chat_id: str, file: NewFile) -> UIPart:
        headers = {"Content-Type": file.media_type or "application/octet-stream"}
        if file.filename is not None:
            headers["X-Filename"] = quote(file.filename, safe="")
        elif headers["Content-Type"] == "application/json":
            headers["X-Filename"] = ""  # without it, JSON asks for something else
        url = self._url(chat_id, "attachments")
        response = await self._request("POST", url, chat_id, content=file.data, headers=headers)
        body = orjson.loads(response.content)
        return file_part(own_url(chat_id, body["id"]), body["mediaType"], body.get("filename"))

    async def load_metadata(self, chat_id: str) -> dict[str, Any]:
        response = await self._request("GET", self._url(chat_id), chat_id)
        return orjson.loads(response.content)["metadata"]

    async def update_metadata(self, chat_id: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        response = await self._request("PATCH", self._url(chat_id), chat_id, json={"metadata": dict(patch)})
        return orjson.loads(response.content)["metadata"]

    async def close_session(self, chat_id: str, *, reason: str | None) -> None:
        body = {} if reason is None else {"reason": reason}
        await self._request("POST", self._url(chat_id, "close"), chat_id, json=body)

    async def aclose(self) -> None:
        """Close the HTTP client, if it is an own one."""
        if self._own_http:
            await self._http.aclose()

    # --- one request, peeled

    async def _request(
        self,
        method: str,
        url: str,
        chat_id: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send until it is answered: every request of this module may be repeated without harm."""
        patience = Patience(self._clock, self._timeout)
        all_headers = headers
        if json is not None:
            content = dumps(json)
            all_headers = {"Content-Type": "application/json", **(headers or {})}
        while True:
            at_least = 0.0
            try:
                request = self._http.build_request(method, url, content=content, headers=all_headers)
                response = await self._authorized(request, stream=False)
                return await self._accept(response, chat_id)
            except httpx.TransportError as error:
                failure: Exception = error
            except _TryAgainError as error:
                failure, at_least = error.failure, error.at_least
            if not await patience.wait(at_least=at_least):
                raise _give_up(failure) from failure

    @asynccontextmanager
    async def _connect(self, chat_id: str, cursor: int) -> AsyncGenerator[httpx.Response, None]:
        headers = {"Accept": self._formats, "Last-Event-ID": str(cursor)}
        request = self._http.build_request("GET", self._url(chat_id, "out"), headers=headers, timeout=TIMEOUT)
        response = await self._authorized(request, stream=True)
        try:
            yield await self._accept(response, chat_id, cursor)
        finally:
            await response.aclose()

    async def _authorized(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        """Send with the token; a refused one is asked for anew, once."""
        response = await self._send(request, stream=stream)
        if response.status_code == HTTPStatus.UNAUTHORIZED and callable(self._ask_token):
            await response.aclose()
            self._token = None
            response = await self._send(request, stream=stream)
        return response

    async def _send(self, request: httpx.Request, *, stream: bool) -> httpx.Response:
        if self._token is None and callable(self._ask_token):
            self._token = await self._ask_token()
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return await self._http.send(request, stream=stream)

    async def _accept(self, response: httpx.Response, chat_id: str, cursor: int = 0) -> httpx.Response:
        if response.is_success:
            return response
        await response.aread()
        failure = error_from_response(response, chat_id=chat_id, agent_id=self._agent_id, cursor=cursor)
        if response.status_code in RETRYABLE_STATUSES:
            raise _TryAgainError(failure, at_least=_retry_after(response))
        raise failure

    def _url(self, chat_id: str, *rest: str) -> str:
        # A segment of dots alone would be read as a step up the path.
        name = quote(chat_id, safe="") if chat_id.strip(".") else chat_id.replace(".", "%2E")
        return "/".join((self._sessions_url, name, *rest))


class _TryAgainError(Exception):
    """The server answered that this may work later."""

    def __init__(self, failure: Exception, *, at_least: float) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.at_least = at_least


def _give_up(failure: Exception) -> Exception:
    if isinstance(failure, httpx.TransportError):
        return ServerUnavailableError(f"the server cannot be reached: {failure or type(failure).__name__}")
    return failure


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
