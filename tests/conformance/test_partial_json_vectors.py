"""Cut-off JSON is worth what `parsePartialJson` made of it."""

from __future__ import annotations

from chatrt.ui import parse_partial_json

VECTORS = "parse_partial_json"


def test_value_and_state_are_those_of_the_ai_sdk(case):
    """Every text gives the value and the state that the AI SDK gives; a failed parse has no value."""
    assert parse_partial_json(case.get("text")) == (case.get("value"), case["state"])
