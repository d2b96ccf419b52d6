"""Cache breakpoints: marks in a prompt up to which Anthropic's models may keep it for the next call.

A model reads tools, then the system text, then the messages; what stands before a mark is read from the cache as long
as not one byte of it has changed. At most four marks count, and more never leave for Anthropic: the oldest ones on
messages are taken off first, see `chatrt.models.litellm_cache`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

from chatrt.errors import UsageError
from chatrt.tools import Tool
from chatrt.ui import ModelMessage

Ttl = Literal["5m", "1h"]

_APPROVALS = frozenset({"tool-approval-request", "tool-approval-response"})
_NAMES = ("cacheControl", "cache_control")


def cache_control(ttl: Ttl | None = None) -> dict[str, Any]:
    """Return the provider options of a breakpoint.

    Args:
        ttl: How long the cache lives without being read; five minutes if left out. Of two breakpoints the one that
            lives longer has to stand first.

    Raises:
        UsageError: If Anthropic has no such time.
    """
    if ttl is not None and ttl not in get_args(Ttl):
        raise UsageError(f"a cache lives for {' or '.join(get_args(Ttl))}, not {ttl!r}")
    return {"anthropic": {"cacheControl": {"type": "ephemeral", **({} if ttl is None else {"ttl": ttl})}}}


def cache_last_message(messages: Sequence[ModelMessage], *, ttl: Ttl | None = None) -> list[ModelMessage]:
    """Put a breakpoint on the last message that a model reads; for `prepare_messages` and `prepare_step`.

    Of the breakpoints before it the newest one stays, so that what the call before cached is found; the others are
    taken off. That leaves two for tools and system, whose breakpoints are not touched. Nothing of `messages` is
    changed.
    """
    result = list(messages)
    last = next((index for index in reversed(range(len(result))) if _is_read(result[index])), None)
    if last is None:
        return result
    result[last] = _marked(result[last], cache_control(ttl))
    found = False
    for index in reversed(range(last)):
        if result[index]["role"] != "system" and _is_marked(result[index]):
            result[index] = _with_newest_mark(result[index]) if not found else _unmarked(result[index])
            found = True
    return result


def cache_last_tool(tools: Sequence[Tool], *, ttl: Ttl | None = None) -> list[Tool]:
    """Put a breakpoint on the last tool: all tools are cached then. Their order has to stay the same."""
    if not tools:
        return []
    *others, last = tools
    return [*others, replace(last, provider_options=_merged(last.provider_options, cache_control(ttl)))]


# --- marks ----------------------------------------------------------------------------------------------------------


def _is_read(message: ModelMessage) -> bool:
    """Whether a model is shown anything of it: rows of approvals alone are the runtime's."""
    content: Any = message["content"]
    return bool(content) and (isinstance(content, str) or any(part["type"] not in _APPROVALS for part in content))


def _is_marked(message: ModelMessage) -> bool:
    return _has_mark(message) or any(_has_mark(part) for part in _parts(message))


def _has_mark(holder: Mapping[str, Any]) -> bool:
    options: Any = holder.get("providerOptions") or {}
    own: Any = options.get("anthropic") or {}
    return any(name in own for name in _NAMES)


def _parts(message: ModelMessage) -> list[dict[str, Any]]:
    return [] if isinstance(message["content"], str) else message["content"]


def _marked(message: ModelMessage, options: dict[str, Any]) -> ModelMessage:
    marked = _unmarked(message)
    marked["providerOptions"] = _merged(marked.get("providerOptions"), options)
    return marked


def _unmarked(message: ModelMessage) -> ModelMessage:
    bare = cast("ModelMessage", _without_mark(message))
    if parts := _parts(message):
        bare["content"] = [_without_mark(part) for part in parts]
    return bare


def _with_newest_mark(message: ModelMessage) -> ModelMessage:
    """Leave one mark: the message's own, which stands for its last part, else that of the last marked part."""
    bare = _unmarked(message)
    if "providerOptions" in message and _has_mark(message):
        bare["providerOptions"] = message["providerOptions"]
        return bare
    parts = _parts(message)
    newest = max(index for index, part in enumerate(parts) if _has_mark(part))
    bare["content"][newest] = parts[newest]
    return bare


def _without_mark(holder: Mapping[str, Any]) -> dict[str, Any]:
    if not _has_mark(holder):
        return dict(holder)
    options = dict(holder["providerOptions"])
    options["anthropic"] = {name: value for name, value in options["anthropic"].items() if name not in _NAMES}
    kept = {name: value for name, value in options.items() if value}
    rest = {name: value for name, value in holder.items() if name != "providerOptions"}
    return {**rest, "providerOptions": kept} if kept else rest


def _merged(options: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """Add options to others, provider by provider."""
    merged = dict(options or {})
    for provider, values in more.items():
        merged[provider] = {**merged.get(provider, {}), **values}
    return merged
