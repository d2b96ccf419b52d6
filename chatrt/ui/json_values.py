"""Tells whether a value is JSON, and whether a number is one that JavaScript counts with."""

from __future__ import annotations

import math
from typing import Any, cast

_MAX_SAFE_INTEGER = 2**53 - 1


def is_json(value: Any) -> bool:
    """Whether a value holds nothing but what JSON can say; walked with a stack, so that depth costs no recursion."""
    stack: list[object] = [value]
    while stack:
        entry = stack.pop()
        if isinstance(entry, list):
            stack.extend(cast("list[object]", entry))
        elif isinstance(entry, dict):
            entries = cast("dict[object, object]", entry)
            if not all(isinstance(key, str) for key in entries):
                return False
            stack.extend(entries.values())
        elif isinstance(entry, float):
            if not math.isfinite(entry):
                return False
        elif entry is not None and not isinstance(entry, str | int):
            return False
    return True


def is_index(value: Any) -> bool:
    """Whether a value is a whole number from 0 on; 1.0 is one too, as JSON knows only numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= _MAX_SAFE_INTEGER and value == value // 1
