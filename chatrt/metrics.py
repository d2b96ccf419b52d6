"""Metrics: what a process counts of its own work, for Prometheus and for OpenTelemetry.

`Metrics` holds the figures of one session manager; `chatrt.server.metrics` writes them for Prometheus. The same goes to
OpenTelemetry's meter `chatrt`, which does nothing without an SDK.

Counting is an addition in a dict, without a lock: everything counts in the event loop, and nothing counts per chunk.
Labels have few values and none comes from a client: no chat id, no tenant, no tool name that a model made up.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from weakref import WeakSet

from opentelemetry import metrics as otel

Labels = tuple[str, ...]
"""The values of an instrument's labels, in their order."""

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SLOW = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True, slots=True)
class Instrument:
    """Something that is counted or measured.

    Attributes:
        name: As Prometheus shows it, without the `_total` of counters; seconds are part of it.
        kind: `counter` only grows; `gauge` is looked at when somebody asks; `histogram` counts sizes.
        help: What it says, in a sentence.
        labels: Names of its labels.
        buckets: Upper bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def otel_name(self) -> str:
        """Its name in OpenTelemetry, where the unit is told apart."""
        return self.name.removesuffix("_seconds").replace("chatrt_", "chatrt.", 1)

    @property
    def unit(self) -> str:
        """Its unit in OpenTelemetry."""
        return "s" if self.name.endswith("_seconds") else "1"


ACTIVE_RUNS = Instrument("chatrt_active_runs", "gauge", "Sessions that a run of this process serves.")
LIVE_READERS = Instrument("chatrt_live_readers", "gauge", "Readers that wait for more of an outbox.")
READER_LAG = Instrument("chatrt_reader_lag_records", "gauge", "Records that the slowest live reader has not taken yet.")
WAITING_INPUTS = Instrument(
    "chatrt_waiting_inputs", "gauge", "Inputs that were read and not settled by the runs of this process."
)
UNSERVED = Instrument(
    "chatrt_unserved_sessions", "gauge", "Sessions of the whole store with work that nobody served at the last look."
)
OPEN_STREAMS = Instrument("chatrt_open_streams", "gauge", "SSE responses that are open.")
STALLED = Instrument("chatrt_reader_stalled_seconds", "gauge", "How long the slowest client has not taken a write.")
TURNS = Instrument("chatrt_turns", "counter", "Inputs that were settled.", ("agent", "trigger", "status"))
TURN_SECONDS = Instrument(
    "chatrt_turn_seconds", "histogram", "From taking an input up to its turn-complete.", ("agent",), SLOW
)
TOOL_CALLS = Instrument("chatrt_tool_calls", "counter", "Tool calls that have an outcome.", ("agent", "outcome"))
TOKENS = Instrument("chatrt_tokens", "counter", "Tokens that models counted.", ("agent", "kind"))
TAKEOVERS = Instrument("chatrt_takeovers", "counter", "Turns that a dead run left and a run of this process took up.")
LOST_LEASES = Instrument(
    "chatrt_lost_leases", "counter", "Runs that ended because another process serves the session, or may."
)
COMMIT_SECONDS = Instrument("chatrt_commit_seconds", "histogram", "Storing the end of a turn.", (), FAST)
APPEND_SECONDS = Instrument("chatrt_append_seconds", "histogram", "Storing a group of chunks.", (), FAST)
INPUT_SECONDS = Instrument("chatrt_input_seconds", "histogram", "Storing an input, up to its ack.", (), FAST)
QUARANTINED = Instrument(
    "chatrt_quarantined_inputs", "counter", "Inputs that were given up because workers died over them.", ("agent",)
)
STORE_ERRORS = Instrument("chatrt_store_errors", "counter", "Calls of the store that failed.", ("code",))
STREAMS_CUT = Instrument(
    "chatrt_streams_cut", "counter", "SSE responses that did not come to their own end.", ("reason",)
)
LOOP_LAG = Instrument(
    "chatrt_loop_lag_seconds", "histogram", "How late the event loop woke somebody who had slept.", (), FAST
)
DELETED = Instrument("chatrt_retention_deleted", "counter", "Sessions that retention removed.")

CATALOGUE: tuple[Instrument, ...] = (
    ACTIVE_RUNS,
    LIVE_READERS,
    READER_LAG,
    WAITING_INPUTS,
    UNSERVED,
    OPEN_STREAMS,
    STALLED,
    TURNS,
    TURN_SECONDS,
    TOOL_CALLS,
    TOKENS,
    TAKEOVERS,
    LOST_LEASES,
    QUARANTINED,
    COMMIT_SECONDS,
    APPEND_SECONDS,
    INPUT_SECONDS,
    STORE_ERRORS,
    STREAMS_CUT,
    LOOP_LAG,
    DELETED,
)


class HistogramValue:
    """How many values fell into each bucket, not cumulated; the last one has no upper bound."""

    __slots__ = ("counts", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.sum = 0.0


class Metrics:
    """The figures of one session manager and of what serves it.

    Attributes:
        counts: The values of counters, by labels.
        histograms: Those of histograms.
    """

    def __init__(self) -> None:
        self.counts: dict[Instrument, dict[Labels, float]] = {}
        self.histograms: dict[Instrument, dict[Labels, HistogramValue]] = {}
        self._gauges: dict[Instrument, Callable[[], float]] = {}
        _everywhere.add(self)

    def add(self, counter: Instrument, amount: float = 1, *labels: str) -> None:
        """Count something."""
        values = self.counts.setdefault(counter, {})
        values[labels] = values.get(labels, 0) + amount
        _counters[counter].add(amount, dict(zip(counter.labels, labels, strict=True)))

    def record(self, histogram: Instrument, value: float, *labels: str) -> None:
        """Take a measured value down."""
        values = self.histograms.setdefault(histogram, {})
        found = values.get(labels)
        if found is None:
            found = values[labels] = HistogramValue(len(histogram.buckets))
        found.counts[bisect_left(histogram.buckets, value)] += 1
        found.sum += value
        _histograms[histogram].record(value, dict(zip(histogram.labels, labels, strict=True)))

    @contextmanager
    def timed(self, histogram: Instrument) -> Generator[None]:
        """Measure how long the body takes, unless it raises."""
        began = time.perf_counter()
        yield
        self.record(histogram, time.perf_counter() - began)

    def watch(self, gauge: Instrument, look: Callable[[], float]) -> None:
        """Say how a gauge is read. An exporter reads it in a thread of its own."""
        self._gauges[gauge] = look

    def look(self, gauge: Instrument) -> float | None:
        """Read a gauge; None if nobody said how, or what it looks at changed under its eyes."""
        look = self._gauges.get(gauge)
        try:
            return None if look is None else look()
        except RuntimeError:  # a dict that changed its size: only in an exporter's thread
            return None


_everywhere: WeakSet[Metrics] = WeakSet()
"""All that are alive: an exporter sees the gauges of all session managers of the process as one."""

_METER = otel.get_meter("chatrt")


def _observer(gauge: Instrument) -> Callable[[otel.CallbackOptions], Iterable[otel.Observation]]:
    def observe(_options: otel.CallbackOptions) -> Iterable[otel.Observation]:
        seen = [value for metrics in list(_everywhere) if (value := metrics.look(gauge)) is not None]
        return [otel.Observation(sum(seen))] if seen else []

    return observe


# Made once for each process: a meter keeps whatever was made of it.
_counters = {
    one: _METER.create_counter(one.otel_name, unit=one.unit, description=one.help)
    for one in CATALOGUE
    if one.kind == "counter"
}
_histograms = {
    one: _METER.create_histogram(
        one.otel_name, unit=one.unit, description=one.help, explicit_bucket_boundaries_advisory=one.buckets
    )
    for one in CATALOGUE
    if one.kind == "histogram"
}
_gauges = [
    _METER.create_observable_gauge(one.otel_name, callbacks=[_observer(one)], unit=one.unit, description=one.help)
    for one in CATALOGUE
    if one.kind == "gauge"
]
