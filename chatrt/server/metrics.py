"""`GET /metrics`: the figures of a process as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrt.metrics import CATALOGUE, Instrument, Metrics
from chatrt.server.auth import Authority
from chatrt.server.errors import NO_STORE


def metrics_route(metrics: Metrics, authority: Authority | None = None) -> Route:
    """Return the endpoint.

    Args:
        metrics: What it shows.
        authority: Lets only the secret key pass, or this machine where there is none; without it everybody may look.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(metrics))
    ProcessCollector(registry=registry)

    async def show(request: Request) -> Response:
        if authority is not None:
            authority.identify(request).require_full()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # Not `media_type`: Starlette would add a charset of its own to the one that is there.
        return Response(encode(registry), headers={**NO_STORE, "content-type": content_type})

    return Route("/metrics", show, methods=["GET"])


class _Figures(Collector):
    """Reads what is counted at the moment somebody asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every instrument of the catalogue, those without a value yet by name."""
        for instrument in CATALOGUE:
            match instrument.kind:
                case "counter":
                    yield self._counter(instrument)
                case "gauge":
                    value = self._metrics.look(instrument)
                    yield GaugeMetricFamily(instrument.name, instrument.help, value=value)
                case "histogram":
                    yield self._histogram(instrument)

    def _counter(self, instrument: Instrument) -> Metric:
        family = CounterMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
        values = self._metrics.counts.get(instrument, {} if instrument.labels else {(): 0.0})
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family

    def _histogram(self, instrument: Instrument) -> Metric:
        family = HistogramMetricFamily(instrument.name, instrument.help, labels=instrument.labels)
        bounds = [*map(str, instrument.buckets), "+Inf"]
        for labels, value in self._metrics.histograms.get(instrument, {}).items():
            family.add_metric(labels, list(zip(bounds, accumulate(value.counts), strict=True)), value.sum)
        return family
