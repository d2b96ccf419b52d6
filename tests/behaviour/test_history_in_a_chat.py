"""The history as application code reads it in the middle of a real conversation."""

from __future__ import annotations

from typing import Any

import pytest

from chatrt.agent import ChatAgent
from chatrt.generate import stream_text
from chatrt.history import NewToolResult, ToolCallRef
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, tool_call
from chatrt.tools import tool
from tests.runtime.driver import Chat, House

QUESTION = call(tool_call("ask_user", {"question": "Why?"}))


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def asking(*script: Any, **options: Any) -> ChatAgent:
    model = ScriptedModel(list(script))
    return ChatAgent(
        "a", tools=[ask_user], run=lambda turn: stream_text(model, turn.messages, tools=turn.tools), **options
    )


def answered(state: str = "output-available", **value: Any) -> dict[str, Any]:
    return {"type": "tool-ask_user", "toolCallId": "call_1", "state": state, **value}


async def asked(house: House, *script: Any, **options: Any) -> tuple[Chat, str]:
    """A chat whose agent has just asked, and the id of the message it asked in."""
    chat = await house.open(asking(QUESTION, *script, **options))
    turn = await chat.send("hi")
    return chat, turn.start["messageId"]


@pytest.mark.behaviour(23)
async def test_a_question_is_pending(house: House):
    """A call that the model made and nobody answered is pending, with its message."""
    chat, message_id = await asked(house)

    assert chat.session.history.get_pending_tool_calls() == [ToolCallRef("call_1", "ask_user", message_id)]


@pytest.mark.behaviour(31)
async def test_a_question_is_pending_behind_other_words(house: House):
    """While a turn serves other words, the question behind them is still pending."""
    seen: list[Any] = []
    chat, message_id = await asked(
        house, "ok", on_turn_start=lambda event: seen.append(event.history.get_pending_tool_calls())
    )

    await chat.send("something else")

    assert seen[1] == [ToolCallRef("call_1", "ask_user", message_id)]


@pytest.mark.behaviour(24)
async def test_nothing_is_pending_after_another_answer(house: House):
    """Once a newer answer asks nothing, nothing is pending, although the old call is open."""
    chat, _ = await asked(house, "ok")

    await chat.send("something else")

    assert chat.session.history.get_pending_tool_calls() == []


@pytest.mark.behaviour(25)
async def test_an_answered_question_is_resolved(house: House):
    """After the client's answer the call is resolved and not pending, also turns later."""
    chat, message_id = await asked(house, "thanks", "bye")
    await chat.answer(answered(output="because"), message_id=message_id)
    await chat.send("and now?")

    history = chat.session.history

    assert history.get_resolved_tool_calls() == [ToolCallRef("call_1", "ask_user", message_id)]
    assert history.get_pending_tool_calls() == []


@pytest.mark.behaviour(29)
async def test_an_error_of_the_client_is_a_result(house: House):
    """A client's error is new when it comes in, resolves the call, and is new no more."""
    seen: list[Any] = []

    def validate(event):
        seen.append(event.history.extract_new_tool_results(event.messages[0]))
        return event.messages

    chat, message_id = await asked(house, "oh", on_validate_messages=validate)
    part = answered("output-error", errorText="left")

    await chat.answer(part, message_id=message_id)
    await chat.answer(part, message_id=message_id)

    assert seen[1:] == [[NewToolResult("call_1", "ask_user", None, "left")], []]
    assert len(chat.session.history.get_resolved_tool_calls()) == 1


@pytest.mark.behaviour(28)
async def test_in_on_turn_complete_nothing_is_new(house: House):
    """When a turn is over, what it brought is in the history: its answer has no new results."""
    seen: list[Any] = []
    chat, message_id = await asked(
        house,
        "thanks",
        "bye",
        on_turn_complete=lambda event: seen.append(event.history.extract_new_tool_results(event.response_message)),
    )
    await chat.answer(answered(output="because"), message_id=message_id)
    await chat.send("next")

    assert seen[:2] == [[], []]
