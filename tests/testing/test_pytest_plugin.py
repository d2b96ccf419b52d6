"""The pytest plugin, in a pytest of its own: found by its entry point, harmless where nobody uses it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")  # pytest-asyncio warns unless it is told
AGENT = """
import pytest
from chatrt import ChatAgent, stream_text
from chatrt.testing import ScriptedModel, allow_model_calls
from chatrt.models.permission import check_model_call

support = ChatAgent("support", run=lambda turn: stream_text("openai/gpt-5", turn.messages))
"""


def run_pytest(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one test file in a fresh process with the plugin of this checkout and no settings of ours."""
    (folder / "test_it.py").write_text(AGENT + test)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-c", "/dev/null", "--rootdir", str(folder)]
    plugins = ["no:cacheprovider", "no:chatrt", "chatrt.testing.pytest_plugin"]  # an installed one is not the one
    return subprocess.run(
        [*command, *(word for plugin in plugins for word in ("-p", plugin)), *options, "test_it.py"],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_entry_point_names_the_plugin():
    """Whoever installs chatrt has the plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    plugin = import_module(project["entry-points"]["pytest11"]["chatrt"])

    assert hasattr(plugin, "chat_harness")


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_fixture_makes_open_harnesses(tmp_path, mode):
    """The fixture works in both modes of pytest-asyncio; harnesses are closed at the end of the test."""
    test = """
kept = []

@pytest.mark.asyncio
async def test_greets(chat_harness):
    chat = await chat_harness(support, model=ScriptedModel(["Hello."]))
    kept.append(chat)
    assert (await chat.send("Hi")).text == "Hello."

def test_closed():
    assert not kept[0].is_in_memory
"""

    result = run_pytest(tmp_path, test, "-o", f"asyncio_mode={mode}", *SCOPE)

    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_real_model_calls_are_forbidden_for_whom_uses_the_fixture(tmp_path):
    """A test that uses the fixture cannot reach a provider unless it says so; other tests are not touched."""
    test = """
def test_others():
    check_model_call("openai/gpt-5")

@pytest.mark.asyncio
async def test_forbidden(chat_harness):
    chat = await chat_harness(support)
    assert (await chat.send("Hi")).error["code"] == "model-call-forbidden"

@pytest.mark.asyncio
async def test_allowed(chat_harness):
    with allow_model_calls():
        check_model_call("openai/gpt-5")

def test_others_still():
    check_model_call("openai/gpt-5")
"""

    result = run_pytest(tmp_path, test, *SCOPE)

    assert "4 passed" in result.stdout, result.stdout + result.stderr


def test_a_failing_test_is_closed_too(tmp_path):
    """A test that fails in the middle of a turn leaves no task, and pytest reports the failure alone."""
    test = """
import asyncio

@pytest.mark.asyncio
async def test_fails(chat_harness):
    agent = ChatAgent("a", run=lambda turn: asyncio.Event().wait())
    chat = await chat_harness(agent)
    await chat.start("Hi")
    await chat.settle()
    assert not chat.is_running
"""

    result = run_pytest(tmp_path, test, *SCOPE)

    assert "1 failed" in result.stdout, result.stdout + result.stderr
    assert "never awaited" not in result.stdout + result.stderr


def test_without_pytest_asyncio_the_fixture_says_what_is_missing(tmp_path):
    """Where no async fixtures can run the fixture fails with a sentence, and only when it is used."""
    test = """
def test_plain():
    pass

def test_uses(chat_harness):
    pass
"""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'pytest_asyncio' else find(name, package)\n"
    )

    result = run_pytest(tmp_path, test, "-p", "no:asyncio")

    assert "needs pytest-asyncio" in result.stdout, result.stdout + result.stderr
    assert "1 passed, 1 error" in result.stdout


def test_the_plugin_loads_next_to_nothing():
    """pytest loads the plugin in every run: it brings no runtime, no pydantic and no litellm with it."""
    code = (
        "import sys, chatrt.testing.pytest_plugin\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('chatrt', 'pydantic', 'litellm')))"
    )

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "['chatrt', 'chatrt.testing', 'chatrt.testing.pytest_plugin']"
