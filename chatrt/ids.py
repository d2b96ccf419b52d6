"""Ids: one door for everything that needs a fresh name."""

from __future__ import annotations

import secrets
from typing import Protocol

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_LENGTH = 16
_HOW_MANY = len(ALPHABET) ** _LENGTH


class Ids(Protocol):
    """Makes ids that never repeat within one deployment."""

    def new(self, prefix: str) -> str:
        """Return a fresh id that starts with `prefix` and an underscore."""
        ...


class RandomIds:
    """Ids with 95 random bits, safe to show, to sort into URLs and to use across processes."""

    def new(self, prefix: str) -> str:
        # One draw, and its digits: to draw every letter by itself takes five times as long.
        rest = secrets.randbelow(_HOW_MANY)
        letters: list[str] = []
        for _ in range(_LENGTH):
            rest, digit = divmod(rest, len(ALPHABET))
            letters.append(ALPHABET[digit])
        return f"{prefix}_{''.join(letters)}"


class CountingIds:
    """Predictable ids (`msg_1`, `msg_2`, ...) for tests and recorded transcripts."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def new(self, prefix: str) -> str:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}_{self._counts[prefix]}"
