"""Ids: fresh names for everything."""

from __future__ import annotations

from chatrt.ids import ALPHABET, CountingIds, RandomIds


def test_a_random_id_has_its_prefix_and_sixteen_letters():
    """An id is the prefix, an underscore and sixteen letters that need no escape in a URL."""
    prefix, _, letters = RandomIds().new("msg").partition("_")
    assert (prefix, len(letters)) == ("msg", 16)
    assert set(letters) <= set(ALPHABET)


def test_random_ids_do_not_repeat():
    """Two ids are never the same."""
    ids = RandomIds()
    assert len({ids.new("a") for _ in range(10_000)}) == 10_000


def test_every_letter_stands_everywhere():
    """Each of the sixteen places takes all letters: none of the randomness is lost."""
    ids = RandomIds()
    places = zip(*(ids.new("a")[2:] for _ in range(5_000)), strict=True)
    assert all(set(place) == set(ALPHABET) for place in places)


def test_counting_ids_are_predictable():
    """Ids for transcripts count each prefix by itself."""
    ids = CountingIds()
    assert [ids.new("a"), ids.new("b"), ids.new("a")] == ["a_1", "b_1", "a_2"]
