"""How many cache breakpoints a request may have, and which go first."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.models.base import ToolSpec
from chatrt.models.litellm_cache import limit_breakpoints
from chatrt.models.litellm_messages import to_litellm, tool_definitions
from chatrt.prompt_cache import cache_control

MARK = cache_control()


@pytest.mark.parametrize(
    ("messages", "tools", "left"),
    [
        (0, 4, ([True], [], [False, True, True, True])),
        (3, 2, ([True], [False, False, True], [True, True])),
        (1, 5, ([True], [True], [False, False, False, True, True])),
    ],
)
def test_what_goes_first(messages: int, tools: int, left: Any) -> None:
    """The oldest messages go first, then tools, then system; the newest message is the last to go."""
    rows = to_litellm(
        [
            {"role": "system", "content": "s", "providerOptions": MARK},
            *[{"role": "user", "content": "u", "providerOptions": MARK} for _ in range(messages)],
        ]
    )
    definitions = tool_definitions(
        [ToolSpec(name=f"f{n}", description="", input_schema={}, provider_options=MARK) for n in range(tools)]
    )
    limit_breakpoints(rows, definitions)
    marked = ["cache_control" in row["content"][0] for row in rows]
    assert (marked[:1], marked[1:], ["cache_control" in tool for tool in definitions]) == left


def test_four_are_left_alone() -> None:
    """Up to four nothing is taken off."""
    rows = to_litellm([{"role": "user", "content": "u", "providerOptions": MARK} for _ in range(4)])
    limit_breakpoints(rows, [])
    assert all("cache_control" in row["content"][0] for row in rows)
