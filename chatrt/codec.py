"""Bytes and values: the one place that encodes, decodes and checks JSON and msgpack.

Values are plain JSON shapes only. What passes `load_checked` can be stored, read and replayed on every store and by
every client: bounded depth and size, finite numbers that fit 64 bits, Unicode without NUL and lone surrogates, no
repeated keys, and no key that JavaScript's guarded parser refuses.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]
import orjson

from chatrt.errors import InvalidJSONError, TooLargeError, UnreadableRecordError

_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a value from outside may be: bytes of JSON, nesting, and number of values and keys in all."""

    bytes: int = 1024 * 1024
    depth: int = 64
    nodes: int = 10_000


def dumps(value: Any) -> bytes:
    """Encode a JSON-shaped value as UTF-8 JSON.

    Raises:
        InvalidJSONError: If the value is not JSON-shaped: foreign types, lone surrogates, integers over 64 bits.
    """
    try:
        # A copy of the right size: orjson hands out blocks of 1 KiB and more, which costs 2 us where many are kept.
        return b"%b" % orjson.dumps(value)
    except TypeError as error:
        raise InvalidJSONError(str(error)) from None


def loads(data: bytes | str) -> Any:
    """Decode trusted JSON: what this program wrote itself.

    Raises:
        UnreadableRecordError: If it is not JSON after all.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UnreadableRecordError("JSON", str(error)) from None


def pack(value: Any) -> bytes:
    """Encode a JSON-shaped value, bytes allowed, as msgpack."""
    return cast("bytes", msgpack.packb(value))  # pyright: ignore[reportUnknownMemberType]


def unpack(data: bytes) -> Any:
    """Decode trusted msgpack; data only, no extension types.

    Raises:
        UnreadableRecordError: If it is not msgpack.
    """
    try:
        return cast("Any", msgpack.unpackb(data, strict_map_key=False))  # pyright: ignore[reportUnknownMemberType]
    except (ValueError, msgpack.UnpackException) as error:
        raise UnreadableRecordError("msgpack", str(error)) from None


def load_checked(data: bytes, limits: Limits | None = None) -> Any:
    """Decode JSON from outside.

    Raises:
        TooLargeError: If it has more bytes, nesting or nodes than `limits` allow.
        InvalidJSONError: If it is not JSON, or JSON that some store or client could not carry.
    """
    limits = limits or Limits()
    if len(data) > limits.bytes:
        raise TooLargeError(f"more than {limits.bytes} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise InvalidJSONError("not UTF-8") from None
    except RecursionError:
        raise TooLargeError(f"nested deeper than {limits.depth}") from None
    except ValueError as error:
        raise InvalidJSONError(str(error)) from None
    check(value, limits)
    return value


def check(value: Any, limits: Limits | None = None) -> None:
    """Check that a value is JSON-shaped and can be carried everywhere.

    Raises:
        TooLargeError: If it is nested too deep or has too many nodes.
        InvalidJSONError: If it holds something that is not portable JSON.
    """
    limits = limits or Limits()
    nodes = 0
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        nodes += 1
        if nodes > limits.nodes:
            raise TooLargeError(f"more than {limits.nodes} values")
        match item:
            case dict():
                _check_depth(depth, limits)
                for key, child in cast("dict[object, Any]", item).items():
                    if not isinstance(key, str):
                        raise InvalidJSONError("a key is not a string")
                    _check_text(key)
                    if _poisons_prototypes(key, child):
                        raise InvalidJSONError(f"the key {key!r} is not allowed")
                    stack.append((child, depth + 1))
            case list():
                _check_depth(depth, limits)
                stack.extend((child, depth + 1) for child in cast("list[object]", item))
            case _:
                _check_scalar(item)


def _poisons_prototypes(key: str, child: object) -> bool:
    return key == "__proto__" or (key == "constructor" and isinstance(child, dict) and "prototype" in child)


def _check_depth(depth: int, limits: Limits) -> None:
    if depth > limits.depth:
        raise TooLargeError(f"nested deeper than {limits.depth}")


def _check_scalar(item: object) -> None:
    match item:
        case None | bool():
            pass
        case str():
            _check_text(item)
        case int():
            if not -_MAX_INT <= item <= _MAX_INT:
                raise InvalidJSONError("an integer does not fit 64 bits")
        case float():
            if not math.isfinite(item):
                raise InvalidJSONError("a number is not finite")
        case _:
            raise InvalidJSONError(f"{type(item).__name__} is not a JSON type")


def _check_text(text: str) -> None:
    if _BAD_TEXT.search(text):
        raise InvalidJSONError("text holds NUL or half a surrogate pair")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is repeated")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def clean_text(value: Any) -> Any:
    """Return a JSON-shaped value in which half surrogate pairs are joined, or replaced where their half is missing."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [clean_text(child) for child in cast("list[object]", value)]
        case dict():
            return {clean_text(key): clean_text(child) for key, child in cast("dict[object, object]", value).items()}
        case _:
            return value
