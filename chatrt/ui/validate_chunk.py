"""Checks one UI message chunk against the table of all chunks, as `uiMessageChunkSchema` of ai 7.0.173 does.

The rules (zod 4, loose objects): optional keys are absent and never null; the untyped payload keys `input`, `output`,
`data` and the `messageMetadata` of `message-metadata` must be there, whatever they hold; keys that are not in the table
are let through; a type that is not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from chatrt.errors import InvalidChunkError
from chatrt.ui.chunks import UIMessageChunk
from chatrt.ui.json_values import is_index, is_json


class _Wrong(Exception):
    """A value that does not fit; `path` grows on the way out of nested values."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


_Check = Callable[[Any], None]


class _Field(NamedTuple):
    key: str
    check: _Check
    required: bool


def validate_chunk(value: Any) -> UIMessageChunk:
    """Return `value` itself if it is a chunk every current client accepts.

    Raises:
        InvalidChunkError: If it is not; `path` is the JSON pointer of the first wrong value.
    """
    if not isinstance(value, dict):
        raise InvalidChunkError("expected an object")
    chunk = cast("dict[str, Any]", value)
    kind = chunk.get("type")
    if not isinstance(kind, str):
        raise InvalidChunkError("expected a string", path="/type")
    fields = _CHUNKS.get(kind)
    if fields is None:
        if not kind.startswith("data-"):
            raise InvalidChunkError(f"unknown chunk type {kind!r}", path="/type")
        fields = _DATA
    try:
        _check_fields(chunk, fields)
    except _Wrong as wrong:
        raise InvalidChunkError(wrong.reason, path=wrong.path) from None
    return cast("UIMessageChunk", chunk)


def _check_fields(value: dict[str, Any], fields: tuple[_Field, ...]) -> None:
    for key, check, required in fields:
        if key in value:
            try:
                check(value[key])
            except _Wrong as wrong:
                raise _Wrong(wrong.reason, f"/{key}{wrong.path}") from None
        elif required:
            raise _Wrong("missing", f"/{key}")


# --- what a value may be --------------------------------------------------------------------------------------------


def _anything(value: Any) -> None:
    del value


def _string(value: Any) -> None:
    if not isinstance(value, str):
        raise _Wrong("expected a string")


def _boolean(value: Any) -> None:
    if not isinstance(value, bool):
        raise _Wrong("expected true or false")


def _index(value: Any) -> None:
    if not is_index(value):
        raise _Wrong("expected a whole number from 0 on")


def _one_of(*names: str) -> _Check:
    def check(value: Any) -> None:
        if not isinstance(value, str) or value not in names:
            raise _Wrong(f"expected one of {', '.join(names)}")

    return check


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("expected an object")
    return cast("dict[str, Any]", value)


def _record(check: _Check) -> _Check:
    def check_record(value: Any) -> None:
        for key, entry in _object(value).items():
            if not isinstance(cast("object", key), str):
                raise _Wrong("expected string keys")
            try:
                check(entry)
            except _Wrong as wrong:
                raise _Wrong(wrong.reason, f"/{key}{wrong.path}") from None

    return check_record


def _list(check: _Check) -> _Check:
    def check_list(value: Any) -> None:
        if not isinstance(value, list):
            raise _Wrong("expected an array")
        for index, entry in enumerate(cast("list[Any]", value)):
            try:
                check(entry)
            except _Wrong as wrong:
                raise _Wrong(wrong.reason, f"/{index}{wrong.path}") from None

    return check_list


def _variant(key: str, variants: dict[str, tuple[_Field, ...]]) -> _Check:
    """An object whose `key` says which fields it has."""

    def check(value: Any) -> None:
        entry = _object(value)
        name = entry.get(key)
        fields = variants.get(name) if isinstance(name, str) else None
        if fields is None:
            raise _Wrong(f"expected one of {', '.join(variants)}", f"/{key}")
        _check_fields(entry, fields)

    return check


def _json(value: Any) -> None:
    if not is_json(value):
        raise _Wrong("expected a JSON value")


# --- the table ------------------------------------------------------------------------------------------------------


def _fields(required: dict[str, _Check], optional: dict[str, _Check] | None = None) -> tuple[_Field, ...]:
    return tuple(_Field(key, check, required=True) for key, check in required.items()) + tuple(
        _Field(key, check, required=False) for key, check in (optional or {}).items()
    )


_METADATA: dict[str, _Check] = {"providerMetadata": _record(_record(_json))}
_TOOL: dict[str, _Check] = {
    "providerExecuted": _boolean,
    "toolMetadata": _record(_json),
    "dynamic": _boolean,
    **_METADATA,
}
_TITLE: dict[str, _Check] = {"title": _string}
_SOURCE: dict[str, _Check] = {"type": _one_of("source"), "sourceType": _string, "id": _string}

_CITATION = _fields(
    {
        "source": _variant(
            "sourceType",
            {
                "url": _fields({**_SOURCE, "url": _string}, {**_TITLE, **_METADATA}),
                "document": _fields(
                    {**_SOURCE, "mediaType": _string, "title": _string}, {"filename": _string, **_METADATA}
                ),
            },
        )
    },
    {"startIndex": _index, "endIndex": _index, "citedText": _string},
)

_STEERING_PART = _variant(
    "type",
    {
        "text": _fields({"text": _string}, _METADATA),
        "file": _fields(
            {"mediaType": _string, "url": _string},
            {"filename": _string, "providerReference": _record(_string), **_METADATA},
        ),
    },
)

_FINISH_REASON = _one_of("stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other")

_DATA = _fields({"data": _anything}, {"id": _string, "transient": _boolean})

_CHUNKS: dict[str, tuple[_Field, ...]] = {
    "start": _fields({}, {"messageId": _string, "messageMetadata": _anything}),
    "finish": _fields({}, {"finishReason": _FINISH_REASON, "messageMetadata": _anything}),
    "message-metadata": _fields({"messageMetadata": _anything}),
    "abort": _fields({}, {"reason": _string}),
    "error": _fields({"errorText": _string}),
    "start-step": (),
    "finish-step": (),
    "reset-step": (),
    "text-start": _fields({"id": _string}, _METADATA),
    "text-delta": _fields({"id": _string, "delta": _string}, _METADATA),
    "text-end": _fields(
        {"id": _string}, {"citations": _list(lambda value: _check_fields(_object(value), _CITATION)), **_METADATA}
    ),
    "reasoning-start": _fields({"id": _string}, _METADATA),
    "reasoning-delta": _fields({"id": _string, "delta": _string}, _METADATA),
    "reasoning-end": _fields({"id": _string}, _METADATA),
    "source-url": _fields({"sourceId": _string, "url": _string}, {**_TITLE, **_METADATA}),
    "source-document": _fields(
        {"sourceId": _string, "mediaType": _string, "title": _string}, {"filename": _string, **_METADATA}
    ),
    "file": _fields({"url": _string, "mediaType": _string}, _METADATA),
    "reasoning-file": _fields({"url": _string, "mediaType": _string}, _METADATA),
    "custom": _fields({"kind": _string}, _METADATA),
    "tool-input-start": _fields(
        {"toolCallId": _string, "toolName": _string}, {"inputEncoding": _one_of("json", "text"), **_TITLE, **_TOOL}
    ),
    "tool-input-delta": _fields({"toolCallId": _string, "inputTextDelta": _string}),
    "tool-input-available": _fields(
        {"toolCallId": _string, "toolName": _string, "input": _anything}, {**_TITLE, **_TOOL}
    ),
    "tool-input-error": _fields(
        {"toolCallId": _string, "toolName": _string, "input": _anything, "errorText": _string}, {**_TITLE, **_TOOL}
    ),
    "tool-approval-request": _fields(
        {"approvalId": _string, "toolCallId": _string},
        {
            "approvalDescriptor": _anything,
            "inputSchemaInput": _anything,
            "reason": _string,
            "isAutomatic": _boolean,
            "signature": _string,
        },
    ),
    "tool-approval-response": _fields(
        {"approvalId": _string, "approved": _boolean}, {"reason": _string, "providerExecuted": _boolean, **_METADATA}
    ),
    "tool-output-available": _fields({"toolCallId": _string, "output": _anything}, {"preliminary": _boolean, **_TOOL}),
    "tool-output-error": _fields({"toolCallId": _string, "errorText": _string}, _TOOL),
    "tool-output-denied": _fields({"toolCallId": _string}),
    "steering-message": _fields({"id": _string, "parts": _list(_STEERING_PART)}),
}
