"""Agents for the tests of the harness, as an application would declare them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from chatrt import ChatAgent, Turn, stream_text, tool
from chatrt.models import FunctionModel
from chatrt.models.scripted import finish, text
from chatrt.testing import Gate

MODEL = "openai/gpt-5"
"""A name that no test may reach."""


class Undo(BaseModel):
    """Takes the last exchange back."""

    type: Literal["undo"] = "undo"
    count: int = 1


@tool(needs_approval=True)
async def refund(order_id: str) -> str:
    """Give the money of an order back."""
    return f"refunded {order_id}"


@tool
async def ask_user(question: str) -> str:
    """Ask the person."""


def answering(**options: Any) -> ChatAgent:
    """An agent that asks its model, with its tools."""

    def run(turn: Turn[Any]) -> Any:
        return stream_text(MODEL, turn.messages, tools=turn.tools)

    return ChatAgent("support", **{"run": run, **options})


def halting(gate: Gate) -> FunctionModel:
    """A model that says "half", waits at a gate, and says "whole"."""

    async def answer(request: Any) -> Any:
        begin, first, second, end = text(["half", "whole"])
        yield begin
        yield first
        await gate.wait()
        yield second
        yield end
        for part in finish():
            yield part

    return FunctionModel(answer)


def texts(messages: list[Any]) -> list[tuple[str, str]]:
    """Each message as its role and its text."""
    return [
        (message["role"], "".join(part["text"] for part in message["parts"] if part["type"] == "text"))
        for message in messages
    ]
