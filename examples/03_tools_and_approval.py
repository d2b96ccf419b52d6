"""Tools: one that just runs, one that asks a person first, one that the client answers.

The turn ends when the model waits for a person, and goes on in the same message when the answer comes: minutes or
weeks later, on another machine if need be.
"""

from __future__ import annotations

import os

from chatrt import ChatAgent, ToolContext, Turn, create_app, step_count_is, stream_text, tool

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")
ORDERS = {"o7": 42, "o8": 5}


@tool
async def find_order(order_id: str) -> dict[str, object]:
    """Find an order."""
    return {"order_id": order_id, "euros": ORDERS.get(order_id)}


def is_expensive(arguments: dict[str, str], _context: ToolContext) -> bool:
    return ORDERS.get(arguments["order_id"], 0) > 10


@tool(needs_approval=is_expensive)
async def refund(order_id: str, context: ToolContext) -> str:
    """Give the money of an order back. A person has to approve it when it is more than 10 euros."""
    # The call's id is the key under which a payment provider does this once, however often it is asked.
    return f"refunded {ORDERS[order_id]} euros under {context.tool_call_id}"


@tool
async def ask_user(question: str) -> str:
    """Ask the person a question."""
    # No body: the browser shows the question and answers the call.


shop = ChatAgent("shop", tools=[find_order, refund, ask_user])


@shop.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages, tools=turn.tools, stop_when=step_count_is(10))


app = create_app(shop)
