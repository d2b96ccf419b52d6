"""Files of the chat in a prompt: named by their ids until the model is called, then put in by the turn that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from chatrt.file_urls import symbol_id
from chatrt.turn import find_current_turn
from chatrt.ui import ModelMessage


async def with_files(prompt: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Return a prompt with the files that it names; outside of a turn, with a note in the place of each.

    Raises:
        StoreError: If they cannot be read.
    """
    if not any(named_files(prompt)):
        return list(prompt)
    turn = find_current_turn()
    if turn is None or turn.files is None:
        return put_files(prompt, {})
    return await turn.files.fill(prompt)


def named_files(prompt: Sequence[ModelMessage]) -> Iterator[str]:
    """Yield the ids of the files that a prompt names, from its end to its beginning."""
    for message in reversed(prompt):
        content: Any = message["content"]
        if isinstance(content, list):
            for part in reversed(cast("list[Mapping[str, Any]]", content)):
                if (attachment_id := file_id(part)) is not None:
                    yield attachment_id


def file_id(part: Mapping[str, Any]) -> str | None:
    """Return the id of the file that a part of a model message names, or None."""
    if part.get("type") not in ("file", "reasoning-file"):
        return None
    data: Any = part.get("data")
    return symbol_id(cast("Mapping[str, Any]", data).get("url") if isinstance(data, Mapping) else data)


def put_files(prompt: Sequence[ModelMessage], found: Mapping[str, Mapping[str, Any]]) -> list[ModelMessage]:
    """Put what was found in the place of each file that is named.

    Args:
        prompt: Not changed; rows without files are shared with it.
        found: By id what a part becomes: keys that take the place of its own.
    """
    rows: list[ModelMessage] = []
    for message in prompt:
        content: Any = message["content"]
        if isinstance(content, list) and any(file_id(part) for part in cast("list[Any]", content)):
            changed = message.copy()
            changed["content"] = [_put(part, found) for part in cast("list[dict[str, Any]]", content)]
            message = changed
        rows.append(message)
    return rows


def _put(part: dict[str, Any], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    attachment_id = file_id(part)
    if attachment_id is None:
        return part
    name = part.get("filename") or "a file"
    new = found.get(attachment_id) or note(f"{name} was attached here and is no longer there")
    if new["type"] == "text":
        kept = {"providerOptions": part["providerOptions"]} if "providerOptions" in part else {}
        return {**new, **kept}
    return {**part, **new}


def note(text: str) -> dict[str, Any]:
    """Return what stands in a prompt for a file that cannot be shown."""
    return {"type": "text", "text": f"[{text}]"}
