"""Smoothed streams are cut where `smoothStream` cuts them."""

from __future__ import annotations

from chatrt.ui import smooth_stream

VECTORS = "smooth"


async def each(parts):
    for part in parts:
        yield part


async def test_pieces_are_those_of_the_ai_sdk(case):
    """Every stream comes out in the pieces that the AI SDK makes of it."""
    pieces = smooth_stream(each(case["parts"]), chunking=case["chunking"], delay=None)
    assert [piece async for piece in pieces] == case["output"]
