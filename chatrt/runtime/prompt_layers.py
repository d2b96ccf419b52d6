"""Prompt layers: what stands in the prompts of a session beside its messages, and where.

Summaries stand for everything up to their place (D9). Background messages stand at theirs. A place is named by a
message and a number of its parts: a branch without that message is without the layer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, cast

from chatrt.codec import clean_text, dumps, loads
from chatrt.compaction import CompactionLayer
from chatrt.errors import InvalidJSONError, UsageError
from chatrt.ui import ModelMessage, ModelRows, Segment, UIMessage, message_text

logger = logging.getLogger("chatrt.runtime")

KEPT_COMPACTIONS = 4
"""How many compactions are remembered: more than one, because people go back to before the last."""

INJECTED_LIMIT = 64
INJECTED_BYTES = 256 * 1024
"""How many background messages a session holds, and how large they are together as JSON. They are part of every commit;
the oldest go first."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a history.

    Attributes:
        message_id: The message.
        part_index: How many of its parts come before the place.
        text: Of a user message, a fingerprint of its text: one that was edited under its id is another message (D22).
    """

    message_id: str
    part_index: int
    text: str | None = None

    @classmethod
    def behind(cls, message: UIMessage) -> Place:
        """Return the place behind a message."""
        return cls(message["id"], len(message["parts"]), _fingerprint(message))

    def is_in(self, message: UIMessage) -> bool:
        """Tell whether the message, which has the id, still has the place."""
        return self.part_index <= len(message["parts"]) and self.text == _fingerprint(message)


@dataclass(frozen=True, slots=True)
class InjectedRows:
    """Background messages at their place."""

    place: Place
    messages: list[ModelMessage]


@dataclass(frozen=True, slots=True)
class PromptLayers:
    """All layers of a session; never changed, only replaced.

    Attributes:
        compactions: In the order in which they were made.
        injected: Background messages that have been shown.
        waiting: Background messages that wait for a place.
    """

    compactions: tuple[CompactionLayer, ...] = ()
    injected: tuple[InjectedRows, ...] = ()
    waiting: tuple[ModelMessage, ...] = ()

    # --- reading

    def segments(self, messages: Sequence[UIMessage]) -> list[Segment]:
        """Cut the whole history where the layers want it, and put their rows there.

        The rows are copies: what becomes of a prompt never comes back.
        """
        if not self.compactions and not self.injected:
            return list(messages)
        newest = {message["id"]: index for index, message in enumerate(messages)}
        segments: list[Segment] = []
        first = begin = 0
        place, compaction = self._furthest(messages)
        if compaction is not None:
            segments.append(ModelRows(deepcopy(compaction.messages)))
            first, begin = place, compaction.part_index
        for index in range(first, len(messages)):
            message = messages[index]
            rows = self._rows_in(message) if newest[message["id"]] == index else []
            segments.extend(_cut(message, begin if index == first else 0, rows))
        return segments

    def find_compaction(self, messages: Sequence[UIMessage]) -> CompactionLayer | None:
        """Return the compaction that holds for these messages."""
        return self._furthest(messages)[1]

    def _furthest(self, messages: Sequence[UIMessage]) -> tuple[int, CompactionLayer | None]:
        """Return the compaction that reaches furthest and the index of its message; looks no further back than that."""
        layers: dict[str, list[CompactionLayer]] = {}
        for layer in self.compactions:
            layers.setdefault(layer.message_id, []).append(layer)
        for index in range(len(messages) - 1 if layers else -1, -1, -1):
            message = messages[index]
            held = [
                layer
                for layer in layers.pop(message["id"], ())
                if message["role"] == "assistant" and layer.part_index <= len(message["parts"])
            ]
            if held:
                return index, max(reversed(held), key=lambda layer: layer.part_index)
        return -1, None

    def _rows_in(self, message: UIMessage) -> list[InjectedRows]:
        rows = [item for item in self.injected if item.place.message_id == message["id"] and item.place.is_in(message)]
        return sorted(rows, key=lambda item: item.place.part_index)

    # --- making others

    def with_compaction(self, layer: CompactionLayer) -> PromptLayers:
        """Return the layers with a new compaction."""
        return replace(self, compactions=(*self.compactions, layer)[-KEPT_COMPACTIONS:])

    def with_compactions(self, compactions: tuple[CompactionLayer, ...]) -> PromptLayers:
        """Return the layers with these compactions, as for an action that failed (D20)."""
        return self if compactions == self.compactions else replace(self, compactions=compactions)

    def without_parts(self, message_id: str, dropped: Sequence[int]) -> PromptLayers:
        """Return the layers for a message that lost the parts at these indexes: what stood behind them moves up."""
        if not dropped:
            return self

        def moved(part_index: int) -> int:
            return part_index - sum(index < part_index for index in dropped)

        return replace(
            self,
            compactions=tuple(
                replace(layer, part_index=moved(layer.part_index)) if layer.message_id == message_id else layer
                for layer in self.compactions
            ),
            injected=tuple(
                replace(item, place=replace(item.place, part_index=moved(item.place.part_index)))
                if item.place.message_id == message_id
                else item
                for item in self.injected
            ),
        )

    def with_waiting(self, messages: Sequence[ModelMessage]) -> PromptLayers:
        """Return the layers with background messages that wait for a place; the oldest go when there are too many."""
        return _bounded(replace(self, waiting=(*self.waiting, *messages)))

    def with_waiting_placed(self, place: Place) -> PromptLayers:
        """Return the layers with all background messages that wait at this place."""
        if not self.waiting:
            return self
        return replace(self, injected=(*self.injected, InjectedRows(place, list(self.waiting))), waiting=())

    def pruned(self, messages: Sequence[UIMessage]) -> PromptLayers:
        """Return the layers without the background messages that this history no longer shows a place of.

        They go when their message has left the active branch, and when a compaction stands for them. Costs as many
        messages as there are behind the oldest of those that are kept.
        """
        if not self.injected:
            return self
        first, compaction = self._furthest(messages)
        begin = 0 if compaction is None else compaction.part_index
        wanted = {item.place.message_id for item in self.injected}
        found: dict[str, int] = {}
        for index in range(len(messages) - 1, max(first, 0) - 1, -1):
            message_id = messages[index]["id"]
            if message_id in wanted:
                wanted.discard(message_id)
                found[message_id] = index
                if not wanted:
                    break
        kept = tuple(
            item
            for item in self.injected
            if (index := found.get(item.place.message_id)) is not None
            and item.place.is_in(messages[index])
            and (index > first or item.place.part_index >= begin)
        )
        return self if len(kept) == len(self.injected) else replace(self, injected=kept)

    # --- storing

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PromptLayers:
        """Read what `to_json` wrote; `{}` is a session without layers."""
        return cls(
            compactions=tuple(
                CompactionLayer(
                    summary=layer["summary"],
                    messages=layer["messages"],
                    message_id=layer["messageId"],
                    part_index=layer["partIndex"],
                )
                for layer in value.get("compactions", ())
            ),
            injected=tuple(
                InjectedRows(Place(item["messageId"], item["partIndex"], item.get("text")), item["messages"])
                for item in value.get("injected", ())
            ),
            waiting=tuple(value.get("waiting", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-shaped value, `{}` without layers."""
        value: dict[str, Any] = {}
        if self.compactions:
            value["compactions"] = [
                {
                    "summary": layer.summary,
                    "messages": layer.messages,
                    "messageId": layer.message_id,
                    "partIndex": layer.part_index,
                }
                for layer in self.compactions
            ]
        if self.injected:
            value["injected"] = [_injected_to_json(item) for item in self.injected]
        if self.waiting:
            value["waiting"] = list(self.waiting)
        return value


def checked_rows(messages: Any) -> list[ModelMessage]:
    """Return a copy of model messages that application code gave, fit to be stored.

    Raises:
        UsageError: If they are no list of model messages, UI messages for example, or too large.
    """
    if not isinstance(messages, list | tuple):
        raise UsageError(f"a list of model messages is expected, not a {type(messages).__name__}")
    rows = list(cast("Sequence[Any]", messages))
    for row in rows:
        _check_row(row)
    try:
        stored = dumps(clean_text(rows))
    except InvalidJSONError as error:
        raise UsageError(f"these model messages are not JSON-shaped: {error}") from None
    if len(stored) > INJECTED_BYTES:
        raise UsageError(f"these model messages have {len(stored)} bytes; at most {INJECTED_BYTES} are kept")
    return loads(stored)


def _check_row(row: Any) -> None:
    match row:
        case {"parts": _, **rest} if "content" not in rest:
            raise UsageError("these are UI messages; convert_to_model_messages makes model messages of them")
        case {"role": "system", "content": str()}:
            return
        case {"role": "user" | "assistant" | "tool" as role, "content": content}:
            if isinstance(content, str) and role != "tool":
                return
            parts = cast("list[Any]", content)
            if isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in parts):
                return
            raise UsageError(f"the content of a {role} message is a text or a list of parts")
        case _:
            raise UsageError("a model message has a role and a content")


def _cut(message: UIMessage, begin: int, rows: Iterable[InjectedRows]) -> Iterator[Segment]:
    """The message from a part on, cut where rows belong; the message itself where nothing is to be cut."""
    parts = message["parts"]
    at = begin
    for item in rows:
        place = item.place.part_index
        if place < begin:
            continue
        if place > at:
            yield {**message, "parts": parts[at:place]}
            at = place
        yield ModelRows(deepcopy(item.messages))
    if at == 0:
        yield message
    elif at < len(parts):
        yield {**message, "parts": parts[at:]}


def _injected_to_json(item: InjectedRows) -> dict[str, Any]:
    value: dict[str, Any] = {"messageId": item.place.message_id, "partIndex": item.place.part_index}
    if item.place.text is not None:
        value["text"] = item.place.text
    value["messages"] = item.messages
    return value


def _fingerprint(message: UIMessage) -> str | None:
    if message["role"] != "user":
        return None
    return sha256(message_text(message).encode("utf-8", "replace")).hexdigest()[:16]


def _bounded(layers: PromptLayers) -> PromptLayers:
    placed, waiting = list(layers.injected), list(layers.waiting)
    sizes = [len(dumps(item.messages)) for item in placed], [len(dumps(message)) for message in waiting]
    while placed and _too_many(sum(len(item.messages) for item in placed) + len(waiting), sum(map(sum, sizes))):
        del placed[0], sizes[0][0]
    while _too_many(len(waiting), sum(sizes[1])):
        del waiting[0], sizes[1][0]
    if len(placed) == len(layers.injected) and len(waiting) == len(layers.waiting):
        return layers
    logger.warning("too many background messages: the oldest are no longer shown")
    return replace(layers, injected=tuple(placed), waiting=tuple(waiting))


def _too_many(count: int, size: int) -> bool:
    return count > INJECTED_LIMIT or size > INJECTED_BYTES
