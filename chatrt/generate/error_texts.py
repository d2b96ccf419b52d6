"""What is said of an error: everything to the model, only what is meant for people to the client (D11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatrt import codec
from chatrt.errors import InvalidToolInputError, ModelResponseError, NoSuchToolError, PublicError, ToolError

MASKED = "An error occurred."

OnError = Callable[[Exception], str]


def model_text(error: Exception) -> str:
    """Return what the model reads of a failed tool call: the exception's name and text, as the AI SDK writes them."""
    name = type(error).__name__
    if isinstance(error, InvalidToolInputError | NoSuchToolError):
        name = f"AI_{name}"
    return f"{name}: {error}"


def client_text(error: Exception, on_error: OnError | None) -> str:
    """Return what a client reads of an error.

    A `PublicError` and a `ToolError` carry a text written to be read and pass as they are. Everything else is `MASKED`,
    or what `on_error` makes of it.
    """
    if isinstance(error, PublicError):
        return error.message
    if isinstance(error, ToolError):
        return model_text(error)
    return MASKED if on_error is None else on_error(error)


def to_exception(value: Any) -> Exception:
    """Return what an `error` part holds as an exception."""
    if isinstance(value, Exception):
        return value
    return ModelResponseError(provider_text(value))


def provider_text(value: Any) -> str:
    """Return what a client reads of the failure of a tool that the provider ran: a text as it is, else its JSON."""
    return value if isinstance(value, str) else codec.dumps(value).decode()
