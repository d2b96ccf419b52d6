"""summarize_with: a model that summarizes."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.compaction import CompactEvent
from chatrt.errors import ModelError
from chatrt.generate import summarize_with
from chatrt.generate.summarize import INSTRUCTIONS
from chatrt.models import ScriptedModel, Usage
from chatrt.models.scripted import call, error, tool_call
from chatrt.tools import tool
from chatrt.turn import enter_turn

MESSAGES: Any = [
    {"role": "user", "content": [{"type": "text", "text": "What is in the box?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
]


def event(messages: Any = MESSAGES) -> CompactEvent:
    return CompactEvent(source="outer", chat_id="c", turn=0, messages=list(messages), usage=None, total_usage=Usage())


async def test_the_model_is_shown_the_messages_and_asked():
    """The model reads what is to be summarized, and then what to do with it."""
    model = ScriptedModel(["There is a cat in the box."])

    summary = await summarize_with(model)(event())

    [request] = model.requests
    assert summary == "There is a cat in the box."
    assert request.messages[:-1] == MESSAGES
    assert request.messages[-1]["content"][0]["text"] == INSTRUCTIONS


async def test_instructions_and_settings_can_be_chosen():
    """An application asks in its own words, and chooses the settings of the call."""
    model = ScriptedModel(["Cat."])

    await summarize_with(model, instructions="One word.", max_tokens=5)(event())

    [request] = model.requests
    assert request.messages[-1]["content"][0]["text"] == "One word."
    assert request.settings == {"max_tokens": 5}


async def test_a_summary_runs_no_tools():
    """The tools of the turn are declared, because providers want that, but a call of one runs nothing."""
    ran = []

    @tool
    def launch() -> str:
        """Launch."""
        ran.append(True)
        return "gone"

    class FakeTurn:
        tools = (launch,)

    model = ScriptedModel([call(tool_call("launch", {}))])
    enter_turn(FakeTurn())
    try:
        summary = await summarize_with(model)(event())
    finally:
        enter_turn(None)

    [request] = model.requests
    assert [spec.name for spec in request.tools] == ["launch"]
    assert request.settings == {"tool_choice": "none"}
    assert (summary, ran) == ("", [])


async def test_an_error_of_the_provider_is_raised():
    """Where the model failed there is no summary."""
    model = ScriptedModel([error("overloaded")])

    with pytest.raises(ModelError):
        await summarize_with(model)(event())
