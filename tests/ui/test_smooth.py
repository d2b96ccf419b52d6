"""chatrt.ui.smooth: text that comes in lumps goes out in pieces. What the AI SDK does is in tests/conformance."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrt.clock import ManualClock
from chatrt.errors import UsageError
from chatrt.ui import smooth_stream


def delta(text: str, **more) -> dict:
    return {"type": "text-delta", "id": "t", "delta": text, **more}


END = {"type": "text-end", "id": "t"}


async def each(parts):
    for part in parts:
        yield part


async def smoothed(*parts, **options) -> list[str]:
    pieces = smooth_stream(each([*parts, END]), delay=None, **options)
    return [piece["delta"] async for piece in pieces if piece["type"] != "text-end"]


async def test_model_parts_and_chunks_keep_their_text_in_delta():
    """Pieces look like the parts they were cut from."""
    pieces = [piece async for piece in smooth_stream(each([delta("a b"), END]), delay=None)]
    assert pieces == [delta("a "), delta("b"), END]


async def test_each_piece_is_followed_by_the_delay():
    """The next piece comes 10 ms after the one before, on the given clock."""
    clock, seen = ManualClock(), []

    async def read():
        async for piece in smooth_stream(each([delta("a b c "), END]), clock=clock):
            seen.append(piece.get("delta"))

    reading = asyncio.create_task(read())
    for count in (1, 2, 3):
        while not clock.sleepers:
            await asyncio.sleep(0)
        assert len(seen) == count
        clock.advance(0.009)
        assert clock.sleepers == 1
        clock.advance(0.0011)
    await reading
    assert seen == ["a ", "b ", "c ", None]


async def test_a_pattern_cuts_after_each_match():
    """What precedes a match goes with it; an anchor means the beginning of what waits."""
    assert await smoothed(delta("ab,cd,ef"), chunking=re.compile(",")) == ["ab,", "cd,", "ef"]
    assert await smoothed(delta("abc"), chunking=re.compile("^.")) == ["a", "b", "c"]


async def test_a_function_says_the_first_piece():
    """None means to wait for more."""
    assert await smoothed(delta("abc"), delta("d"), chunking=lambda text: text[:2] if len(text) > 1 else None) == [
        "ab",
        "cd",
    ]


@pytest.mark.parametrize("chunking", [re.compile("x*"), lambda text: "", lambda text: "no prefix"])
async def test_a_cut_that_leads_nowhere_is_refused(chunking):
    """Empty pieces and pieces that are no beginning of the text are mistakes of the program."""
    with pytest.raises(UsageError):
        await smoothed(delta("abc"), chunking=chunking)


@pytest.mark.parametrize(("char", "is_space"), [("\ufeff", True), ("\u3000", True), ("\x1c", False), ("\x85", False)])
async def test_white_space_is_what_javascript_calls_so(char, is_space):
    """The characters on which Python and JavaScript disagree go the JavaScript way."""
    assert await smoothed(delta(f"a{char}b")) == ([f"a{char}", "b"] if is_space else [f"a{char}b"])


@given(st.lists(st.text(alphabet="ab \n", max_size=6), max_size=8), st.sampled_from(["word", "line"]))
async def test_nothing_is_lost_or_added(texts, chunking):
    """Put together, the pieces are the text, and each piece but the last ends as it should."""
    pieces = await smoothed(*map(delta, texts), chunking=chunking)
    assert "".join(pieces) == "".join(texts)
    assert all(piece.endswith((" ", "\n") if chunking == "word" else "\n") for piece in pieces[:-1])
