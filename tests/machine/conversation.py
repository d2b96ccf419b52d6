"""Whole conversations: everything that may happen, in any order, and at the end all that was promised."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from chatrt.stores import SQLiteStore, Store
from tests.machine.answers import Answers
from tests.machine.fate import Fate
from tests.machine.people import People

STEPS = 40


class Conversation(People, Answers, Fate):
    """Everything, and at the end all that was promised."""

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if self.whole:
                self._bring_to_an_end()
        finally:
            self.world.end()

    def _bring_to_an_end(self) -> None:
        reference, stage = self.reference, self.world.stage
        reference.faults.clear()
        stage.faults.clear()
        for _ in range(300):
            if self.is_done:
                break
            self.let_everything_go(*([] if reference.moves else [("end",)]))
        self.checks.check()
        self.checks.check_from_outside(0)
        self.checks.check_settled()


class SlowConversation(Conversation):
    """The same with a store in a file. Nothing happens at the same moment: its threads would decide what comes first."""

    def make_store(self) -> Store:
        self.folder = TemporaryDirectory()
        return SQLiteStore(Path(self.folder.name, "chat.db"))

    def deliver(self, *inputs: tuple[str, dict[str, Any], str]) -> None:
        for one in inputs:
            super().deliver(one)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


def converse(machine: type[Conversation], *, when_busy: str, examples: int, number: int, shrink: bool = True) -> None:
    """Hold conversations with an agent of a busy policy; the same number gives the same conversations.

    Raises:
        Exception: If what happens is not what the reference says.
    """
    chosen: Any = seed(number)(type("Chosen", (machine,), {"when_busy": when_busy}))
    budget = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(chosen, settings=budget)
