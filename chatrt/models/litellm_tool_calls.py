"""Tool calls put together from the deltas providers really send.

Deltas of parallel calls interleave. Some providers give index 0 to every call, repeat the name or the id on each delta,
leave the id out after the first, or out altogether, or give two calls the same one. Which call a delta belongs to is
decided by, in this order: an id seen before, a new id, the index, the last call; and a name beside arguments where the
call so far is a complete JSON object opens another call.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from chatrt.ids import Ids
from chatrt.models.base import ModelPart
from chatrt.models.text_mender import TextMender

_SIGNATURE_SEPARATOR = "__thought__"
"""litellm hangs Gemini's signature on the id of the call with this between; other providers refuse ids that long."""

_SERVER_SIDE = "srvtoolu_"
"""How the ids of tools begin that Anthropic runs itself: nobody here is to answer those calls."""


class _Call:
    """One call while its deltas come in."""

    def __init__(self, call_id: str, given_id: str | None) -> None:
        self.id = call_id
        self.given_id = given_id
        self.name: str | None = None
        self.signature: str | None = None
        self.started = False
        self.done = False
        self.hidden = (given_id or "").startswith(_SERVER_SIDE)
        self._mender = TextMender()
        self._arguments: list[str] = []
        self._sent = 0

    def take(self, arguments: str) -> None:
        text = self._mender.mend(arguments)
        if text:
            self._arguments.append(text)

    def progress(self) -> list[ModelPart]:
        """Return the parts for what came in since; nothing before the name is known."""
        if self.hidden or self.done or self.name is None:
            return []
        parts: list[ModelPart] = []
        if not self.started:
            self.started = True
            parts.append({"type": "tool-input-start", "id": self.id, "toolName": self.name})
        parts += [{"type": "tool-input-delta", "id": self.id, "delta": text} for text in self._arguments[self._sent :]]
        self._sent = len(self._arguments)
        return parts

    def is_complete(self) -> bool:
        """Whether the arguments are a whole JSON object, to which nothing can be added."""
        text = "".join(self._arguments).strip()
        if not text.endswith("}"):
            return False
        try:
            return isinstance(json.loads(text), dict)
        except (ValueError, RecursionError):
            return False

    def finish(self) -> list[ModelPart]:
        """Return the last parts of the call; arguments that are no JSON go out as they are: the tool loop judges."""
        if self.hidden or self.done:
            return []
        self.name = self.name or ""
        self.take(self._mender.rest())
        parts = self.progress()
        self.done = True
        arguments = "".join(self._arguments)
        call: ModelPart = {
            "type": "tool-call",
            "toolCallId": self.id,
            "toolName": self.name,
            "input": arguments if arguments.strip() else "{}",
        }
        if self.signature:
            call["providerMetadata"] = {"google": {"thoughtSignature": self.signature}}
        return [*parts, {"type": "tool-input-end", "id": self.id}, call]


class ToolCallAssembler:
    """Assembles the tool calls of one model call.

    A call goes out as soon as the next one opens and it is complete, in order; the rest at the end.
    """

    def __init__(self, *, taken_ids: Collection[str], ids: Ids) -> None:
        self._ids = ids
        self._taken = set(taken_ids)
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[Any, _Call] = {}

    @property
    def count(self) -> int:
        """How many calls there are for the caller to answer."""
        return sum(not call.hidden for call in self._calls)

    def feed(self, delta: Any) -> list[ModelPart]:
        """Return the parts that this tool-call delta adds."""
        function = getattr(delta, "function", None)
        name: str | None = getattr(function, "name", None) or None
        arguments = _as_text(getattr(function, "arguments", None))
        given_id, _, signature = (getattr(delta, "id", None) or "").partition(_SIGNATURE_SEPARATOR)
        index: Any = getattr(delta, "index", None)
        parts: list[ModelPart] = []
        call = self._find(given_id or None, index, name, arguments)
        if call is None:
            parts += self._finish_complete()
            call = self._add(given_id or None)
        self._by_index[index] = call
        call.name = call.name or name
        call.signature = _signature(delta) or _signature(function) or signature or call.signature
        call.take(arguments)
        return parts + call.progress()

    def finish(self) -> list[ModelPart]:
        """Return what is left of every call."""
        return [part for call in self._calls for part in call.finish()]

    def _find(self, given_id: str | None, index: Any, name: str | None, arguments: str) -> _Call | None:
        """Return the call a delta continues, or None when it opens one."""
        call = self._by_id.get(given_id) if given_id else self._by_index.get(index)
        if given_id and call is None:
            before = self._by_index.get(index)
            if before is None or before.given_id or name:
                return None
            before.given_id = given_id  # an id that comes after its call: ours is out already
            self._by_id[given_id] = before
            return before
        if call is None:
            return None if name or not self._calls else self._calls[-1]
        if name and call.name and (name != call.name or (arguments and call.is_complete())):
            return None
        return call

    def _add(self, given_id: str | None) -> _Call:
        call_id = given_id or self._ids.new("call")
        if call_id in self._taken:
            call_id = self._ids.new("call")
        self._taken.add(call_id)
        call = _Call(call_id, given_id)
        self._calls.append(call)
        if given_id:
            self._by_id[given_id] = call
        return call

    def _finish_complete(self) -> list[ModelPart]:
        parts: list[ModelPart] = []
        for call in self._calls:
            if call.done or call.hidden:
                continue
            if call.name is None or not call.is_complete():
                break
            parts += call.finish()
        return parts


def _as_text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else json.dumps(arguments)


def _signature(holder: Any) -> str | None:
    fields: Mapping[str, Any] | None = getattr(holder, "provider_specific_fields", None)
    return fields.get("thought_signature") if fields else None
