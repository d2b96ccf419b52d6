"""chatrt.ui.messages: the guards that tell parts apart."""

from __future__ import annotations

import pytest

from chatrt.ui import (
    get_tool_name,
    is_data_part,
    is_dynamic_tool_part,
    is_file_part,
    is_reasoning_part,
    is_static_tool_part,
    is_text_part,
    is_tool_part,
    message_text,
)
from chatrt.ui.messages import current_step_start

GUARDS = {
    is_text_part: {"text"},
    is_reasoning_part: {"reasoning"},
    is_file_part: {"file"},
    is_data_part: {"data-x", "data-"},
    is_static_tool_part: {"tool-f", "tool-a-b"},
    is_dynamic_tool_part: {"dynamic-tool"},
    is_tool_part: {"tool-f", "tool-a-b", "dynamic-tool"},
}
KINDS = sorted({kind for kinds in GUARDS.values() for kind in kinds} | {"reasoning-file", "source-url", "step-start"})


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_knows_its_parts_and_no_others(guard):
    """A guard looks at the type alone."""
    assert {kind for kind in KINDS if guard({"type": kind})} == GUARDS[guard]


def test_a_tool_name_may_hold_dashes():
    """A static name is all that follows the first dash, a dynamic one stands on the part."""
    assert get_tool_name({"type": "tool-a-b-c"}) == "a-b-c"
    assert get_tool_name({"type": "dynamic-tool", "toolName": "x-y"}) == "x-y"


def test_the_text_of_a_message_is_that_of_its_text_parts():
    """Reasoning and other parts do not count."""
    parts = [{"type": "text", "text": "a"}, {"type": "reasoning", "text": "b"}, {"type": "text", "text": "c"}]
    assert message_text({"id": "m", "role": "user", "parts": parts}) == "ac"


def test_the_current_step_begins_after_the_last_border():
    """Without a border all parts are one step."""
    step, text = {"type": "step-start"}, {"type": "text", "text": ""}
    assert current_step_start([text, step, text, step, text, text]) == 4
    assert current_step_start([text, text]) == 0
