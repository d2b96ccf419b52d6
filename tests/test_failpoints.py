"""Failpoints: what may be asked for, and what happens at a point when it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from chatrt.errors import UsageError
from chatrt.failpoints import POINTS, parse

PASS = """
import sys
from chatrt import failpoints
from chatrt.errors import StoreUnavailableError

failpoints.read_environment()
for _ in range(3):
    failpoints.reach("turn.chunk")
    print("passed", flush=True)
try:
    with failpoints.writing("in.pre_commit"):
        print("written", flush=True)
except StoreUnavailableError:
    print("unavailable", flush=True)
"""


@pytest.fixture
def passing(tmp_path):
    """A process that passes `turn.chunk` three times and then writes at `in.pre_commit`."""

    def start(asked: str) -> tuple[subprocess.Popen[str], list[dict[str, object]]]:
        log = tmp_path / "fired.jsonl"
        env = {**os.environ, "CHATRT_FAILPOINTS": asked, "CHATRT_FAILPOINTS_LOG": str(log)}
        process = subprocess.Popen([sys.executable, "-c", PASS], env=env, stdout=subprocess.PIPE, text=True)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        return process, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return start


def test_nothing_happens_unless_it_is_asked_for(passing):
    """Without CHATRT_FAILPOINTS every point is passed and every write takes place."""
    process, fired = passing("")
    assert process.communicate()[0].split() == ["passed", "passed", "passed", "written"]
    assert fired == []


def test_a_process_dies_at_the_pass_that_was_asked_for(passing):
    """`kill@2` ends the process at its second pass, and a line says so before it does."""
    process, fired = passing("turn.chunk=kill@2")
    assert process.communicate()[0].split() == ["passed"]
    assert process.returncode == -signal.SIGKILL
    assert [(one["point"], one["action"], one["pass"], one["pid"]) for one in fired] == [
        ("turn.chunk", "kill", 2, process.pid)
    ]


def test_a_process_that_was_stopped_goes_on_where_it_stood(passing):
    """`stop` freezes the process until somebody lets it go on."""
    process, fired = passing("turn.chunk=stop")
    assert [one["action"] for one in fired] == ["stop"]
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0].split() == ["passed", "passed", "passed", "written"]


def test_raise_keeps_a_write_from_happening(passing):
    """`raise` at a write says that the store is unavailable, and nothing is written."""
    process, _ = passing("in.pre_commit=raise")
    assert process.communicate()[0].split() == ["passed", "passed", "passed", "unavailable"]


def test_then_raise_lets_a_write_happen(passing):
    """`then-raise` at a write says that the store is unavailable although it took effect."""
    process, _ = passing("in.pre_commit=then-raise")
    assert process.communicate()[0].split() == ["passed", "passed", "passed", "written", "unavailable"]


def test_raise_elsewhere_is_an_error_nobody_expects(passing):
    """`raise` where nothing is written ends what passes the point."""
    process, _ = passing("turn.chunk=raise@3;in.pre_commit=kill")
    assert process.communicate()[0].split() == ["passed", "passed"]
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("turn.chunks=kill", "there is no point 'turn.chunks'; points: "),
        ("turn.chunk=die", "'turn.chunk=die' is not point=action[@k]; actions: kill, stop"),
        ("turn.chunk", "is not point=action"),
        ("turn.chunk=kill@0", "is not point=action"),
        ("turn.chunk=then-raise", "nothing is written at 'turn.chunk'; writes: in.pre_commit"),
    ],
)
def test_what_does_not_exist_is_refused(asked, said):
    """An unknown point or action is refused with the list of those that exist."""
    with pytest.raises(UsageError) as caught:
        parse(asked)
    assert said in str(caught.value)


def test_the_command_line_refuses_before_it_starts():
    """`chatrt serve` with a failpoint that does not exist ends with status 2 and says which exist."""
    env = {**os.environ, "CHATRT_FAILPOINTS": "turn.chunks=kill"}
    command = [sys.executable, "-m", "chatrt.cli", "serve", "chatrt.testing.playbook:app"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert all(point in done.stderr for point in POINTS)
