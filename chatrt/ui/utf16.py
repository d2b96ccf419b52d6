"""Strings as JavaScript has them: sequences of UTF-16 units, where two halves side by side are one character."""

from __future__ import annotations

import re
from typing import Any, cast


def join_surrogates(text: str) -> str:
    """Return the text with each high half that stands before a low half joined to one character.

    JavaScript joins them by concatenating; Python keeps them apart. Halves that stay alone are left as they are.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def has_surrogates(text: str) -> bool:
    """Whether the text holds half a surrogate pair."""
    return join_surrogates(text) is not text


def join_surrogates_within(value: Any) -> Any:
    """Return a JSON-shaped value with the halves in all its strings, keys too, joined."""
    if isinstance(value, str):
        return join_surrogates(value)
    if isinstance(value, list):
        return [join_surrogates_within(element) for element in cast("list[Any]", value)]
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {join_surrogates(key): join_surrogates_within(element) for key, element in entries.items()}
    return value


def split_surrogates(text: str) -> str:
    """Return the text with each character beyond U+FFFF as two halves: one character for each UTF-16 unit."""
    return text if text.isascii() else _BEYOND_ONE_UNIT.sub(_halves, text)


_BEYOND_ONE_UNIT = re.compile("[\U00010000-\U0010ffff]")


def _halves(match: re.Match[str]) -> str:
    offset = ord(match.group()) - 0x10000
    return chr(0xD800 + (offset >> 10)) + chr(0xDC00 + (offset & 0x3FF))
