"""Whatever happens in whatever order, a session does what a small reference of it does.

A failure prints the shortest way to it as a program, and the seed: `CHATRT_SEED=... pytest tests/machine` repeats it.
`CHATRT_EXAMPLES` gives another number of examples for each test.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Conversation, SlowConversation

STEPS = 40
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)


def run(machine: type[Conversation], *, when_busy: str, examples: int) -> None:
    number = int(os.environ.get("CHATRT_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CHATRT_SEED={number}")
    chosen: Any = seed(number)(type("Chosen", (machine,), {"when_busy": when_busy}))
    budget = settings(
        max_examples=int(os.environ.get("CHATRT_EXAMPLES") or examples),
        stateful_step_count=STEPS,
        derandomize=False,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(chosen, settings=budget)


@pytest.mark.timeout(600)  # for the search of the shortest way to a failure
@pytest.mark.parametrize(("when_busy", "examples"), [("queue", 100), ("steer", 100), ("interrupt", 75), ("reject", 50)])
def test_a_session_does_what_its_reference_does(when_busy: str, examples: int):
    """Messages, statuses, hooks, prompts, effects and the log are what the contract says, through crashes and all."""
    run(Conversation, when_busy=when_busy, examples=examples)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("when_busy", ["queue", "steer"])
def test_a_session_in_a_file_does_what_its_reference_does(when_busy: str):
    """The same on SQLite, whose calls take their time."""
    run(SlowConversation, when_busy=when_busy, examples=15)
