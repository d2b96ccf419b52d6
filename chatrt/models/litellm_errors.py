"""What went wrong upstream, in chatrt's errors: litellm wraps, renames and guesses, so the chain of causes is asked.

Exceptions are known by the names of their classes: none of litellm, openai, httpx and aiohttp is imported for this.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from chatrt.errors import (
    ModelAuthError,
    ModelError,
    ModelRateLimitError,
    ModelResponseError,
    ModelTimeoutError,
    ModelUnavailableError,
)

_MAX_REASON = 500
_TIMEOUTS = frozenset({"TimeoutException", "APITimeoutError", "TimeoutError", "ServerTimeoutError"})
_BROKEN = frozenset({"TransportError", "APIConnectionError", "ClientConnectionError", "ClientPayloadError", "OSError"})
_UNUSABLE = frozenset({"DecodingError", "ValueError", "TypeError", "LookupError", "AttributeError", "RecursionError"})
_EVENTS = {"rate_limit": 429, "overloaded": 529, "authentication": 401, "permission": 403, "invalid_request": 400}
"""What a word in the type of an error event means, as an HTTP status."""

_SECRETS = re.compile(
    r"""\b(?:sk|rk|pk|gsk|xai|hf|tvly|AKIA|AIza)[-_]?[\w*-]{6,}
    |(?<=bearer\s)[^\s'"]+
    |(?<=[?&]key=)[^\s&'"]+
    |(?<=api[-_]key)(?:['"]?\s*[=:]\s*['"]?)[^\s'"&,}]+
    """,
    re.IGNORECASE | re.VERBOSE,
)


def model_error(error: BaseException, *, secrets: Collection[str] = ()) -> ModelError:
    """Return the `ModelError` that says what an exception out of litellm means.

    Its text is for logs and holds no keys: what looks like one, and each of `secrets`, is masked. Raise it `from None`,
    as the original has them in full. `provider_status` is set only where the provider really gave that status.
    """
    chain = _chain(error)
    outer: Any = getattr(error, "original_exception", None) or error
    status = _http_status(chain) or _code_in_stream(chain)
    kind = _by_status(status) if status is not None else _by_cause(outer, chain)
    return kind(f"{type(outer).__name__}: {mask_secrets(str(outer), secrets)[:_MAX_REASON]}", provider_status=status)


def mask_secrets(text: str, secrets: Collection[str] = ()) -> str:
    """Return the text with `***` for everything that looks like a key or is one of `secrets`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _SECRETS.sub("***", text)


def _chain(error: BaseException) -> list[Any]:
    found: list[Any] = []
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or any(cause is known for known in found):
            continue
        found.append(cause)
        waiting += [getattr(cause, "original_exception", None), cause.__cause__, cause.__context__]
    return found


def _names(error: Any) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_litellms(error: Any) -> bool:
    """Whether litellm made it up: those carry a status, and a response, whether or not there was one."""
    return type(error).__module__.startswith("litellm.exceptions")


def _http_status(chain: list[Any]) -> int | None:
    for error in chain:
        if not _is_litellms(error) and _names(error) & {"HTTPStatusError", "APIStatusError"}:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if isinstance(status, int):
                return status
    return None


def _code_in_stream(chain: list[Any]) -> int | None:
    """Return the status in an error that came as an event, in a stream that had begun with 200."""
    codes = (str(getattr(error, "code", None)) for error in chain if _is_event(error))
    return next((int(code) for code in codes if code.isdecimal() and len(code) == 3), None)


def _is_event(error: Any) -> bool:
    return not _is_litellms(error) and "APIError" in _names(error)


def _by_status(status: int) -> type[ModelError]:
    match status:
        case 401 | 403:
            return ModelAuthError
        case 429:
            return ModelRateLimitError
        case 408:
            return ModelTimeoutError
        case _:
            return ModelUnavailableError if status >= 500 else ModelResponseError


def _by_cause(outer: Any, chain: list[Any]) -> type[ModelError]:
    names = {name for error in chain if not _is_litellms(error) for name in _names(error)}
    if names & _TIMEOUTS:
        return ModelTimeoutError
    if any(type(error).__name__ == "OpenAIError" and type(error).__module__.startswith("openai") for error in chain):
        return ModelAuthError  # before any request: no key was given
    for said in (str(getattr(error, "type", None)) for error in chain if _is_event(error)):
        for word, status in _EVENTS.items():
            if word in said:
                return _by_status(status)
    if names & _BROKEN:
        return ModelUnavailableError
    guess = getattr(outer, "status_code", None)
    if isinstance(guess, int) and "APIConnectionError" not in _names(outer):  # which is what litellm calls the unknown
        return _by_status(guess)
    return ModelResponseError if names & _UNUSABLE else ModelUnavailableError
