"""What the real session shows, in the words of the reference, and the comparison of the two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.machine.history_rules import INJECTED

PART_KEYS = ("type", "toolCallId", "state", "text", "input", "output", "errorText", "approval")
RESULTS = {"text", "json"}


class Names:
    """Which made-up id of the runtime stands for which name of the reference; each for one."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def real(self, name: str) -> str:
        """The id a name stands for; one that the runtime has not shown yet is unknown to everybody."""
        return self._real.get(name, f"unknown {name}") if name.startswith("«") else name

    def check(self, expected: Any, actual: Any, where: str) -> None:
        """Assert that two values are the same up to names."""
        if isinstance(expected, str) and expected.startswith("«"):
            assert isinstance(actual, str), f"{where}: {expected} is {actual!r}"
            bound = self._real.setdefault(expected, actual), self._names.setdefault(actual, expected)
            assert bound == (actual, expected), f"{where}: {expected} is {bound[0]!r}, not {actual!r}"
        elif isinstance(expected, dict):
            assert isinstance(actual, dict), f"{where}: {expected!r} expected, {actual!r} found"
            assert expected.keys() == actual.keys(), f"{where}: {expected!r} expected, {actual!r} found"
            for key, value in expected.items():
                self.check(value, actual[key], f"{where}/{key}")
        elif isinstance(expected, list | tuple):
            same_length = isinstance(actual, list | tuple) and len(expected) == len(actual)
            assert same_length, f"{where}: {expected!r} expected, {actual!r} found"
            for index, value in enumerate(expected):
                self.check(value, actual[index], f"{where}/{index}")
        else:
            assert expected == actual, f"{where}: {expected!r} expected, {actual!r} found"


def normal_message(message: Any) -> dict[str, Any]:
    """A `UIMessage` as the reference writes it."""
    return {"id": message["id"], "role": message["role"], "parts": [_normal_part(part) for part in message["parts"]]}


def _normal_part(part: Any) -> dict[str, Any]:
    if part["type"] == INJECTED:
        texts = [message["text"] for message in part["data"]["messages"]]
        return {"type": INJECTED, "ids": part["data"]["messageIds"], "texts": texts}
    kept = {key: part[key] for key in PART_KEYS if key in part}
    if part.get("state") == "input-streaming":
        kept.pop("input", None)
    return kept


def normal_prompt(rows: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Model messages as the reference writes them, once they are known to be legal."""
    check_prompt(rows)
    normal: list[tuple[Any, ...]] = []
    for row in rows:
        if row["role"] == "user":
            normal.append(("user", "".join(part["text"] for part in row["content"])))
        elif row["role"] == "assistant":
            said = [
                ("text", part["text"]) if part["type"] == "text" else ("call", part["toolCallId"])
                for part in row["content"]
            ]
            normal.append(("assistant", said))
        else:
            outputs = {part["toolCallId"]: part["output"] for part in row["content"]}
            results = {call: out["value"] if out["type"] in RESULTS else "!" for call, out in outputs.items()}
            normal.append(("tool", results))
    return normal


def check_prompt(rows: Sequence[Any]) -> None:
    """Each call has exactly one result in the tool row behind it, no result stands alone, no row is empty."""
    open_calls: list[str] = []
    for row in rows:
        assert row["role"] in ("user", "assistant", "tool"), rows
        assert row["content"], rows
        if row["role"] != "tool":
            assert not open_calls, rows
        for part in row["content"]:
            if part["type"] == "tool-call":
                assert row["role"] == "assistant", rows
                open_calls.append(part["toolCallId"])
            elif part["type"] == "tool-result":
                assert row["role"] == "tool", rows
                assert part["toolCallId"] in open_calls, rows
                open_calls.remove(part["toolCallId"])
            else:
                assert part["type"] == "text", rows
    assert not open_calls, rows


def body_of(record: Any) -> dict[str, Any]:
    return json.loads(record.body)
