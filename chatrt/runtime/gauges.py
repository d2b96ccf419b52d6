"""What can be seen of the runs of this process whenever somebody looks: the gauges of a session manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from chatrt.metrics import ACTIVE_RUNS, LIVE_READERS, READER_LAG, UNSERVED, WAITING_INPUTS, Metrics
from chatrt.runtime.session import LiveSession
from chatrt.stores import SessionKey


class Waiting(Protocol):
    """Something with inputs that wait: a run."""

    @property
    def waiting(self) -> int:
        """How many."""
        ...


class Unserved:
    """How many sessions of the store had work that nobody did, at the last look."""

    def __init__(self) -> None:
        self.count = 0

    def found(self, count: int) -> None:
        """Take it down."""
        self.count = count


def watch_runs(
    metrics: Metrics, runs: Mapping[SessionKey, Waiting], live: Mapping[SessionKey, LiveSession]
) -> Unserved:
    """Let metrics look at these; nothing is counted until somebody does."""
    unserved = Unserved()
    metrics.watch(ACTIVE_RUNS, lambda: len(runs))
    metrics.watch(WAITING_INPUTS, lambda: sum(run.waiting for run in list(runs.values())))
    metrics.watch(LIVE_READERS, lambda: sum(one.outbox.readers for one in list(live.values())))
    metrics.watch(READER_LAG, lambda: max((one.outbox.lag for one in list(live.values())), default=0))
    metrics.watch(UNSERVED, lambda: unserved.count)
    return unserved
