"""How a failure is told to a client: a stable code, a fixed text and an id that the log knows (D11).

The text of an exception stays in the log. Two kinds of text do cross: that of a `PublicError`, which was written for
people, and the reason of an `InvalidInputError`, which speaks of the client's own input.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatrt import codec
from chatrt.errors import (
    ChatrtError,
    InvalidInputError,
    InvalidTokenError,
    MethodNotAllowedError,
    NotFoundError,
    PublicError,
    UnauthorizedError,
    UnsatisfiableRangeError,
)
from chatrt.ids import Ids

logger = logging.getLogger("chatrt.server")

INTERNAL = "Something went wrong."

MESSAGES = {
    "agent-mismatch": "The chat belongs to another agent.",
    "agent-not-found": "There is no such agent.",
    "attachment-not-found": "There is no such file.",
    "conflict": "The request contradicts the present state.",
    "cursor-ahead": "The cursor is beyond the end of the log.",
    "forbidden": "The credentials do not allow this.",
    "input-quarantined": "The message could not be answered.",
    "internal-error": INTERNAL,
    "invalid-signature": "The signature is not valid.",
    "invalid-token": "The token is not valid.",
    "message-not-found": "There is no such message.",
    "model-auth": "The model is not available.",
    "model-error": "The model failed.",
    "model-rate-limit": "The model is busy; try again later.",
    "model-response": "The model failed.",
    "model-timeout": "The model did not answer in time.",
    "model-unavailable": "The model is not available.",
    "not-found": "There is nothing here.",
    "session-busy": "A turn is running.",
    "session-closed": "The chat is closed.",
    "session-not-found": "There is no such chat.",
    "shutting-down": "The server is restarting; try again.",
    "stale-epoch": "Another worker serves this chat now.",
    "store-error": "The store failed; nothing was written.",
    "store-locked": "The store is in use.",
    "store-unavailable": "The store is not available; nothing was written.",
    "sub-agent-deadlock": "The agents would wait for one another for ever.",
    "sub-agent-depth": "Too many agents would wait for one another.",
    "sub-agent-taken": "The chat id of a sub-agent is taken.",
    "turn-interrupted": "The answer was interrupted.",
    "unauthorized": "Credentials are needed.",
    "unreadable-record": "What is stored cannot be read.",
}
"""The text for each code that has one of its own; all other failures read `INTERNAL`."""

NO_STORE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
RETRY_AFTER_SECONDS = 1


def json_response(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON that no cache keeps and no browser takes for anything else."""
    return Response(
        codec.dumps(value),
        status_code=status,
        headers={**NO_STORE, **(headers or {})},
        media_type="application/json",
    )


def error_response(error: Exception, ids: Ids, *, debug: bool = False) -> Response:
    """Tell a failure to a client, and all of it to the log.

    Args:
        error: What was raised.
        ids: Makes the id that stands in both.
        debug: Add the exception's text under `detail`; for development only.
    """
    known, body = describe(error, ids, debug=debug)
    return json_response({"error": body}, status=known.status, headers=dict(error_headers(known)))


def describe(error: Exception, ids: Ids, *, debug: bool = False) -> tuple[ChatrtError, dict[str, str]]:
    """Tell a failure to the log; returns it as an error of ours, and what a client may know of it.

    Args:
        error: What was raised.
        ids: As in `error_response`.
        debug: The same.
    """
    error_id = ids.new("err")
    known = error if isinstance(error, ChatrtError) else ChatrtError(str(error))
    body = {"code": known.code, "message": public_text(known), "id": error_id}
    if known.status >= 500:
        logger.error("%s %s", error_id, known.code, exc_info=error)
    else:
        logger.info("%s %s", error_id, known.code)
    if debug:
        body["detail"] = f"{type(error).__name__}: {error}"
    return known, body


def public_text(error: ChatrtError) -> str:
    """Return what a client may read of an error."""
    if isinstance(error, PublicError):
        return error.message
    if isinstance(error, InvalidInputError):
        return str(error)
    return MESSAGES.get(error.code, INTERNAL)


def from_http_exception(error: HTTPException) -> Exception:
    """Return the error of ours that says what the router wants to say."""
    match error.status_code:
        case 404:
            return NotFoundError()
        case 405:
            return MethodNotAllowedError("the path exists, but not with this method")
        case _:
            return error


def error_headers(error: ChatrtError) -> Iterator[tuple[str, str]]:
    """Yield the headers that say more about a failure."""
    if isinstance(error, InvalidTokenError):
        yield "www-authenticate", 'Bearer error="invalid_token"'
    elif isinstance(error, UnauthorizedError):
        yield "www-authenticate", "Bearer"
    if error.retryable:
        yield "retry-after", str(RETRY_AFTER_SECONDS)
    if isinstance(error, UnsatisfiableRangeError):
        yield "content-range", f"bytes */{error.size}"
    if error.status == 408:
        yield "connection", "close"  # what is left of the body is not waited for


class ErrorBoundary:
    """Turns whatever is raised below it into an error answer, if no answer has begun."""

    def __init__(self, app: ASGIApp, ids: Ids, *, debug: bool = False) -> None:
        self._app = app
        self._ids = ids
        self._debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Exception as error:
            if begun:
                raise
            await error_response(error, self._ids, debug=self._debug)(scope, receive, send)
