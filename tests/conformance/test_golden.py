"""The recorded conversations that clients are tested with are what the server says, byte for byte."""

from __future__ import annotations

import pytest

from tests.conformance.record_golden import CONVERSATIONS, GOLDEN, record


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_recorded_conversation_is_what_happens(name):
    """Held again, a conversation is the recorded one, to the byte; `python -m tests.conformance.record_golden` records anew."""
    assert await record(name) == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


def test_nothing_else_is_recorded():
    """Each recorded file belongs to a conversation."""
    assert {file.stem for file in GOLDEN.iterdir()} == set(CONVERSATIONS)
