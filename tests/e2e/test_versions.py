"""The chat page's own scripts against a real server: the versions that an edit or another answer leaves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def seen(node, start_server) -> dict[str, Any]:
    """What the page showed, step by step."""
    server = start_server("examples/01_demo.py:app", CHATRT_DEMO_PAUSE="0")
    command = [node, "versions.mjs", server.url]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FIRST, SECOND = ["What is 1 + 2?"], ["What is 20 + 3?"]


def test_a_message_alone_has_no_switcher(seen):
    """Where there is one version nothing is shown."""
    assert seen["alone"] == []


def test_versions_are_counted(seen):
    """What an edit and another answer left shows as a place among versions."""
    assert seen["edited"] == [SECOND, ["2/2"]]
    assert seen["again"] == [SECOND, ["2/2", "2/2"]]
    assert seen["disabled"] == [False, True, False, True]


def test_versions_are_switched(seen):
    """An earlier version of the question comes with its own answer, and the later one is a click away."""
    assert seen["back"] == [FIRST, ["1/2"]]
    assert seen["forth"] == [SECOND, ["2/2", "2/2"]]
    assert seen["answer"] == [SECOND, ["2/2", "1/2"]]
