"""What a request may weigh and how long it may take, and the reading of bodies under these limits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from chatrt import codec
from chatrt.errors import InvalidInputError, RequestTimeoutError, TooLargeError, UnsupportedTypeError

MAX_CHAT_ID = 256
MAX_TITLE = 256
MAX_SECONDS_PER_TOKEN = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(codec.Limits):
    """What one request may take. The sizes of a body come from `chatrt.codec.Limits`.

    Attributes:
        body_seconds: How long a body may take to arrive.
        send_seconds: How long a reader may leave a write untaken before its stream is cut.
        stream_seconds: How long one stream lives; a reader goes on with its cursor.
        history_factor: How many times larger a body may be on the wire whose clients always send their history along.
            What is new in it has the plain limits.
    """

    body_seconds: float = 30.0
    send_seconds: float = 30.0
    stream_seconds: float = 30 * 60.0
    history_factor: int = 8


async def read_json(request: Request, limits: Limits) -> Any:
    """Read a JSON body; never holds more than the limit of it.

    Raises:
        UnsupportedTypeError: If it is not `application/json`; browsers send that across origins only when asked first.
        TooLargeError: If it is too long, too deep or has too many values.
        RequestTimeoutError: If it does not arrive in time.
        InvalidJSONError: If it is no JSON that every store and client can carry.
    """
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        raise UnsupportedTypeError("the body must be application/json", path="content-type")
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise UnsupportedTypeError("JSON is UTF-8", path="content-type")
    body = await read_bytes(request, max_bytes=limits.bytes, seconds=limits.body_seconds)
    return codec.load_checked(body, limits)


async def read_bytes(request: Request, *, max_bytes: int, seconds: float) -> bytes:
    """Read a body as it is; never holds more than the limit of it.

    Raises:
        TooLargeError: If it is too long.
        RequestTimeoutError: If it does not arrive in time.
    """
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > max_bytes:
        raise TooLargeError(f"more than {max_bytes} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > max_bytes:
                    raise TooLargeError(f"more than {max_bytes} bytes")
    except TimeoutError:
        raise RequestTimeoutError(f"the body took more than {seconds:g} s") from None
    return bytes(body)


def check_chat_id(chat_id: object, *, path: str) -> str:
    """Return the chat id if it is one: 1 to 256 characters, none of them a control character.

    Raises:
        InvalidInputError: If it is not.
    """
    if not isinstance(chat_id, str) or not 1 <= len(chat_id) <= MAX_CHAT_ID:
        raise InvalidInputError(f"a chat id is a string of 1 to {MAX_CHAT_ID} characters", path=path)
    if not all(character.isprintable() for character in chat_id):
        raise InvalidInputError("a chat id has no control characters", path=path)
    return chat_id


def check_title(title: object, *, path: str) -> None:
    """Make sure that something is a title: 1 to 256 characters, none of them a control character.

    Raises:
        InvalidInputError: If it is not.
    """
    if not isinstance(title, str) or not 1 <= len(title) <= MAX_TITLE or not title.isprintable():
        raise InvalidInputError(f"a title is a string of 1 to {MAX_TITLE} printable characters", path=path)
