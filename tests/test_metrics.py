"""Metrics as they are counted, and as OpenTelemetry gets them."""

from __future__ import annotations

from opentelemetry import metrics as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from chatrt.metrics import ACTIVE_RUNS, APPEND_SECONDS, CATALOGUE, FAST, TURNS, Metrics

READER = InMemoryMetricReader()
PROVIDER = MeterProvider([READER])


def exported(name: str) -> list:
    if otel.get_meter_provider() is not PROVIDER:
        otel.set_meter_provider(PROVIDER)
    data = READER.get_metrics_data()
    if data is None:
        return []
    found = [metric for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics]
    return [point for metric in found if metric.name == name for point in metric.data.data_points]


def test_counters_are_kept_by_their_labels():
    """What is counted under other labels is counted apart."""
    metrics = Metrics()
    metrics.add(TURNS, 1, "a", "message", "completed")
    metrics.add(TURNS, 2, "a", "message", "completed")
    metrics.add(TURNS, 1, "a", "message", "failed")
    assert metrics.counts[TURNS] == {("a", "message", "completed"): 3, ("a", "message", "failed"): 1}


def test_a_value_falls_into_the_first_bucket_that_holds_it():
    """A bucket holds its own bound; what is larger than all of them is in the last one."""
    metrics = Metrics()
    for value in (FAST[0], FAST[0] + 0.0001, 99.0):
        metrics.record(APPEND_SECONDS, value)
    counts = metrics.histograms[APPEND_SECONDS][()].counts
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (1, 1, 1, 3)


def test_what_raises_is_not_timed():
    """The time of a write that failed says nothing about writes."""
    metrics = Metrics()
    try:
        with metrics.timed(APPEND_SECONDS):
            raise OSError
    except OSError:
        pass
    assert metrics.histograms == {}


def test_a_gauge_that_changes_under_the_eyes_is_left_out():
    """An exporter's thread may look at a dict while it grows."""
    metrics = Metrics()

    def look() -> float:
        raise RuntimeError("dictionary changed size during iteration")

    metrics.watch(ACTIVE_RUNS, look)
    assert metrics.look(ACTIVE_RUNS) is None


def test_labels_name_nothing_that_clients_choose():
    """No label is a chat, a tenant, a person or a tool."""
    assert {label for one in CATALOGUE for label in one.labels} == {
        "agent",
        "trigger",
        "status",
        "outcome",
        "kind",
        "code",
        "reason",
    }


def test_opentelemetry_gets_the_same():
    """A team with a meter provider sees counters, histograms and gauges without another word."""
    exported("chatrt.turns")
    metrics = Metrics()
    metrics.watch(ACTIVE_RUNS, lambda: 7)
    metrics.add(TURNS, 1, "otel", "message", "completed")
    metrics.record(APPEND_SECONDS, 0.25)
    turns = [point for point in exported("chatrt.turns") if point.attributes["agent"] == "otel"]
    assert [point.value for point in turns] == [1]
    assert exported("chatrt.append")[0].sum >= 0.25
    assert exported("chatrt.active_runs")[0].value >= 7
