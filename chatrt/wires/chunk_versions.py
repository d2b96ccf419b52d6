"""What the client's version of the `ai` package can read: chunk types and fields by major version.

One chunk of an unknown type ends the whole response in a stock client, so what a client may not know is left out. The
stock transports do not say which version they are; without `x-chatrt-ai-sdk` a client gets what v6 and v7 both read,
and what v5 reads as long as no tool needs an approval.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson

from chatrt import codec
from chatrt.errors import InvalidInputError
from chatrt.stores.base import Record
from chatrt.wires.frames import data_frame

Major = Literal["stock", "5", "6", "7"]

_TOOL = frozenset({"providerExecuted", "providerMetadata", "toolMetadata", "dynamic"})
_INPUT = _TOOL | {"toolCallId", "toolName", "title"}
_BLOCK = frozenset({"id", "providerMetadata"})
_FILE = frozenset({"url", "mediaType", "providerMetadata"})
_SOURCE = frozenset({"sourceId", "title", "providerMetadata"})
_STEP: frozenset[str] = frozenset()

# Fields by type, as ai 7.0.173 has them; `type` itself is understood.
_EVERYBODY: dict[str, frozenset[str]] = {
    "start": frozenset({"messageId", "messageMetadata"}),
    "finish": frozenset({"finishReason", "messageMetadata"}),
    "message-metadata": frozenset({"messageMetadata"}),
    "abort": frozenset({"reason"}),
    "error": frozenset({"errorText"}),
    "start-step": _STEP,
    "finish-step": _STEP,
    "text-start": _BLOCK,
    "text-delta": _BLOCK | {"delta"},
    "text-end": _BLOCK | {"citations"},
    "reasoning-start": _BLOCK,
    "reasoning-delta": _BLOCK | {"delta"},
    "reasoning-end": _BLOCK,
    "source-url": _SOURCE | {"url"},
    "source-document": _SOURCE | {"mediaType", "filename"},
    "file": _FILE,
    "tool-input-start": _INPUT | {"inputEncoding"},
    "tool-input-delta": frozenset({"toolCallId", "inputTextDelta"}),
    "tool-input-available": _INPUT | {"input"},
    "tool-input-error": _INPUT | {"input", "errorText"},
    "tool-output-available": _TOOL | {"toolCallId", "output", "preliminary"},
    "tool-output-error": _TOOL | {"toolCallId", "errorText"},
}
_SINCE_6: dict[str, frozenset[str]] = {
    "tool-approval-request": frozenset(
        {"approvalId", "toolCallId", "approvalDescriptor", "inputSchemaInput", "reason", "isAutomatic", "signature"}
    ),
    "tool-output-denied": frozenset({"toolCallId"}),
}
_SINCE_7: dict[str, frozenset[str]] = {
    "tool-approval-response": frozenset({"approvalId", "approved", "reason", "providerExecuted", "providerMetadata"}),
    "custom": frozenset({"kind", "providerMetadata"}),
    "reasoning-file": _FILE,
    "reset-step": _STEP,
    "steering-message": frozenset({"id", "parts"}),
}
_DATA = frozenset({"type", "id", "data", "transient"})


def _with_type(*tables: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return {kind: fields | {"type"} for table in tables for kind, fields in table.items()}


_FIELDS: dict[Major, dict[str, frozenset[str]]] = {
    "5": _with_type(_EVERYBODY),
    "stock": _with_type(_EVERYBODY, _SINCE_6),
    "6": _with_type(_EVERYBODY, _SINCE_6),
    "7": _with_type(_EVERYBODY, _SINCE_6, _SINCE_7),
}


def parse_major(header: str | None) -> Major:
    """Read the `x-chatrt-ai-sdk` header: a version such as `7` or `6.0.326`; `stock` when there is none.

    Raises:
        InvalidInputError: If it is not a version from 5 on.
    """
    if header is None:
        return "stock"
    major = header.partition(".")[0]
    if not (major.isascii() and major.isdigit() and 5 <= int(major[:4]) <= 999):
        raise InvalidInputError("not a version of the ai package from 5 on", path="x-chatrt-ai-sdk")
    return major if major in _FIELDS else "7"


_TEXT_DELTA = b'{"type":"text-delta","id":"'
_QUOTES = 12


def trim_chunk(chunk: dict[str, Any], major: Major) -> dict[str, Any] | None:
    """Return the chunk with what that version reads; None if it knows no such chunk. The same object if all of it."""
    kind: str = chunk["type"]
    fields = _DATA if kind.startswith("data-") else _FIELDS[major].get(kind)
    if fields is None:
        return None
    if not chunk.keys() <= fields:
        chunk = {key: value for key, value in chunk.items() if key in fields}
    if major == "7":
        return chunk
    if kind == "finish" and chunk.get("finishReason") == "interrupted":
        return {**chunk, "finishReason": "other"}
    if kind == "tool-approval-request" and chunk.get("isAutomatic"):
        return None  # older clients would ask a person for what the policy has decided already
    return chunk


def chunk_frame(record: Record, major: Major) -> bytes:
    """Return a chunk record as a frame for that version, empty if it is left out. Kept on the record."""
    frame = record.frames.get(major)
    if frame is None:
        frame = record.frames[major] = _make_frame(record.body, major)
    return frame


def _make_frame(body: bytes, major: Major) -> bytes:
    trimmed = trim_body(body, major)
    return b"" if trimmed is None else data_frame(trimmed)


def trim_body(body: bytes, major: Major) -> bytes | None:
    """Return an encoded chunk with what that version reads; None if it knows no such chunk."""
    # Nearly all chunks are `{type: text-delta, id, delta}` and nothing more, which every version reads. Twelve quotes
    # leave no room for another key; a delta with a quote of its own is decoded.
    if body.startswith(_TEXT_DELTA) and body.count(b'"') == _QUOTES:
        return body
    chunk: dict[str, Any] = orjson.loads(body)
    trimmed = trim_chunk(chunk, major)
    if trimmed is chunk:
        return body
    return None if trimmed is None else codec.dumps(trimmed)
