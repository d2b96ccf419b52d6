"""What a server's error answer means: its code becomes the exception that an in-process call would have raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import httpx
import orjson

from chatrt.errors import (
    AgentMismatchError,
    AgentNotFoundError,
    AttachmentLimitError,
    AttachmentNotFoundError,
    ChatrtError,
    ConflictError,
    CursorAheadError,
    ForbiddenChangeError,
    ForbiddenError,
    InvalidActionError,
    InvalidAttachmentError,
    InvalidChunkError,
    InvalidClientDataError,
    InvalidCursorError,
    InvalidInputError,
    InvalidJSONError,
    InvalidMessageError,
    InvalidTokenError,
    MessageNotFoundError,
    NotFoundError,
    RemoteError,
    ServerUnavailableError,
    SessionBusyError,
    SessionClosedError,
    SessionNotFoundError,
    ShuttingDownError,
    StoreError,
    StoreUnavailableError,
    TooLargeError,
    UnauthorizedError,
    UnsupportedTypeError,
    URLNotAllowedError,
)

FROM_TEXT: dict[str, Callable[[str], ChatrtError]] = {
    error.code: error
    for error in (
        InvalidInputError,
        InvalidJSONError,
        InvalidMessageError,
        InvalidChunkError,
        InvalidClientDataError,
        InvalidActionError,
        InvalidCursorError,
        ForbiddenChangeError,
        TooLargeError,
        UnsupportedTypeError,
        InvalidAttachmentError,
        AttachmentLimitError,
        AttachmentNotFoundError,
        URLNotAllowedError,
        NotFoundError,
        MessageNotFoundError,
        ConflictError,
        UnauthorizedError,
        InvalidTokenError,
        ForbiddenError,
        ShuttingDownError,
        StoreError,
        StoreUnavailableError,
    )
}

RETRYABLE_STATUSES = frozenset({408, 425, 429, 502, 503, 504})


def error_from_response(response: httpx.Response, *, chat_id: str, agent_id: str, cursor: int = 0) -> ChatrtError:
    """Return the exception for an error answer whose body has been read.

    Args:
        response: Its body should be `{"error": {"code", "message", "id"}}`; anything else is a `RemoteError`, or a
            `ServerUnavailableError` when the status says that somebody in between could not reach the server.
        chat_id: The chat that the request was about.
        agent_id: The agent that it was about.
        cursor: The cursor that it asked to read after.
    """
    error = _error_object(response)
    code = str(error.get("code", ""))
    message = str(error.get("message", "")) or f"the server answered {response.status_code}"
    match code:
        case SessionNotFoundError.code:
            return SessionNotFoundError(chat_id)
        case SessionClosedError.code:
            return SessionClosedError(chat_id)
        case SessionBusyError.code:
            return SessionBusyError(chat_id)
        case AgentNotFoundError.code:
            return AgentNotFoundError(agent_id)
        case AgentMismatchError.code:
            return AgentMismatchError(chat_id, agent_id)
        case CursorAheadError.code:
            return CursorAheadError(cursor, 0)
        case _ if code in FROM_TEXT:
            return FROM_TEXT[code](message)
        case _:
            error_class = ServerUnavailableError if response.status_code in RETRYABLE_STATUSES else RemoteError
            return error_class(
                message, remote_code=code, remote_status=response.status_code, error_id=str(error.get("id", ""))
            )


def _error_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    match body:
        case {"error": {**error}}:
            return cast("dict[str, Any]", error)
        case _:
            return {}
