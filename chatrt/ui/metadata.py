"""How message metadata of several chunks become one value (`mergeObjects` of ai 7.0.173)."""

from __future__ import annotations

from typing import Any, cast

from chatrt.ui.utf16 import split_surrogates

_SKIPPED_KEYS = frozenset({"__proto__", "constructor", "prototype"})


def merge_metadata(base: Any, incoming: Any) -> Any:
    """Return `base` with `incoming` merged over it; neither is changed.

    Objects merge key by key, at every depth; lists, plain values and null replace. A null as a whole is ignored.
    Metadata that are no object are legal but merge as JavaScript would have it: a text is an object of its characters,
    a number is an object without keys.

    Raises:
        TypeError: If something with keys is merged onto a text, a number or a boolean.
    """
    if incoming is None:
        return base
    if base is None:
        return incoming
    entries = {key: value for key, value in _entries(incoming).items() if key not in _SKIPPED_KEYS}
    if entries and not isinstance(base, dict | list):
        raise TypeError("metadata that are no object cannot be merged onto")
    merged = dict(_entries(base))
    for key, value in entries.items():
        present = merged.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            merged[key] = merge_metadata(present, value)
        else:
            merged[key] = value
    return merged


def _entries(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    if isinstance(value, str):
        return {str(index): unit for index, unit in enumerate(split_surrogates(value))}
    if isinstance(value, list):
        return {str(index): element for index, element in enumerate(cast("list[Any]", value))}
    return {}
