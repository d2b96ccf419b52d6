"""An agent and its tests, without a server, a provider or a second of waiting.

pytest examples/11_testing_your_agent.py

The fixture `chat_harness` comes with chatrt and needs pytest-asyncio. It runs the real runtime in memory; real model
calls are forbidden meanwhile, so a model that a test forgot to replace fails the turn instead of costing money.
"""

from __future__ import annotations

import pytest

from chatrt import ChatAgent, stream_text, tool
from chatrt.models.scripted import call, text, tool_call
from chatrt.testing import ScriptedModel

pytestmark = pytest.mark.asyncio


@tool(needs_approval=True)
async def refund(order_id: str) -> str:
    """Give the money of an order back."""
    return f"order {order_id} is refunded"


shop = ChatAgent("shop", tools=[refund], idle_timeout=60, on_action=lambda event: event.history.slice(0, -2))


@shop.run
def respond(turn):
    return stream_text("anthropic/claude-sonnet-4-5", turn.messages, tools=turn.tools)


ASKS = call(text("One moment. "), tool_call("refund", {"order_id": "o7"}))


async def test_a_refund_waits_for_approval(chat_harness):
    chat = await chat_harness(shop, model=ScriptedModel([ASKS, "Your money is on its way."]))

    asked = await chat.send("Refund order o7")
    assert [pending.tool_name for pending in asked.pending_tool_calls] == ["refund"]

    done = await chat.approve("refund")
    assert done.tool_results[0].output == "order o7 is refunded"
    assert done.text == "Your money is on its way."


async def test_a_refund_can_be_denied(chat_harness):
    model = ScriptedModel([ASKS, "Then I will not."])
    chat = await chat_harness(shop, model=model)
    await chat.send("Refund order o7")

    assert (await chat.approve("refund", False, reason="not mine")).tool_results[0].output is None
    assert "not mine" in str(model.requests[1].messages)


async def test_undo_takes_an_exchange_back(chat_harness):
    chat = await chat_harness(shop, model=ScriptedModel(["Hello."]))
    await chat.send("Hi")
    await chat.act({"type": "undo"})
    assert chat.messages == []


async def test_an_approval_outlives_a_crash(chat_harness):
    chat = await chat_harness(shop, model=ScriptedModel([ASKS, "Done."]))
    await chat.send("Refund order o7")

    await chat.crash()
    await chat.restart()
    assert (await chat.approve("refund")).tool_results[0].output == "order o7 is refunded"


async def test_an_idle_chat_leaves_memory_and_comes_back(chat_harness):
    chat = await chat_harness(shop, model=ScriptedModel(["Hello.", "Still here."]))
    await chat.send("Hi")

    await chat.advance(61)
    assert not chat.is_in_memory
    assert (await chat.send("Are you there?")).text == "Still here."
