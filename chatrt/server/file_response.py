"""A file as an answer: the headers that keep it from doing harm, conditional requests, ranges, and its bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from chatrt.errors import UnsatisfiableRangeError
from chatrt.media_types import content_disposition, is_text
from chatrt.stores import Attachment

CACHE_SECONDS = 60
"""How long a browser may show a file without asking again; a deleted one is gone after that."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

Read = Callable[[int, int], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Some bytes of a file, the end not included."""

    start: int
    stop: int


def file_response(
    request: Request, row: Attachment, read: Read, *, other_origins: bool, send_seconds: float
) -> Response:
    """Answer a GET or HEAD for a file.

    Args:
        request: Its conditions and its range count.
        row: What is known of the file.
        read: Gives its bytes from a place to another.
        other_origins: Whether pages of other origins may embed it: those that a link was made for.
        send_seconds: How long a reader may leave a write untaken.

    Raises:
        UnsatisfiableRangeError: If the wanted range lies behind the end.
    """
    tag = f'"{row.sha256 or row.id}"'
    headers = _headers(row, tag, other_origins=other_origins)
    if _has_tag(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    part = None
    if request.headers.get("if-range") in (None, tag):
        part = parse_range(request.headers.get("range"), row.size)
    status = 200
    if part is None:
        part = ByteRange(0, row.size)
    else:
        status = 206
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{row.size}"
    headers["content-length"] = str(part.stop - part.start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return _Sent(read(part.start, part.stop), status_code=status, headers=headers, send_seconds=send_seconds)


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Read a `Range` header; None for all of the file, also where several ranges are asked for or it is no range.

    Raises:
        UnsatisfiableRangeError: If nothing of the file lies in it.
    """
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise UnsatisfiableRangeError(size)
    return ByteRange(start, stop)


def _headers(row: Attachment, tag: str, *, other_origins: bool) -> dict[str, str]:
    return {
        "content-type": f"{row.media_type}; charset=utf-8" if is_text(row.media_type) else row.media_type,
        "content-disposition": content_disposition(row.media_type, row.filename),
        "etag": tag,
        "accept-ranges": "bytes",
        "cache-control": f"private, max-age={CACHE_SECONDS}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cross-origin-resource-policy": "cross-origin" if other_origins else "same-origin",
        "referrer-policy": "no-referrer",
    }


def _has_tag(header: str | None, tag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or tag in {one.strip().removeprefix("W/") for one in header.split(",")}


class _Sent(StreamingResponse):
    """Gives up on a reader that takes nothing for too long."""

    def __init__(
        self, data: AsyncIterator[bytes], *, status_code: int, headers: dict[str, str], send_seconds: float
    ) -> None:
        super().__init__(data, status_code=status_code, headers=headers)
        self._send_seconds = send_seconds

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._send_seconds):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        await super().stream_response(send_in_time)
