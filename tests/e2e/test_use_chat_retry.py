"""The published `useChat` hooks, unmodified, when the server dies in an answer and the question is answered again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_use_chat import VERSIONS

HERE = Path(__file__).parent

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def run(node, start_server):
    """Run a scenario beside a server that ends by itself, and is started once more."""

    def run(version: str, scenario: str) -> dict[str, Any]:
        server = start_server("tests/e2e/retry_app.py:app")
        script = [node, "usechat.mjs", version, scenario, server.url]
        with subprocess.Popen(script, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            server.wait_until_dead()
            server.start()
            output, errors = running.communicate(timeout=100)
        assert output, errors
        said = json.loads(output.strip().splitlines()[-1])
        assert "failed" not in said, said
        return said["result"]

    return run


def check(seen: dict[str, Any]) -> None:
    """The first answer stays as it was seen, and the second one is what the server has, under its id."""
    assert seen["texts"] == ["question", "half", "half and whole"]
    assert len(set(seen["ids"])) == 3
    assert seen["status"] == "ready"
    assert seen["stored"] == [["question", seen["ids"][0]], ["half and whole", seen["ids"][2]]]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_finds_the_second_answer_by_resuming_again(run, version):
    """The stream breaks off behind the first answer, as with any early end, and resuming shows the second one alone."""
    seen = run(version, "retried")
    assert seen["middle"] == "error"
    check(seen)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_page_that_says_its_version_is_told_both_at_once(run, version):
    """From v6 on a page that says what it is need not resume again: the second answer follows the first one."""
    seen = run(version, "retried-told")
    assert seen["middle"] == "streaming"
    check(seen)
