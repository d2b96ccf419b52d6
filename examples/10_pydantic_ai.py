"""An agent of pydantic-ai with a durable chat: it keeps its tools, dependencies and approvals, and gets the session.

    pip install "chatrt[pydantic-ai]" "pydantic-ai-slim[anthropic]"
    PYDANTIC_AI_MODEL=anthropic:claude-sonnet-4-5 chatrt dev examples/10_pydantic_ai.py

Without `PYDANTIC_AI_MODEL` it answers with pydantic-ai's own test model, which needs no key and calls every tool.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, ModelRetry, RunContext

from chatrt import ChatAgent, Turn
from chatrt.adapters import stream_pydantic_ai


class ClientData(BaseModel):
    """What the page says about who is chatting."""

    customer: str = "nobody"


@dataclass
class Shop:
    """What the tools work on: here a dictionary, in earnest a database."""

    customer: str
    orders: dict[str, str]


ORDERS = {"A1": "shipped", "A2": "packing"}

clerk = Agent(
    os.environ.get("PYDANTIC_AI_MODEL", "test"),
    deps_type=Shop,
    output_type=[str, DeferredToolRequests],  # so that an answer may end with a question to the person
    instructions="You are the clerk of a small shop. Be brief.",
    defer_model_check=True,
)


@clerk.tool
async def order_status(ctx: RunContext[Shop], order: str) -> str:
    """Tell how far an order is."""
    if order not in ctx.deps.orders:
        raise ModelRetry(f"There is no order {order}; the orders are {', '.join(ctx.deps.orders)}.")
    return ctx.deps.orders[order]


@clerk.tool(requires_approval=True)
async def cancel_order(ctx: RunContext[Shop], order: str) -> str:
    """Cancel an order. The person is asked first."""
    ctx.deps.orders[order] = "cancelled"
    return f"{order} is cancelled for {ctx.deps.customer}"


shop = ChatAgent("shop", client_data=ClientData)


@shop.run
async def respond(turn: Turn[ClientData]):
    return stream_pydantic_ai(clerk, turn, deps=Shop(turn.client_data.customer, ORDERS))
