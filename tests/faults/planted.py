"""Plants bugs in a copy of chatrt, one at a time, and tells what finds each of them and how fast.

    python -m tests.faults.planted           all of `planted_bugs.BUGS`
    python -m tests.faults.planted ack tool  those with one of these words in their names

It ends with 1 if one survives: then there is a promise that nothing looks at.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.planted_bugs import BUGS, Bug

HERE = Path(__file__).parents[2]
PATIENCE_SECONDS = 300
CHAOS = {"CHATS": "16", "READERS": "2", "SEED": "1", "PAUSES": "0.2-0.8"}


def plant(bug: Bug, house: Path) -> None:
    """Make a copy of everything that is needed, with a bug in it.

    Raises:
        ValueError: If the text to change does not stand there exactly once.
    """
    for name in ("chatrt", "tests"):
        shutil.copytree(HERE / name, house / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(HERE / "pyproject.toml", house)
    file = house / "chatrt" / bug.file
    text = file.read_text()
    if text.count(bug.old) != 1:
        raise ValueError(f"{bug.file} has {text.count(bug.old)} places for {bug.name!r}")
    file.write_text(text.replace(bug.old, bug.new))


def hunt(bug: Bug) -> str:
    """Let what has to find a bug look for it; returns what it says, nothing if it finds nothing.

    Raises:
        RuntimeError: If the copy is not what was looked at, or what was found is something else.
    """
    with TemporaryDirectory(prefix="chatrt-planted-") as folder:
        house = Path(folder)
        plant(bug, house)
        env = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        where = _run(house, env, "-c", "import chatrt; print(chatrt.__file__)")
        if not where.stdout.startswith(folder):
            raise RuntimeError(f"this looks at {where.stdout}")
        if bug.tests:
            return _ask_tests(bug, house, env)
        env |= {**CHAOS, "KILLS": str(bug.kills), "STORE": bug.store, "KEEP": str(house / "kept")}
        looked = _run(house, env, "-m", "tests.faults.chaos")
    found = [int(inv) for inv in re.findall(r"^ {2}INV-(\d+) ", looked.stdout, re.MULTILINE)]
    by = next((inv for inv in found if inv in bug.inv), None)
    if by is None:
        if looked.returncode != 0:
            raise RuntimeError(f"{bug.name}: found by nothing that should find it\n{looked.stdout}{looked.stderr}")
        return ""
    line = next(line for line in looked.stdout.splitlines() if line.startswith(f"  INV-{by} "))
    return f"chaos on {bug.store}: {line.strip()[:150]}"


def _ask_tests(bug: Bug, house: Path, env: dict[str, str]) -> str:
    looked = _run(house, env, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", *bug.tests)
    if looked.returncode not in (0, 1):
        raise RuntimeError(looked.stdout + looked.stderr)
    failed = [line for line in looked.stdout.splitlines() if line.startswith("FAILED")]
    return failed[0].removeprefix("FAILED ")[:150] if failed else ""


def _run(house: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=house, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )


def report(words: list[str]) -> int:
    """Hunt the bugs with one of these words in their names, or all of them; say what became of each."""
    wanted = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    survived = 0
    for bug in wanted:
        began = time.monotonic()
        said = hunt(bug)
        survived += not said
        seconds = time.monotonic() - began
        print(f"{seconds:5.0f} s  {'found' if said else 'SURVIVED'}  {bug.name}\n           {said}", flush=True)
    print(f"{len(wanted) - survived} of {len(wanted)} were found")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(report(sys.argv[1:]))
