"""Ids of texts and reasonings that stay unique in an answer of several model calls."""

from __future__ import annotations

from chatrt.ids import Ids


class PartIds:
    """Hands out ids: the model's own, unless an earlier block of the same kind has it (many providers count from 0)."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._used: dict[str, set[str]] = {"text": set(), "reasoning": set()}

    def reserve(self, kind: str, part_id: str) -> str:
        """Return an id for a new `text` or `reasoning` block that the model calls `part_id`."""
        used = self._used[kind]
        while part_id in used:
            part_id = self._ids.new(kind)
        used.add(part_id)
        return part_id
