"""The example that tests an agent: its tests pass, and they notice when the agent is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "11_testing_your_agent.py"


def run(file: Path) -> str:
    """Run a test file with pytest as the example says, with the plugin of this checkout."""
    plugins = ["no:cacheprovider", "no:chatrt", "chatrt.testing.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-c", "/dev/null", "--rootdir", str(file.parent)]
    command += ["-o", "asyncio_default_fixture_loop_scope=function", "--import-mode=importlib"]
    command += [word for plugin in plugins for word in ("-p", plugin)]
    result = subprocess.run(
        [*command, str(file)], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return result.stdout + result.stderr


def test_its_tests_pass():
    """The agent of the example does what its tests say."""
    assert "5 passed" in run(FILE)


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    [
        ("@tool(needs_approval=True)", "@tool", 3),
        ("event.history.slice(0, -2)", "None", 1),
        ("idle_timeout=60", "idle_timeout=3600", 1),
        ("turn.messages, tools=turn.tools", "turn.messages[:1]", 3),
    ],
)
def test_its_tests_notice_a_broken_agent(tmp_path, right, wrong, failed):
    """A change that breaks the agent breaks the tests that are about it."""
    source = FILE.read_text()
    assert right in source
    broken = tmp_path / "test_broken.py"
    broken.write_text(source.replace(right, wrong, 1))

    assert f"{failed} failed" in run(broken)
