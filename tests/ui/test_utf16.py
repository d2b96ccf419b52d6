"""chatrt.ui.utf16: strings as JavaScript has them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatrt.ui.utf16 import has_surrogates, join_surrogates, join_surrogates_within, split_surrogates


@given(st.text())
def test_a_text_split_and_joined_again_is_as_javascript_would_have_it(text):
    """Split, it has one character for each UTF-16 unit; joined, it is the text."""
    split = split_surrogates(text)
    assert len(split) == len(text.encode("utf-16-le", "surrogatepass")) // 2
    assert join_surrogates(split) == join_surrogates(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_without_halves_is_left_alone(text):
    """The very same text comes back."""
    assert join_surrogates(text) is text
    assert not has_surrogates(text)


def test_a_half_that_stays_alone_is_kept():
    """Only a high half before a low half makes a character."""
    assert join_surrogates("\ude00\ud83d") == "\ude00\ud83d"


def test_halves_are_joined_within_values():
    """Texts and keys at every depth are joined, all else is left."""
    assert join_surrogates_within({"\ud83d\ude00": ["\ud83d\ude00", 1, None]}) == {
        "\U0001f600": ["\U0001f600", 1, None]
    }
