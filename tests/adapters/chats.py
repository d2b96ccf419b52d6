"""What tests of both adapters do with a chat: open it, look at its last message, answer an approval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatrt.agent import ChatAgent
from tests.runtime.driver import Chat, House


async def open_with(house: House, stream: Callable[..., Any], agent: Any, **options: Any) -> Chat:
    """Open the chat of an agent whose run function is an adapter's.

    Args:
        house: Where.
        stream: The adapter.
        agent: The library's agent.
        options: Those of `ChatAgent`, and `run_options` for the adapter.
    """
    run_options = options.pop("run_options", {})
    return await house.open(ChatAgent("a", run=lambda turn: stream(agent, turn, **run_options), **options))


async def last_parts(chat: Chat) -> list[dict[str, Any]]:
    """The parts of the last message, without the borders of its steps."""
    return [part for part in (await chat.messages())[-1]["parts"] if part["type"] != "step-start"]


async def decide(chat: Chat, message_id: str, *, approved: bool, reason: str | None = None) -> Any:
    """Answer the approval that the last message asks for."""
    part = next(part for part in await last_parts(chat) if part.get("state") == "approval-requested")
    approval = {"id": part["approval"]["id"], "approved": approved, **({"reason": reason} if reason else {})}
    answer = {"type": part["type"], "toolCallId": part["toolCallId"], "state": "approval-responded"}
    return await chat.answer({**answer, "approval": approval}, message_id=message_id)
