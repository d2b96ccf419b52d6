"""What can be seen of the runs of this process whenever somebody looks: the gauges of a session manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def watch_runs(
    metrics: Metrics,
    runs: Mapping[SessionKey, Waiting],
    live: Mapping[SessionKey, LiveSession],
    unserved: Callable[[], int],
) -> None:
    """Let metrics look at these; nothing is counted until somebody does."""
    metrics.watch(ACTIVE_RUNS, lambda: len(runs))
    metrics.watch(WAITING_INPUTS, lambda: sum(run.waiting for run in list(runs.values())))
    metrics.watch(LIVE_READERS, lambda: sum(one.outbox.readers for one in list(live.values())))
    metrics.watch(READER_LAG, lambda: max((one.outbox.lag for one in list(live.values())), default=0))
    metrics.watch(UNSERVED, unserved)
