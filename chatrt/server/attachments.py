"""The endpoints of the native wire for files, under `/v1/sessions/{chatId}/attachments`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.errors import (
    AttachmentNotFoundError,
    ForbiddenError,
    InvalidAttachmentError,
    InvalidInputError,
    RequestTimeoutError,
    UnsupportedTypeError,
)
from chatrt.file_urls import own_url
from chatrt.media_types import filename_of_headers
from chatrt.server.auth import Principal, Scope
from chatrt.server.errors import NO_STORE, json_response
from chatrt.server.file_response import file_response
from chatrt.server.limits import check_chat_id
from chatrt.server.links import MAX_LINK_SECONDS, FileLink, FileLinks
from chatrt.server.service import Service
from chatrt.stores import Attachment, SessionKey

FILENAME_HEADER = "x-filename"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class AttachmentEndpoints:
    """Files over HTTP: send, announce, read, link, take away."""

    def __init__(self, service: Service, links: FileLinks) -> None:
        self._service = service
        self._links = links
        self._attachments = service.sessions.attachments

    def routes(self) -> list[Route]:
        """Return the routes."""
        files = "/v1/sessions/{chat_id:segment}/attachments"
        one = f"{files}/{{id:segment}}"
        return [
            Route(files, self.create, methods=["POST"]),
            Route(files, self.index, methods=["GET"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(f"{one}/complete", self.complete, methods=["POST"]),
            Route(f"{one}/link", self.link, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Take a file, or sign a request that sends one to the bucket."""
        key = await self._key(request, "write")
        self._service.check_open()
        headers = request.headers
        named = (headers.get(FILENAME_HEADER), headers.get("content-disposition"))
        kind = headers.get("content-type", "")
        if named == (None, None) and kind.partition(";")[0].strip().lower() == "application/json":
            return await self._announce(request, key)
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise UnsupportedTypeError("send the file as it is", path="content-encoding")
        row = await self._attachments.upload(
            key,
            self._pieces(request),
            media_type=kind,
            filename=filename_of_headers(*named),
            size=_length(headers.get("content-length")),
        )
        return json_response(self._to_json(request, key, row), status=201)

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body as it comes; a sender that is silent for too long is not waited for."""
        seconds = self._service.limits.body_seconds
        stream = request.stream()
        while True:
            try:
                async with asyncio.timeout(seconds):
                    piece = await anext(stream, None)
            except TimeoutError:
                raise RequestTimeoutError(f"nothing came for {seconds:g} s") from None
            if piece is None:
                return
            yield piece

    async def _announce(self, request: Request, key: SessionKey) -> Response:
        match await self._service.read_body(request):
            case {"mediaType": str(media_type), "size": int(size), **rest} if not isinstance(size, bool):
                filename, sha256 = _string(rest, "filename"), _string(rest, "sha256")
            case _:
                raise InvalidInputError("an object with a mediaType and a size is expected")
        if sha256 is not None and _SHA256.fullmatch(sha256) is None:
            raise InvalidInputError("64 hexadecimal digits in lower case are expected", path="/sha256")
        row, signed = await self._attachments.announce(
            key, media_type=media_type, size=size, filename=filename, sha256=sha256
        )
        upload = {
            "method": signed.method,
            "url": signed.url,
            "headers": dict(signed.headers),
            "expiresAt": _iso(signed.expires_at),
        }
        return json_response({**self._to_json(request, key, row), "upload": upload}, status=201)

    async def complete(self, request: Request) -> Response:
        """Look at what was sent to the bucket and make it ready."""
        key = await self._key(request, "write")
        self._service.check_open()
        row = await self._attachments.complete(key, request.path_params["id"])
        return json_response(self._to_json(request, key, row))

    async def index(self, request: Request) -> Response:
        """List the files of a chat."""
        key = await self._key(request, "read")
        rows = await self._attachments.find_all(key)
        return json_response({"attachments": [self._to_json(request, key, row) for row in rows]})

    async def get(self, request: Request) -> Response:
        """Answer with the file, or with where in the bucket it is."""
        token = request.query_params.get("token") if self._links.mints else None
        key = await self._key(request, "read") if token is None else self._linked(request, token)
        row = await self._attachments.get(key, request.path_params["id"])
        if row.in_bucket and request.method == "GET":
            signed = self._attachments.sign_download(key, row)
            headers = {**NO_STORE, "location": signed.url, "referrer-policy": "no-referrer"}
            return Response(status_code=307, headers=headers)
        return file_response(
            request,
            row,
            lambda start, stop: self._attachments.read(key, row, start=start, stop=stop),
            other_origins=token is not None,
            send_seconds=self._service.limits.send_seconds,
        )

    async def link(self, request: Request) -> Response:
        """Make a link that needs no credentials, for a short time."""
        key = await self._key(request, "read")
        body: Any = await self._service.read_body(request) if await _has_body(request) else {}
        ttl: Any = min(self._attachments.options.link_seconds, MAX_LINK_SECONDS)
        match body:
            case {"ttl": wanted}:
                ttl = wanted
            case dict():
                pass
            case _:
                raise InvalidInputError("not an object")
        if not isinstance(ttl, int) or isinstance(ttl, bool):
            raise InvalidInputError("an integer of seconds is expected", path="/ttl")
        row = await self._attachments.get(key, request.path_params["id"])
        url = _url(request, key, row)
        if not self._links.mints:
            return json_response({"url": url})  # whoever may ask may read: on this machine
        link = FileLink(tenant=key.tenant, chat_id=key.chat_id, attachment_id=row.id)
        token, expires_at = self._links.mint(link, ttl=ttl)
        return json_response({"url": f"{url}?token={token}", "expiresAt": _iso(expires_at)})

    async def delete(self, request: Request) -> Response:
        """Remove a file."""
        key = await self._key(request, "write")
        if not await self._attachments.delete(key, request.path_params["id"]):
            raise AttachmentNotFoundError(request.path_params["id"])
        return Response(status_code=204, headers=NO_STORE)

    # --- who asks

    async def _key(self, request: Request, scope: Scope) -> SessionKey:
        principal: Principal = self._service.authority.identify(request)
        chat_id = check_chat_id(request.path_params["chat_id"], path="chat id")
        principal.require(chat_id, scope)
        return (await self._service.sessions.get_session(chat_id, tenant=principal.tenant)).key

    def _linked(self, request: Request, token: str) -> SessionKey:
        link = self._links.read(token)
        named = (request.path_params["chat_id"], request.path_params["id"])
        if (link.chat_id, link.attachment_id) != named:
            raise ForbiddenError("the link is for another file")
        return SessionKey(link.tenant, link.chat_id)

    def _to_json(self, request: Request, key: SessionKey, row: Attachment) -> dict[str, Any]:
        value: dict[str, Any] = {
            "id": row.id,
            "url": _url(request, key, row),
            "mediaType": row.media_type,
            "size": row.size,
        }
        if row.filename is not None:
            value["filename"] = row.filename
        if row.sha256 is not None and row.status == "ready":
            value["sha256"] = row.sha256
        return value


def _url(request: Request, key: SessionKey, row: Attachment) -> str:
    return own_url(key.chat_id, row.id, root=str(request.scope.get("root_path", "")).rstrip("/"))


def _length(header: str | None) -> int | None:
    if header is None:
        return None
    if not (header.isascii() and header.isdigit() and len(header) < 20):
        raise InvalidAttachmentError("not a length", path="content-length")
    return int(header)


def _string(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError("not a string", path=f"/{key}")
    return value


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
