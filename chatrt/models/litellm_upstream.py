"""One streamed call through litellm: opened, read chunk by chunk under time limits, and closed for real."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from functools import cache
from types import AsyncGeneratorType
from typing import Any, cast

from chatrt.errors import ModelError, ModelTimeoutError
from chatrt.models.litellm_errors import model_error

_CLOSE_TIMEOUT = 1.0
"""Seconds a provider's connection may take to close before it is left alone."""

_HOLDERS = (
    "completion_stream",
    "response",
    "_response",
    "streaming_response",
    "response_iterator",
    "stream",
    "_stream",
    "iterator",
    "_iterator",
)
"""Under these names litellm, openai and the streams of single providers hold what they read from."""


async def load_litellm() -> Any:
    """Import litellm, in a thread: it takes seconds the event loop does not have. Later calls cost nothing.

    It is told to keep to the files it came with instead of fetching prices and headers from the network, and not to
    print advice.
    """
    return await asyncio.to_thread(_import_litellm)


async def close_litellm() -> None:
    """Close the connections litellm keeps for later, if it was ever used; call it before the event loop ends."""
    litellm = sys.modules.get("litellm")
    if litellm is not None:
        await litellm.close_litellm_async_clients()


@cache
def _import_litellm() -> Any:
    for name in ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"):
        os.environ.setdefault(name, "True")
    litellm: Any = importlib.import_module("litellm")  # seconds and 150 MB: only who calls a model pays for it
    litellm.suppress_debug_info = True
    if gc.get_freeze_count():
        # A process that keeps what it started with out of the garbage collector's way, as `chatrt serve` does, does it
        # with this as well: a look through all of it would hold every stream up for a tenth of a second.
        gc.freeze()
    return litellm


class Upstream:
    """The provider's side of one model call.

    Args:
        arguments: Those of `litellm.acompletion`.
        first_byte_timeout: Seconds until the first chunk, connecting included; None waits for ever.
        idle_timeout: Seconds between two chunks; None waits for ever.
    """

    def __init__(
        self,
        litellm: Any,
        arguments: Mapping[str, Any],
        *,
        first_byte_timeout: float | None,
        idle_timeout: float | None,
    ) -> None:
        self._litellm = litellm
        self._arguments = arguments
        self._limit = first_byte_timeout
        self._idle_timeout = idle_timeout
        self._secrets = _secrets(arguments)
        self._stream: Any = None

    async def read(self) -> Any:
        """Return the next chunk, or None after the last one; the first call sends the request.

        Raises:
            ModelError: One of its subclasses: the request was refused, or the stream broke off or fell silent.
        """
        limit = self._limit
        timer = asyncio.timeout(limit)
        failure: ModelError
        try:
            async with timer:
                if self._stream is None:
                    self._stream = await self._litellm.acompletion(**self._arguments)
                chunk = await anext(cast("AsyncIterator[Any]", self._stream), None)
            self._limit = self._idle_timeout
        except Exception as error:
            if isinstance(error, TimeoutError) and timer.expired():
                failure = ModelTimeoutError(f"no answer for {limit:g} s")
            else:
                failure = model_error(error, secrets=self._secrets)
        else:
            return chunk
        raise failure  # out here, so that no log prints the original, keys and all, as its context

    @property
    def finish_reason(self) -> str | None:
        """The provider's own reason; None if it gave none, while litellm's last chunk says `stop` in any case."""
        said = getattr(self._stream, "received_finish_reason", None)
        return said or getattr(self._stream, "intermittent_finish_reason", None)

    @property
    def usage(self) -> Any:
        """The last usage the provider reported; None if it gave none, while litellm's last chunk has an estimate."""
        for chunk in reversed(getattr(self._stream, "chunks", None) or ()):
            if getattr(chunk, "usage", None) is not None:
                return chunk.usage
        return None

    async def aclose(self) -> None:
        """Drop the connection, so that the provider stops generating. Never raises an error, may be called twice."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        # litellm's own aclose reaches the socket with some providers only: with Anthropic's it ends at a generator.
        responses = find_responses(stream)
        for closable in (*responses, stream):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await closable.aclose()


def find_responses(stream: Any) -> list[Any]:
    """Return the httpx responses that a stream of litellm reads from, however deep it holds them."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting = [stream]
    while waiting:
        holder = waiting.pop()
        if holder is None or id(holder) in seen:
            continue
        seen.add(id(holder))
        if type(holder).__module__.startswith("httpx") and hasattr(holder, "aiter_bytes"):
            found.append(holder)
        elif isinstance(holder, AsyncGeneratorType):
            frame = cast("Any", holder).ag_frame  # `response.aiter_lines()` holds its response as a local only
            waiting += [] if frame is None else [frame.f_locals.get(name) for name in ("self", *_HOLDERS)]
        else:
            waiting += [getattr(holder, name, None) for name in _HOLDERS]
    return found


def _secrets(arguments: Mapping[str, Any]) -> Collection[str]:
    """Return the values of the settings that are keys by their names."""
    words = ("key", "token", "secret", "password", "authorization")
    headers: Mapping[str, Any] = arguments.get("extra_headers") or {}
    given = {**arguments, **headers}
    return [
        value
        for name, value in given.items()
        if isinstance(value, str) and len(value) >= 6 and any(word in name.lower() for word in words)
    ]
