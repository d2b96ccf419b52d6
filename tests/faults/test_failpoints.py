"""A process that dies, freezes or fails at each named point: what was acknowledged is settled once, and nothing is lost.

The cases stand in `failpoint_table`. Most of the time of a case is waiting for a lease to run out, so several run at the
same time, in threads; each test waits for its own. Where pytest runs in several processes they share the cases.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from chatrt.failpoints import POINTS
from tests.faults.failpoint_run import IMPORTS, run_case
from tests.faults.failpoint_table import CASES, EVERY, PLACES, Case, why_not
from tests.faults.forking import ForkServer
from tests.postgres import PostgresServer

AT_ONCE = 12
"""How many cases run at the same time, over all processes of pytest."""

CASE_SECONDS = 240
"""How long a test waits: its case may be among the last that are played."""

GOOD = "good"


class Batch:
    """Plays cases ahead of the tests that ask for them. Who takes a case first plays it and leaves what came of it.

    Args:
        cases: Those that were selected, in the order of their tests.
        shared: A folder that all processes of this run of pytest have.
        postgres: Where databases are made.
    """

    def __init__(self, cases: Sequence[Case], shared: Path, postgres: PostgresServer) -> None:
        self._cases = iter(cases)
        self._shared = shared
        self._postgres = postgres
        self._forks = ForkServer(*IMPORTS)
        self._taking = threading.Lock()
        self._databases: list[str] = []
        self._over = False
        at_once = max(1, AT_ONCE // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
        self._threads = [threading.Thread(target=self._play_on, daemon=True) for _ in range(at_once)]
        for thread in self._threads:
            thread.start()

    def result(self, case: Case) -> str:
        """Wait for what came of a case."""
        found = self._shared / f"{case.name}.txt"
        end = time.monotonic() + CASE_SECONDS
        while not found.exists():
            assert time.monotonic() < end, "nobody plays this case"
            time.sleep(0.01)
        return found.read_text()

    def close(self) -> None:
        """End, when the cases at hand are over."""
        self._over = True
        for thread in self._threads:
            thread.join()
        self._forks.close()

    def _play_on(self) -> None:
        while (case := self._take()) is not None:
            result = self._play(case)
            written = self._shared / f"{case.name}.part"
            written.write_text(result)
            written.rename(self._shared / f"{case.name}.txt")

    def _take(self) -> Case | None:
        while not self._over:
            with self._taking:
                case = next(self._cases, None)
            if case is None:
                return None
            try:
                (self._shared / case.name).mkdir()
            except FileExistsError:
                continue  # another process of pytest has it
            return case
        return None

    def _play(self, case: Case) -> str:
        folder = self._shared / case.name
        store = self._store_of(case, folder)
        try:
            run_case(case, self._forks, folder, store)
        except BaseException as error:
            told = "".join(traceback.format_exception(error))
            log = folder / "server.log"
            return f"{told}\n{folder}:\n{log.read_text()[-4000:] if log.exists() else ''}"
        if case.store == "postgres":
            self._databases.append(store)  # what a failed case has left is left alone
        return GOOD

    def _store_of(self, case: Case, folder: Path) -> str:
        if case.store == "sqlite":
            return f"sqlite:///{folder / 'chat.db'}"
        if case.place.talk != "start" and self._databases:
            return self._databases.pop()
        # What is tried out is not how long a busy machine may take.
        return f"{self._postgres.create_database(f'failpoint_{CASES.index(case)}')}?timeout=10"


@pytest.fixture(scope="module")
def batch(request, postgres, tmp_path_factory) -> Iterator[Batch]:
    selected = [item.callspec.params["case"] for item in request.session.items if "case" in _params(item)]
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "failpoints"
    shared.mkdir(exist_ok=True)
    batch = Batch([case for case in selected if isinstance(case, Case)], shared, postgres)
    yield batch
    batch.close()


def _params(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_at_a_point_breaks_no_promise(batch, case):
    """Inputs are settled once and in order, readers miss nothing, tools run as often as they may, the chat goes on."""
    result = batch.result(case)
    assert result == GOOD, result


def test_every_point_is_tried():
    """Each failpoint of the package stands in the table, and no case is there twice."""
    assert {place.point for place in PLACES} == set(POINTS)
    assert len({case.name for case in EVERY}) == len(EVERY)


def test_what_is_left_out_is_left_out_for_a_reason():
    """Of all faults at all places over both stores, only those are missing for which the table says why."""
    assert set(EVERY) - set(CASES) == {case for case in EVERY if why_not(case)}
    assert len(CASES) > 300
