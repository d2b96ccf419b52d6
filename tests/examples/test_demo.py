"""The demo agent with its scripted model, in one process: what the README says can be asked of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from chatrt import AgentChat, SessionManager

FILE = Path(__file__).parents[2] / "examples" / "01_demo.py"


@pytest.fixture
def demo(monkeypatch):
    """The example's module, with a model that does not pause."""
    monkeypatch.setenv("CHATRT_DEMO_PAUSE", "0")
    monkeypatch.setenv("CHATRT_STORE", "memory://")
    monkeypatch.delenv("CHATRT_MODEL", raising=False)
    spec = importlib.util.spec_from_file_location("demo_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo_example", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def chat(demo):
    async with SessionManager(demo.demo, "memory://") as sessions:
        yield AgentChat("demo", sessions=sessions)


async def test_help_names_what_can_be_asked(chat):
    """A first message it does not know is answered with what it knows."""
    text = await chat.send_message("Good morning").text()
    assert "weather" in text
    assert "CHATRT_MODEL" in text


async def test_weather_calls_a_tool(chat):
    """The weather comes from a tool, for the city that was named."""
    result = await chat.send_message("What is the weather in São Paulo?").result()
    assert [call.tool_name for call in result.tool_calls] == ["get_weather"]
    assert result.tool_calls[0].input == {"city": "São Paulo"}
    assert "São Paulo" in result.text


async def test_sums(chat):
    """Two numbers are added by a tool."""
    assert (await chat.send_message("What is 17.5 + 24.5?").result()).text == "That makes **42**."


async def test_booking_asks_and_waits_for_approval(chat):
    """A booking asks for the number of people, then for approval, and then happens."""
    asked = await chat.send_message("Book a table").result()
    assert [call.tool_name for call in asked.tool_calls] == ["ask_user"]
    wants = await chat.add_tool_output(asked.tool_calls[0].tool_call_id, "4").result()
    [call] = wants.pending_tool_calls
    assert call.state == "approval-requested"
    assert call.input["people"] == 4
    done = await chat.approve(call.approval_id, approved=True).result()
    assert "your table is booked" in done.text


async def test_a_denied_booking_is_left(chat):
    """Without approval nothing is booked."""
    asked = await chat.send_message("Book a table").result()
    wants = await chat.add_tool_output(asked.tool_calls[0].tool_call_id, "2").result()
    [call] = wants.pending_tool_calls
    assert "booked nothing" in (await chat.approve(call.approval_id, approved=False).result()).text


async def test_thinking_is_reasoning(chat):
    """Reasoning is a part of its own."""
    result = await chat.send_message("Think about time").result()
    assert "reasoning" in [part["type"] for part in result.message["parts"]]


async def test_a_failure_says_what_it_may(chat):
    """A failure is told with its public text, and the next question is answered."""
    failed = await chat.send_message("fail").result()
    assert failed.status == "failed"
    assert "part of the demo" in failed.error["message"]
    assert "42" in (await chat.send_message("20 + 22").text())


async def test_actions(chat):
    """Undo, edit, regenerate and rollback change the history, and answer where there is something to answer."""
    await chat.send_message("1 + 2").text()
    await chat.send_message("3 + 4").text()
    question = (await chat.messages())[2]["id"]
    edited = await chat.send_action({"type": "edit", "messageId": question, "text": "30 + 4"}).result()
    assert edited.text == "That makes **34**."
    again = await chat.send_action({"type": "regenerate"}).result()
    assert again.text == "That makes **34**."
    assert len(await chat.messages()) == 4
    await chat.send_action({"type": "undo"}).result()
    left = await chat.messages()
    assert len(left) == 2
    await chat.send_action({"type": "rollback", "targetMessageId": left[0]["id"]}).result()
    assert await chat.messages() == left[:1]


async def test_the_model_is_chosen_by_the_environment(demo, monkeypatch):
    """CHATRT_MODEL names a model for litellm; the agent stays the same."""
    monkeypatch.setenv("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")
    assert demo.model() == "anthropic/claude-sonnet-4-5"
