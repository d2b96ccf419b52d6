"""Where a history may be cut for a summary."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.ui import find_compaction_place, is_compaction_safe

STEP = {"type": "step-start"}
SAID = {"type": "text", "text": "Hm.", "state": "done"}


def tool(state: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool-look", "toolCallId": "c1", "state": state, "input": {}, **more}


def asked(message_id: str = "u1") -> Any:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": "Well?"}]}


def answered(*parts: Any, message_id: str = "a1") -> Any:
    return {"id": message_id, "role": "assistant", "parts": list(parts)}


@pytest.mark.parametrize("state", ["output-available", "output-error", "output-denied"])
def test_finished_calls_may_be_summarized(state: str):
    """A call with a result of any kind is safe."""
    assert is_compaction_safe([asked(), answered(STEP, tool(state))])


@pytest.mark.parametrize("state", ["input-streaming", "input-available", "approval-requested", "approval-responded"])
def test_open_calls_may_not_be_summarized(state: str):
    """A call whose result is still to come is not: its result would stand alone (D9)."""
    assert not is_compaction_safe([asked(), answered(STEP, tool(state))])


def test_a_preliminary_result_is_none():
    """A call that has only shown something so far is still open."""
    assert not is_compaction_safe([answered(STEP, tool("output-available", preliminary=True))])


def test_dynamic_calls_count_too():
    """A call of a dynamic tool is a call."""
    part = {"type": "dynamic-tool", "toolName": "x", "toolCallId": "c1", "state": "input-available", "input": {}}
    assert not is_compaction_safe([answered(STEP, part)])


def test_the_place_is_behind_the_last_answer():
    """All that was answered can be summarized."""
    assert find_compaction_place([asked(), answered(STEP, SAID)]) == (1, 2)


def test_unanswered_questions_stay():
    """A question that waits for its answer is not covered."""
    assert find_compaction_place([asked(), answered(STEP, SAID), asked("u2"), asked("u3")]) == (1, 2)


def test_the_place_is_before_the_step_with_an_open_call():
    """An answer that waits for a result is cut in front of the step that made the call."""
    message = answered(STEP, tool("output-available"), STEP, {**tool("input-available"), "toolCallId": "c2"})
    assert find_compaction_place([asked(), message]) == (1, 2)


def test_an_answer_whose_first_step_is_open_is_left_out():
    """Where nothing of an answer is settled the place is behind the answer before it."""
    messages = [asked(), answered(STEP, SAID), asked("u2"), answered(STEP, tool("input-available"), message_id="a2")]
    assert find_compaction_place(messages) == (1, 2)


def test_old_open_calls_do_not_matter():
    """A call that was left open long ago does not keep a chat from being summarized."""
    messages = [asked(), answered(STEP, tool("input-available")), asked("u2"), answered(STEP, SAID, message_id="a2")]
    assert find_compaction_place(messages) == (3, 2)


def test_without_an_answer_there_is_no_place():
    """A chat in which nothing was answered yet has nothing to summarize."""
    assert find_compaction_place([asked()]) is None
    assert find_compaction_place([]) is None
    assert find_compaction_place([asked(), answered(STEP, tool("input-available"))]) is None
