"""The bugs that are planted to see whether anybody finds them can still be planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.planted_bugs import BUGS
from tests.machine.planted_bugs import BUGS as BUGS_FOR_THE_MACHINE

HOUSE = Path(__file__).parents[2] / "chatrt"


@pytest.mark.parametrize("bug", [*BUGS, *BUGS_FOR_THE_MACHINE], ids=lambda bug: bug.name)
def test_a_bug_has_its_place(bug):
    """What is changed stands exactly once in the file, so that the change is the bug that its name says."""
    assert (HOUSE / bug.file).read_text().count(bug.old) == 1
    assert bug.new != bug.old
