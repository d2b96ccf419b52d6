"""An agent with several conversations of its own: one negotiator for each supplier, over many turns.

`sub_agent("negotiator", key="Acme")` is the same conversation in every turn and every run of this chat, so each
negotiator remembers what was said to it; the buyer's own prompt holds only their last words. Closing or deleting the
buyer's chat takes them along. Run it with

    CHATRT_MODEL=anthropic/claude-sonnet-4-5 chatrt chat examples/06_sub_agent_many_turns.py --agent buyer
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from chatrt import ChatAgent, Turn, UIMessage, create_app, stream_text, sub_agent, tool
from chatrt.client import last_text_output

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")


@tool(to_model_output=last_text_output)
async def negotiate(supplier: str, message: str) -> AsyncIterator[UIMessage]:
    """Say something to the negotiator who talks to a supplier, and get the answer.

    Args:
        supplier: The supplier. The negotiator remembers everything that was said about this one.
        message: What to ask for or to offer.
    """
    chat = sub_agent("negotiator", key=supplier.strip().casefold(), client_data={"supplier": supplier})
    async for answer in chat.send_message(message).messages(every=0.1):
        yield answer


@tool
async def dismiss(supplier: str) -> bool:
    """End the talks with a supplier for good. Returns whether there were any."""
    return await sub_agent("negotiator", key=supplier.strip().casefold()).close("dismissed")


buyer = ChatAgent("buyer", tools=[negotiate, dismiss])


@buyer.run
async def buy(turn: Turn):
    system = "You buy for a restaurant. Use a negotiator for each supplier, and compare what they offer."
    return stream_text(MODEL, turn.messages, system=system, tools=turn.tools)


negotiator = ChatAgent("negotiator")


@negotiator.run
async def talk(turn: Turn):
    supplier = turn.client_data["supplier"]
    system = f"You negotiate with {supplier}. Never raise an offer without asking. Report in one sentence."
    return stream_text(MODEL, turn.messages, system=system)


app = create_app([buyer, negotiator])
