"""`chatrt types`: the declarations of a target, on standard output or in a file."""

from __future__ import annotations

import pytest

AGENTS = '''
from typing import Literal

from pydantic import BaseModel

from chatrt import ChatAgent, create_app, tool

print("loading")


class Undo(BaseModel):
    type: Literal["undo"]


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


support = ChatAgent("support", run=lambda turn: "", tools=[add], action=Undo, on_action=lambda event: None)
sales = ChatAgent("sales", run=lambda turn: "")
agents = [support, sales]
app = create_app(agents)
'''


@pytest.fixture
def folder(tmp_path):
    """A folder with agents."""
    (tmp_path / "agents.py").write_text(AGENTS)
    return tmp_path


async def test_declarations_of_an_app(chatrt, folder):
    """All agents of the target are declared; what it prints when it is loaded is no part of them."""
    done = await chatrt.run("types", "agents.py")
    assert (done.code, done.err) == (0, "loading\n")
    assert '  support: {\n    action: { type: "undo" };\n' in done.out
    assert "  sales: {\n    action: never;\n" in done.out
    assert "input: { a: number; b: number };" in done.out
    assert not list(folder.glob("*.db"))


async def test_the_same_for_the_same_agents(chatrt, folder):
    """Two runs write the same bytes, so that a diff shows what changed."""
    assert (await chatrt.run("types", "agents.py:agents")).out == (await chatrt.run("types", "agents.py:agents")).out


async def test_one_agent(chatrt, folder):
    """A target that is one agent declares it alone."""
    done = await chatrt.run("types", "agents.py:sales", "--no-ai-sdk")
    assert "support" not in done.out
    assert "import" not in done.out


async def test_a_file(chatrt, folder):
    """`--out` writes the file, through a link as well, and leaves one that says the same alone."""
    (folder / "real.d.ts").write_text("old")
    (folder / "agents.d.ts").symlink_to(folder / "real.d.ts")
    done = await chatrt.run("types", "agents.py", "--out", "agents.d.ts")
    assert (done.code, done.out) == (0, "")
    assert "export interface Agents" in (folder / "real.d.ts").read_text()
    assert (folder / "agents.d.ts").is_symlink()
    written = (folder / "real.d.ts").stat()
    assert (await chatrt.run("types", "agents.py", "--out", "agents.d.ts")).code == 0
    assert (folder / "real.d.ts").stat().st_mtime_ns == written.st_mtime_ns
    assert sorted(file.name for file in folder.glob("*.ts")) == ["agents.d.ts", "real.d.ts"]


async def test_a_file_that_others_may_read(chatrt, folder):
    """A new file has the mode that any new file has, an old one keeps its own."""
    await chatrt.run("types", "agents.py", "--out", "new.d.ts")
    (folder / "plain").touch()
    assert (folder / "new.d.ts").stat().st_mode == (folder / "plain").stat().st_mode
    (folder / "own.d.ts").write_text("old")
    (folder / "own.d.ts").chmod(0o640)
    await chatrt.run("types", "agents.py", "--out", "own.d.ts")
    assert (folder / "own.d.ts").stat().st_mode & 0o777 == 0o640


async def test_a_file_that_cannot_be_written(chatrt, folder):
    """It is said in one sentence, with exit code 2."""
    done = await chatrt.run("types", "agents.py", "--out", "nowhere/agents.d.ts")
    assert done.code == 2
    assert done.err.splitlines()[-1] == "chatrt: nowhere/agents.d.ts cannot be written: No such file or directory"


async def test_a_target_without_agents(chatrt, folder):
    """An app that does not say which agents it has cannot be described."""
    (folder / "other.py").write_text("async def app(scope, receive, send): ...\n")
    done = await chatrt.run("types", "other.py:app")
    assert done.code == 2
    assert "does not say which agents" in done.err
