"""Whatever happens in whatever order, a session does what a small reference of it does.

A failure prints the shortest way to it as a program. The conversations are the same in every run, unless another seed is
asked for: `MACHINE_SEED=random` (or a number, which repeats a failure) and `MACHINE_EXAMPLES=1000` for each of the busy
policies. `make machine` does both.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.machine.conversation import Conversation, SlowConversation, converse

SEED = 5
EXAMPLES = {"queue": 125, "steer": 125, "interrupt": 75, "reject": 50}
EXAMPLES_IN_A_FILE = {"queue": 15, "steer": 15}


def chosen_seed() -> int:
    """Which conversations are held; printed, so that those of a failure can be held again."""
    wanted = os.environ.get("MACHINE_SEED", str(SEED))
    number = random.SystemRandom().randrange(2**32) if wanted == "random" else int(wanted)
    print(f"MACHINE_SEED={number}")
    return number


def chosen_examples(usual: int) -> int:
    return int(os.environ.get("MACHINE_EXAMPLES", usual))


@pytest.mark.timeout(900)  # for the search of the shortest way to a failure
@pytest.mark.parametrize("when_busy", EXAMPLES)
def test_a_session_does_what_its_reference_does(when_busy: str):
    """Messages, statuses, hooks, prompts, effects and the log are what the contract says, through crashes and all."""
    converse(Conversation, when_busy=when_busy, examples=chosen_examples(EXAMPLES[when_busy]), number=chosen_seed())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("when_busy", EXAMPLES_IN_A_FILE)
def test_a_session_in_a_file_does_what_its_reference_does(when_busy: str):
    """The same on SQLite, whose calls take their time."""
    examples = min(chosen_examples(EXAMPLES_IN_A_FILE[when_busy]), 100)
    converse(SlowConversation, when_busy=when_busy, examples=examples, number=chosen_seed())
