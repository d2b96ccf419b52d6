"""Bytes and values at the door."""

from __future__ import annotations

import json

import pytest

from chatrt.codec import Limits, check, clean_text, dumps, load_checked, loads, pack, unpack
from chatrt.errors import InvalidJSONError, TooLargeError, UnreadableRecordError


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b"NaN",
        b'{"a": Infinity}',
        b'{"a": 1, "a": 2}',
        b'"\\u0000"',
        b'"\\ud83d"',
        b'{"\\ud83d": 1}',
        b"18446744073709551616",
        b'{"__proto__": {}}',
        b'{"constructor": {"prototype": 1}}',
        b'"\xff"',
        b"'a'",
        b"[1,]",
    ],
    ids=repr,
)
def test_what_cannot_be_carried_everywhere_is_refused(body: bytes):
    """JSON from outside is portable JSON or an error with a stable code."""
    with pytest.raises(InvalidJSONError):
        load_checked(body)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        1.5,
        "x",
        "\U0001f600",
        "a\u2028b",
        [],
        {},
        {"a": [1, {"b": None}]},
        {"constructor": 1},
        2**63 - 1,
    ],
    ids=repr,
)
def test_portable_json_passes(value: object):
    """What passes comes out as it went in, and can be stored and read again."""
    assert load_checked(json.dumps(value).encode()) == value
    assert loads(dumps(value)) == value
    assert unpack(pack(value)) == value


def test_too_many_bytes():
    """A body over the limit is refused by its size alone."""
    with pytest.raises(TooLargeError):
        load_checked(b" " * 11, Limits(bytes=10))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [65, 5_000, 100_000])
def test_too_deep(opening: bytes, depth: int):
    """Nesting over the limit is refused, however deep it is."""
    closing = b"]" if opening == b"[" else b"1}"
    body = opening * depth + closing * depth if opening == b"[" else opening * depth + b"1" + b"}" * depth

    with pytest.raises(TooLargeError):
        load_checked(body, Limits(bytes=10_000_000))


def test_depth_at_the_limit_passes():
    """64 levels are allowed."""
    assert load_checked(b"[" * 64 + b"]" * 64) is not None


def test_too_many_values():
    """More values than the limit are refused."""
    with pytest.raises(TooLargeError):
        load_checked(b"[" + b"1," * 10_000 + b"1]")


@pytest.mark.parametrize(
    "value",
    [object(), {1: 2}, {"a": b"x"}, float("nan"), (1,)],
    ids=["object", "number as key", "bytes", "nan", "tuple"],
)
def test_a_value_that_is_not_json_is_refused(value: object):
    """Python values that JSON has no form for are refused, wherever they stand."""
    with pytest.raises(InvalidJSONError):
        check({"deep": [value]} if not isinstance(value, dict) else value)


def test_what_was_stored_and_is_broken_is_unreadable():
    """Broken stored data raise; they are never taken for absent."""
    with pytest.raises(UnreadableRecordError):
        loads(b"{")
    with pytest.raises(UnreadableRecordError):
        unpack(b"\xc1")


def test_halves_of_a_pair_are_joined_or_replaced():
    """Two halves of a surrogate pair become their character, a lone one the replacement character."""
    assert clean_text({"a": ["\ud83d\ude00", "x\ud83d"]}) == {"a": ["\U0001f600", "x\ufffd"]}
