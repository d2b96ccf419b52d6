"""chatrt.ui.metadata: how metadata of several chunks become one value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.ui.metadata import merge_metadata

OBJECTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
).filter(lambda value: isinstance(value, dict))


def test_objects_merge_at_every_depth_and_everything_else_replaces():
    """Lists, plain values and null are taken as they come."""
    base = {"a": {"b": 1, "c": [1]}, "d": 1, "e": {"f": 1}}
    assert merge_metadata(base, {"a": {"c": [2], "g": None}, "d": {"h": 1}, "e": None}) == {
        "a": {"b": 1, "c": [2], "g": None},
        "d": {"h": 1},
        "e": None,
    }


@given(OBJECTS, OBJECTS)
def test_what_is_merged_is_all_there_and_nothing_given_is_changed(base, incoming):
    """The result holds the keys of both, and merging the same once more changes nothing."""
    before = (repr(base), repr(incoming))
    merged = merge_metadata(base, incoming)
    assert merged.keys() == base.keys() | incoming.keys()
    assert merge_metadata(merged, incoming) == merged
    assert (repr(base), repr(incoming)) == before


def test_null_as_a_whole_is_ignored():
    """It neither replaces nor becomes metadata."""
    assert merge_metadata({"a": 1}, None) == {"a": 1}
    assert merge_metadata(None, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("key", ["__proto__", "constructor", "prototype"])
def test_keys_that_reach_a_prototype_are_skipped(key):
    """Metadata merged onto others cannot bring them in."""
    assert merge_metadata({"a": 1}, {key: {"b": 1}, "c": 2}) == {"a": 1, "c": 2}


def test_a_text_is_an_object_of_its_utf16_units():
    """As JavaScript spreads it, halves of characters on their own."""
    assert merge_metadata({"a": 1}, "x\U0001f600") == {"a": 1, "0": "x", "1": "\ud83d", "2": "\ude00"}


def test_nothing_can_be_merged_onto_a_plain_value():
    """As in JavaScript, it fails; with nothing to merge the value becomes an empty object."""
    with pytest.raises(TypeError):
        merge_metadata("abc", {"x": 1})
    assert merge_metadata(5, {}) == {}
