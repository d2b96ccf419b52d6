"""What the client's version of the `ai` package reads: chunk types, fields and values, from which version on.

One chunk that a stock client does not know ends its whole response, and early versions refuse unknown keys as well. So
each client is written to in its own dialect. The stock transports do not say which version they are; without the
header `x-chatrt-ai-sdk` a client gets what late v6 and v7 both read, and what v5 reads as long as no tool needs an
approval. What the versions accept was found by running them; `tests/conformance/ai_versions.json` has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from chatrt import codec
from chatrt.errors import InvalidInputError

Chunk = dict[str, Any]

DENIED = "Tool call execution denied."
"""How a denied call reads to a client that knows no denials; the words of the AI SDK."""

APPROVAL_DATA = "data-tool-approval-request"
"""The data chunk that stands for a request for an approval where the client knows none."""


class _Since(NamedTuple):
    """The first version of each line that reads something, by its last number; None if none does.

    The lines are kept side by side: 6.0.231 was published after 7.0.0 and reads more. Nothing was ever taken away.
    """

    v5: int | None = 0
    v6: int | None = 0
    v7: int | None = 0


_EVERYBODY = _Since()
_LATE = _Since(217, 231, 32)  # from there on unknown keys are let through, so every later field is, too

_TYPES: dict[str, _Since] = {
    "tool-input-error": _Since(7, 0, 0),
    "tool-approval-request": _Since(None, 0, 0),
    "tool-output-denied": _Since(None, 0, 0),
    "tool-approval-response": _Since(None, None, 0),
    "custom": _Since(None, None, 0),
    "reasoning-file": _Since(None, None, 0),
    "reset-step": _Since(None, None, 70),
    "steering-message": _Since(None, None, 163),
}
"""The types that not everybody reads."""

_TITLE = {"title": _Since(217, 0, 0)}
_TOOL_METADATA = {"toolMetadata": _Since(217, 176, 0)}
_OUTPUT = {"providerMetadata": _Since(217, 120, 0), **_TOOL_METADATA}

_YOUNGER: dict[str, dict[str, _Since]] = {
    "finish": {"finishReason": _Since(92, 0, 0)},
    "abort": {"reason": _Since(217, 15, 0)},
    "text-end": {"citations": _LATE},
    "tool-input-start": {"providerMetadata": _Since(217, 39, 0), "inputEncoding": _LATE, **_TITLE, **_TOOL_METADATA},
    "tool-input-available": {**_TITLE, **_TOOL_METADATA},
    "tool-input-error": {**_TITLE, **_TOOL_METADATA},
    "tool-approval-request": {
        "approvalDescriptor": _LATE,
        "inputSchemaInput": _LATE,
        "reason": _LATE,
        "isAutomatic": _Since(None, 231, 0),
        "signature": _Since(None, 202, 0),
    },
    "tool-output-available": {"preliminary": _Since(11, 0, 0), **_OUTPUT},
    "tool-output-error": _OUTPUT,
}
"""The fields that not everybody reads who reads the type."""

_PLAIN_OUTPUT_OF_DYNAMIC_CALL = _Since(None, 0, 0)
_BLOCK_BEYOND_STEP = _Since(None, None, 79)
_INTERRUPTED = _Since(None, None, 149)
_SECOND_MESSAGE = _Since(None, 304, 128)

_TOOL = ("providerExecuted", "providerMetadata", "toolMetadata", "dynamic")
_INPUT = ("toolCallId", "toolName", "title", *_TOOL)
_BLOCK = ("id", "providerMetadata")
_FILE = ("url", "mediaType", "providerMetadata")

_FIELDS: dict[str, tuple[str, ...]] = {
    "start": ("messageId", "messageMetadata"),
    "finish": ("finishReason", "messageMetadata"),
    "message-metadata": ("messageMetadata",),
    "abort": ("reason",),
    "error": ("errorText",),
    "start-step": (),
    "finish-step": (),
    "reset-step": (),
    "text-start": _BLOCK,
    "text-delta": (*_BLOCK, "delta"),
    "text-end": (*_BLOCK, "citations"),
    "reasoning-start": _BLOCK,
    "reasoning-delta": (*_BLOCK, "delta"),
    "reasoning-end": _BLOCK,
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "file": _FILE,
    "reasoning-file": _FILE,
    "custom": ("kind", "providerMetadata"),
    "tool-input-start": (*_INPUT, "inputEncoding"),
    "tool-input-delta": ("toolCallId", "inputTextDelta"),
    "tool-input-available": (*_INPUT, "input"),
    "tool-input-error": (*_INPUT, "input", "errorText"),
    "tool-approval-request": (
        "approvalId", "toolCallId", "approvalDescriptor", "inputSchemaInput", "reason", "isAutomatic", "signature"
    ),
    "tool-approval-response": ("approvalId", "approved", "reason", "providerExecuted", "providerMetadata"),
    "tool-output-available": ("toolCallId", "output", "preliminary", *_TOOL),
    "tool-output-error": ("toolCallId", "errorText", *_TOOL),
    "tool-output-denied": ("toolCallId",),
    "steering-message": ("id", "parts"),
}  # fmt: skip
"""Every chunk of ai 7.0.173 and its fields, without `type`."""

_DATA = frozenset({"type", "id", "data", "transient"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """What clients of one range of versions read. There is one object for each range, so that they share frames.

    Attributes:
        name: The first version of the range; `stock` for clients that do not say.
        fields: By chunk type, the keys that may stand in it.
        plain_outputs: Whether it finds a dynamic call without `dynamic` on its output.
        block_beyond_step: Whether a text or reasoning may go on behind the end of the step it was begun in.
        interrupted: Whether `interrupted` is a finish reason.
        second_message: Whether it takes a second `start` for another message while it resumes.
    """

    name: str
    fields: Mapping[str, frozenset[str]]
    plain_outputs: bool
    block_beyond_step: bool
    interrupted: bool
    second_message: bool

    def translate(self, chunk: Chunk) -> tuple[Chunk, ...]:
        """Return what says the same as this chunk, as far as it can be said: mostly the very same object."""
        kind: str = chunk["type"]
        if kind == "tool-approval-request" and chunk.get("isAutomatic") and "tool-approval-response" not in self.fields:
            return ()  # it would ask a person for what the policy has decided already
        fields = _DATA if kind.startswith("data-") else self.fields.get(kind)
        if fields is None:
            return tuple(said for other in _say_otherwise(chunk) for said in self.translate(other))
        if not chunk.keys() <= fields:
            chunk = {key: value for key, value in chunk.items() if key in fields}
        if kind == "finish" and not self.interrupted and chunk.get("finishReason") == "interrupted":
            return ({**chunk, "finishReason": "other"},)
        return (chunk,)


def _say_otherwise(chunk: Chunk) -> tuple[Chunk, ...]:
    """Say a chunk by others that everybody reads; nothing where no other words have its meaning."""
    match chunk["type"]:
        case "tool-input-error":
            # As a call whose input streamed: it settles it, and no client takes it for a call that it may carry out.
            call = {key: chunk[key] for key in ("toolCallId", "providerExecuted", "dynamic") if key in chunk}
            text = codec.dumps(chunk["input"]).decode()
            return (
                {"type": "tool-input-start", "toolName": chunk["toolName"], **call},
                {"type": "tool-input-delta", "toolCallId": chunk["toolCallId"], "inputTextDelta": text},
                {"type": "tool-output-error", "errorText": chunk["errorText"], **call},
            )
        case "tool-output-denied":
            return ({**chunk, "type": "tool-output-error", "errorText": DENIED},)
        case "tool-approval-request":
            asked = {key: value for key, value in chunk.items() if key != "type"}
            return ({"type": APPROVAL_DATA, "id": chunk["approvalId"], "data": asked},)
        case _:
            return ()


# --- from a version to its dialect ----------------------------------------------------------------------------------

_VERSION = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9})(?:\.([0-9]{1,9})(?:[-+][0-9A-Za-z.+-]*)?)?)?")
_NEWEST = 1 << 30
_LINES = (5, 6, 7)

_ALL = (
    *_TYPES.values(),
    *(since for fields in _YOUNGER.values() for since in fields.values()),
    _LATE,
    _PLAIN_OUTPUT_OF_DYNAMIC_CALL,
    _BLOCK_BEYOND_STEP,
    _INTERRUPTED,
    _SECOND_MESSAGE,
)
_BORDERS = {line: sorted({0, *(since[index] or 0 for since in _ALL)}) for index, line in enumerate(_LINES)}


def parse_version(header: str | None) -> Dialect:
    """Read the `x-chatrt-ai-sdk` header: a version such as `6.0.326`, or `7` for the newest of its line.

    A version that is newer than all we know reads what the newest one does. What follows a dash or a plus is not
    looked at.

    Raises:
        InvalidInputError: If it is not a version from 5 on.
    """
    if header is None:
        return STOCK
    found = _VERSION.fullmatch(header)
    if found is None or int(found[1]) < _LINES[0]:
        raise InvalidInputError("not a version of the ai package from 5 on", path="x-chatrt-ai-sdk")
    line, minor, patch = (_NEWEST if number is None else int(number) for number in found.groups())
    if line > _LINES[-1] or minor > 0:
        patch = _NEWEST
    line = min(line, _LINES[-1])
    return _dialect(line, max(border for border in _BORDERS[line] if border <= patch))


def all_dialects() -> list[Dialect]:
    """Return every dialect there is, each once."""
    return [STOCK, *(_dialect(line, border) for line, borders in _BORDERS.items() for border in borders)]


@cache
def _dialect(line: int, patch: int) -> Dialect:
    def reads(since: _Since) -> bool:
        first = since[_LINES.index(line)]
        return first is not None and first <= patch

    return Dialect(
        name=f"{line}.0.{patch}",
        fields={
            kind: frozenset({"type", *(key for key in fields if reads(_YOUNGER.get(kind, {}).get(key, _EVERYBODY)))})
            for kind, fields in _FIELDS.items()
            if reads(_TYPES.get(kind, _EVERYBODY))
        },
        plain_outputs=reads(_PLAIN_OUTPUT_OF_DYNAMIC_CALL),
        block_beyond_step=reads(_BLOCK_BEYOND_STEP),
        interrupted=reads(_INTERRUPTED),
        second_message=reads(_SECOND_MESSAGE),
    )


def _stock() -> Dialect:
    # What the newest v6 reads v7 reads, too. v5 reads it but for approvals, if outputs of dynamic calls say so. Nobody
    # shows the reason of an `abort`, and early versions refuse it.
    newest_6 = _dialect(6, _BORDERS[6][-1])
    return Dialect(
        name="stock",
        fields={**newest_6.fields, "abort": frozenset({"type"})},
        plain_outputs=False,
        block_beyond_step=newest_6.block_beyond_step,
        interrupted=newest_6.interrupted,
        second_message=False,
    )


STOCK = _stock()
"""For clients that do not say their version."""
