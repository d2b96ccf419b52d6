"""The branches of a reference session: all that was ever said and stored, and which of it stands (D14)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from tests.machine.history_rules import Failure, Message


@dataclass
class Said:
    """A message at its place: behind another one, or at the beginning. `name` is what the server made up for it."""

    name: str
    behind: int | None
    message: Message

    @property
    def id(self) -> str:
        return self.message["id"]


class Tree:
    """What was said, in the order in which it was, and the way through it that is the history."""

    def __init__(self, said: list[Said] | None = None, way: list[int] | None = None) -> None:
        self.said = said or []
        self.way = way or []

    def copy(self) -> Tree:
        return Tree([replace(one) for one in self.said], list(self.way))

    @property
    def history(self) -> list[Message]:
        return [self.said[place].message for place in self.way]

    def follow(self, history: list[Message], grown: Collection[str], name: Callable[[], str]) -> None:
        """Be the tree of a history: what is not there yet is new, but for messages that have grown in their places."""
        old, self.way = self.way, []
        for place, message in enumerate(history):
            behind = self.way[-1] if self.way else None
            there = old[place] if old[:place] == self.way and place < len(old) else None
            if there is not None and self.said[there].id == message["id"] in grown:
                self.said[there].message = message
            same = [n for n in self._behind(behind) if self.said[n].message == message]
            if not same:
                same = [len(self.said)]
                self.said.append(Said(name(), behind, message))
            self.way.append(there if there in same else same[0])

    def switch(self, wanted: str) -> None:
        """Go the way that leads through a message, down to what was said last below it.

        Raises:
            Failure: If nothing is called so.
        """
        found = [place for place in self.way if self.said[place].id == wanted]
        found = found or [place for place, one in enumerate(self.said) if one.id == wanted]
        found = found or [place for place, one in enumerate(self.said) if one.name == wanted]
        if not found:
            raise Failure("message-not-found")
        below = {found[-1]}
        for place, one in enumerate(self.said):
            if one.behind in below:
                below.add(place)
        step: int | None = max(below)
        self.way = []
        while step is not None:
            self.way.insert(0, step)
            step = self.said[step].behind

    def branches(self) -> list[tuple[str, list[str]]]:
        """For each message that stands and has alternatives: what all that is at its place is called."""
        meant = {one.id: place for place, one in enumerate(self.said)}
        meant |= {self.said[place].id: place for place in self.way}

        def called(place: int) -> str:
            one = self.said[place]
            return one.id if meant[one.id] == place else one.name

        alternatives = [(self.said[place].id, self._behind(self.said[place].behind)) for place in self.way]
        return [(message_id, list(map(called, places))) for message_id, places in alternatives if len(places) > 1]

    def _behind(self, behind: int | None) -> list[int]:
        return [place for place, one in enumerate(self.said) if one.behind == behind]


def stored_rows(tree: Tree) -> list[dict[str, Any]]:
    """What must be stored of it."""
    return [
        {"name": one.name, "behind": None if one.behind is None else tree.said[one.behind].name, "message": one.message}
        for one in tree.said
    ]
