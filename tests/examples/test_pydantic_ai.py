"""The pydantic-ai example, with a model that follows a script: its tools, its approval, its history."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.models.function import FunctionModel

from tests.adapters.pydantic_ai_script import Script, calls
from tests.runtime.conftest import house
from tests.runtime.driver import Chat, House

__all__ = ["house"]

FILE = Path(__file__).parents[2] / "examples" / "10_pydantic_ai.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's module."""
    monkeypatch.delenv("PYDANTIC_AI_MODEL", raising=False)
    spec = importlib.util.spec_from_file_location("pydantic_ai_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pydantic_ai_example", module)
    spec.loader.exec_module(module)
    return module


async def open_shop(house: House, example: Any, *answers: list[Any]) -> Chat:
    """Open a chat whose clerk answers by this script."""
    example.clerk.model = FunctionModel(stream_function=Script(*answers))
    return await house.open(example.shop)


def ask(tool: str, order: str, call_id: str = "call_1") -> dict[Any, Any]:
    return calls(tool, f'{{"order": "{order}"}}', call_id)


async def test_it_answers_with_its_tools(house: House, example: Any):
    """An order that is not there is refused, the model corrects itself, and the person reads the answer."""
    chat = await open_shop(
        house, example, [ask("order_status", "B7", "c1")], [ask("order_status", "A2", "c2")], ["It is being packed."]
    )

    turn = await chat.send("Where is my order?")

    outcomes = [part.get("output") or part.get("errorText") for part in (await chat.messages())[-1]["parts"]]
    assert turn.text == "It is being packed."
    assert outcomes[1] == "There is no order B7; the orders are A1, A2."
    assert outcomes[3] == "packing"


async def test_it_asks_before_it_cancels(house: House, example: Any):
    """Nothing is cancelled before the person said yes; then it is."""
    chat = await open_shop(house, example, [ask("cancel_order", "A2")], ["Done."])
    first = await chat.send("Cancel A2")
    part = (await chat.messages())[-1]["parts"][-1]
    before = dict(example.ORDERS)

    approval = {"id": part["approval"]["id"], "approved": True}
    answer = {**part, "state": "approval-responded", "approval": approval}
    turn = await chat.answer(answer, message_id=first.start["messageId"])

    assert (before["A2"], example.ORDERS["A2"], turn.text) == ("packing", "cancelled", "Done.")


async def test_it_runs_without_a_key(house: House, example: Any):
    """With pydantic-ai's test model a first turn works out of the box."""
    chat = await house.open(example.shop)

    assert (await chat.send("hello")).status == "completed"
