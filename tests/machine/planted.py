"""Plants bugs in a copy of chatrt, one at a time, and tells which of them the machine finds, where and how fast.

python -m tests.machine.planted            all of `planted_bugs.BUGS`
python -m tests.machine.planted stop edit  those with one of these words in their names

It ends with 1 if one is not found: then there is something that the machine does not look at.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import chatrt
from tests.machine.conversation import Conversation, SlowConversation, converse
from tests.machine.planted_bugs import BUGS, Bug
from tests.machine.test_machine import EXAMPLES, EXAMPLES_IN_A_FILE, SEED

HERE = Path(__file__).parents[2]
LOOK = "--look"
PATIENCE_SECONDS = 300
"""Of work, for one bug: many times what all conversations take."""

FOUND = 3
FEW = 25


def plant(bug: Bug, house: Path) -> None:
    """Make a copy of everything that the machine needs, with a bug in it.

    Raises:
        ValueError: If the text to change does not stand there exactly once.
    """
    shutil.copytree(HERE / "chatrt", house / "chatrt", ignore=shutil.ignore_patterns("__pycache__"))
    (house / "tests").symlink_to(HERE / "tests")
    file = house / "chatrt" / bug.file
    text = file.read_text()
    if text.count(bug.old) != 1:
        raise ValueError(f"{bug.file} has {text.count(bug.old)} places for {bug.name!r}")
    file.write_text(text.replace(bug.old, bug.new))


def hunt(bug: Bug) -> tuple[str, float]:
    """Let the machine look for a bug in a process of its own: what it says of it, and after how many seconds of work."""
    with TemporaryDirectory() as folder:
        plant(bug, Path(folder))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tests.machine.planted", LOOK, bug.when_busy]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        looked = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if looked.returncode == -signal.SIGXCPU:
        return "it never came to an end", seconds
    if looked.returncode not in (0, FOUND):
        raise RuntimeError(looked.stderr)
    return looked.stdout.strip(), seconds


def look(house: Path, policy: str) -> int:
    """Hold the conversations of `make test` with the chatrt of this process until something is wrong; say where."""
    assert Path(chatrt.__file__).is_relative_to(house), chatrt.__file__
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE_SECONDS, PATIENCE_SECONDS))
    kinds = [(Conversation, when_busy, examples) for when_busy, examples in EXAMPLES.items()]
    kinds += [(SlowConversation, when_busy, examples) for when_busy, examples in EXAMPLES_IN_A_FILE.items()]
    # A few of each kind first: most bugs show soon, and some in one kind only.
    rounds = [(kind, when_busy, min(FEW, examples)) for kind, when_busy, examples in kinds] + kinds
    for kind, when_busy, examples in rounds:
        if policy not in ("", when_busy):
            continue
        try:
            converse(kind, when_busy=when_busy, examples=examples, number=SEED, shrink=False)
        except Exception as error:  # whatever it is
            place = "in a file" if kind is SlowConversation else "in memory"
            first = next(iter(str(error).splitlines()), "")
            print(f"{when_busy} {place}: {type(error).__name__}: {first[:110]}")
            return FOUND
    return 0


def report(words: list[str]) -> int:
    """Hunt the bugs with one of these words in their names, or all of them; say what became of each."""
    wanted = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    missed = 0
    for bug in wanted:
        said, seconds = hunt(bug)
        missed += not said
        print(f"{seconds:5.0f} s  {'found' if said else 'MISSED'}  {bug.name}\n           {said}", flush=True)
    print(f"{len(wanted) - missed} of {len(wanted)} were found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(look(Path.cwd(), sys.argv[2]) if sys.argv[1:2] == [LOOK] else report(sys.argv[1:]))
