"""A compaction as an application declares it."""

from __future__ import annotations

import pytest

from chatrt.compaction import SUMMARY_HEADING, CompactEvent, Compaction, summary_message
from chatrt.errors import UsageError
from chatrt.models import Usage


async def summarize(event: CompactEvent) -> str:
    return f"{len(event.messages)} messages"


def test_a_compaction_knows_when():
    """A compaction without should_compact and without a threshold would never come about."""
    with pytest.raises(UsageError):
        Compaction(summarize=summarize)


def test_a_compaction_has_one_when():
    """should_compact and threshold exclude each other."""
    with pytest.raises(UsageError):
        Compaction(summarize=summarize, threshold=1000, should_compact=lambda _: True)


def test_a_summary_is_a_user_row_under_a_heading():
    """A model is shown the summary in the user's role, marked as what it is."""
    row = summary_message("They want pizza.")

    assert row == {
        "role": "user",
        "content": [{"type": "text", "text": f"{SUMMARY_HEADING}\n\nThey want pizza."}],
    }


def test_an_event_tells_the_tokens_of_the_last_step():
    """What a step took is there number by number; None where the provider did not tell."""
    facts = {"source": "inner", "chat_id": "c", "turn": 0, "messages": [], "total_usage": Usage()}

    told = CompactEvent(usage=Usage(input_tokens=3, output_tokens=4, total_tokens=7), **facts)
    untold = CompactEvent(usage=None, **facts)

    assert (told.input_tokens, told.output_tokens, told.total_tokens) == (3, 4, 7)
    assert (untold.input_tokens, untold.output_tokens, untold.total_tokens) == (None, None, None)
