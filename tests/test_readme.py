"""The README is run: its Python works, and the tests and files it names are there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from chatrt import AgentChat, SessionManager

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


async def run_block(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a block as a notebook would: `await` and `async with` may stand at the top."""
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
    return names


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The blocks write their files somewhere else."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_an_agent_a_client_sub_agents_and_a_test():
    """There are four blocks of Python, so none of the tests below runs nothing."""
    assert len(BLOCKS) == 4


async def test_the_agent_is_an_agent(elsewhere):
    """The agent's block defines an app that serves it, with its tool and its actions."""
    names = await run_block(BLOCKS[0], {"__name__": "agent"})
    app = names["app"]

    assert list(app.state.sessions.agents) == ["support"]
    assert await names["search_docs"]("ref") == ["Refunds"]


async def test_the_agent_undoes(elsewhere):
    """Its undo takes back a question and its answer, its rollback what came after a message."""
    names = await run_block(BLOCKS[0], {"__name__": "agent"})
    support = names["support"]

    @support.run
    async def respond(turn):
        return f"answer {len(turn.ui_messages)}"

    async with SessionManager(support, "memory://") as sessions:
        chat = AgentChat("support", sessions=sessions, client_data={"language": "de"})
        for text in ("one", "two", "three"):
            await chat.send_message(text).text()
        await chat.send_action({"type": "undo"}).result()
        after_undo = await chat.messages()
        await chat.send_action({"type": "rollback", "target_message_id": after_undo[1]["id"]}).result()
        after_rollback = await chat.messages()

    assert [message["parts"][-1]["text"] for message in after_undo] == ["one", "answer 1", "two", "answer 3"]
    assert after_rollback == after_undo[:2]


async def test_the_client_works(elsewhere):
    """The client's block runs, and what it asserts holds."""
    names = await run_block(BLOCKS[1], {"__name__": "client"})
    assert names["answer"] == "Hello! Nice to meet you."


async def test_the_agents_that_ask_agents_do(elsewhere):
    """The block with a sub-agent runs, and what it asserts holds."""
    names = await run_block(BLOCKS[2], {"__name__": "family"})
    assert names["children"] == ["researcher"]


async def test_the_test_of_an_agent_passes(elsewhere):
    """The block with the harness runs, and what it asserts holds."""
    names = await run_block(BLOCKS[3], {"__name__": "harness"})
    assert len(names["chat"].messages) == 4


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "protocol.md"])
def test_what_the_documents_name_is_there(name: str):
    """Every test file, document and source file that a document names exists."""
    text = (ROOT / name).read_text()
    named = set(re.findall(r"`((?:tests|chatrt|examples)/[\w/.-]+)`", text)) | set(
        re.findall(r"\]\(([\w/.-]+)\)", text)
    )
    missing = [path for path in named if not path.startswith("http") and not (ROOT / path).exists()]

    assert missing == []


def test_the_contributing_page_names_every_dependency():
    """Each runtime dependency has its sentence."""
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert listed
    names = re.findall(r'^\s*"([\w-]+)', listed[1], re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text()

    assert len(names) > 8
    assert [name for name in names if f"**{name}**" not in contributing] == []
