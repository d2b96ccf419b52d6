"""The example about branches does what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from chatrt import AgentChat, SessionManager

FILE = Path(__file__).parents[2] / "examples" / "09_branching.py"


@pytest.fixture
def example(monkeypatch):
    """The example's module."""
    spec = importlib.util.spec_from_file_location("branching_example", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "branching_example", module)
    spec.loader.exec_module(module)
    return module


async def test_it_shows_what_its_comments_say(example, capsys):
    """Each message is printed with its place among its siblings: after the edit, and after each switch."""
    await example.main()
    assert capsys.readouterr().out.splitlines() == [
        "2/2 What is a buoy for?",
        "1/1 Answer 3",
        "1/2 What is a lighthouse for?",
        "2/2 Answer 2",
        "1/2 What is a lighthouse for?",
        "1/2 Answer 1",
    ]


async def test_the_conversation_goes_on_on_the_old_branch(example):
    """What is asked after a switch stands behind the branch that was switched to."""
    async with SessionManager(example.brancher) as sessions:
        chat = AgentChat("brancher", sessions=sessions)
        first = (await chat.send_message("one").result()).message
        await chat.send_action({"type": "regenerate"}).text()
        await chat.send_action({"type": "switch", "to": first["id"]}).result()
        await chat.send_message("two").text()
        assert [message["id"] for message in await chat.messages()][1] == first["id"]
        assert len(await chat.messages()) == 4


async def test_a_switch_to_nowhere_is_refused(example):
    """An action that names an unknown message fails visibly."""
    async with SessionManager(example.brancher) as sessions:
        chat = AgentChat("brancher", sessions=sessions)
        await chat.send_message("one").text()
        result = await chat.send_action({"type": "switch", "to": "nowhere"}).result()
    assert (result.status, result.error["code"]) == ("failed", "message-not-found")
