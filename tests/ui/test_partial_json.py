"""chatrt.ui.partial_json: JSON as JavaScript reads it, cut off anywhere. What the AI SDK does is in tests/conformance."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.errors import InvalidJSONError
from chatrt.ui import parse_json, parse_partial_json
from chatrt.ui.partial_json import fix_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9).filter(bool) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


@given(VALUES.filter(lambda value: isinstance(value, dict | list)), st.booleans(), st.data())
def test_every_beginning_of_a_list_or_object_is_worth_something(value, ascii_only, data):
    """Wherever the text of a list or an object is cut, there is a value of the same kind."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    if "constructor" in text or "__proto__" in text:
        return
    cut = data.draw(st.integers(1, len(text)))
    partial, state = parse_partial_json(text[:cut])
    assert state == ("successful-parse" if cut == len(text) else "repaired-parse")
    assert type(partial) is type(value)


@given(VALUES)
def test_whole_json_is_read_as_it_was_written(value):
    """Complete JSON gives its value."""
    assert parse_json(json.dumps(value)) == value


@given(st.text(alphabet='{}[]",:\\ut0-1.e+fn\n x'))
def test_no_text_raises(text):
    """Whatever comes, there is an answer, and a failed parse has no value."""
    value, state = parse_partial_json(text)
    assert state != "failed-parse" or value is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 9007199254740992),
        ("123456789012345678901234567890", 1.2345678901234568e29),
        ("1" + "0" * 5000, None),
        ("1e999", None),
        ("1.0", 1),
        ("0.5", 0.5),
        ("-0", 0),
    ],
)
def test_numbers_are_doubles(text, value):
    """Numbers have the precision JavaScript has; what does not fit a double is null, as JavaScript would write it."""
    assert parse_json(text) == value


@pytest.mark.parametrize(
    "text",
    ["NaN", "[Infinity]", "-Infinity", "{'a':1}", '"\n"', "\ufeff1", "", '{"__proto__":1}', "[" * 100_000],
)
def test_what_javascript_refuses_is_refused(text):
    """Python's own additions to JSON, keys that reach a prototype and bottomless nesting are no JSON here."""
    with pytest.raises(InvalidJSONError):
        parse_json(text)


def test_prototype_keys_are_found_at_any_depth_and_however_they_are_spelled():
    """An escape does not hide a key; the same word as a value is harmless."""
    with pytest.raises(InvalidJSONError):
        parse_json('[{"a":[{"\\u005f_proto_\\u005F":1}]}]')
    with pytest.raises(InvalidJSONError):
        parse_json('{"constructor":{"prototype":1}}')
    assert parse_json('{"a":"__proto__","constructor":{"b":1}}') == {"a": "__proto__", "constructor": {"b": 1}}


def test_each_half_of_a_character_counts_when_a_literal_was_cut():
    """Garbage of two UTF-16 units after a literal in a list is kept by the repair, and so fails, as it does upstream."""
    assert parse_partial_json("[true\U0001f600") == (None, "failed-parse")
    assert parse_partial_json("[truex") == ([True], "repaired-parse")


def test_halves_of_a_character_are_joined_however_they_are_written():
    """Two escapes, two raw halves, or one of each make one character."""
    for text in ('"\\ud83d\\ude00"', '"\ud83d\ude00"', '"\ud83d\\ude00"', '"\\ud83d\ude00"'):
        assert parse_json(text) == "\U0001f600"


@pytest.mark.parametrize("unit", ['{"a":[', '"x",', "1,", '{"k":"v\\u0041"},', "t", "\\"])
def test_repair_takes_one_look_at_each_character(unit):
    """Ten times the text are ten times the steps, no more."""

    def steps(text: str) -> int:
        count = 0

        def tick(frame, event, argument):
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(tick)
        try:
            fix_json(text)
        finally:
            sys.setprofile(None)
        return count

    assert steps("[" + unit * 1000) <= 10 * steps("[" + unit * 100)
