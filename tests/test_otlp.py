"""Metrics as a collector gets them over OTLP/HTTP: sent by OpenTelemetry's own exporter, decoded as its protocol has it."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from chatrt.metrics import FAST

SECONDS = 60

GAUGES = ("active_runs", "live_readers", "waiting_inputs", "unserved_sessions", "takeovers")


class Collector(ThreadingHTTPServer):
    """Takes what is posted to `/v1/metrics`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.posts: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/metrics"


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.posts.append((self.path, ExportMetricsServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def figures(request: Any) -> dict[str, list[Any]]:
    """The points of chatrt's meter in one export, by the metrics' names."""
    return {
        metric.name: list(getattr(metric, metric.WhichOneof("data")).data_points)
        for of in request.resource_metrics
        for scope in of.scope_metrics
        if scope.scope.name == "chatrt"
        for metric in scope.metrics
    }


def labels(point: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in point.attributes}


def test_a_collector_gets_what_operators_look_at(collector: Collector):
    """Runs, readers, what waits, how far readers are behind, commit times and takeovers come with nothing configured."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.otlp_app", collector.url], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert {path for path, _ in collector.posts} == {"/v1/metrics"}
    seen = figures(collector.posts[0][1])
    assert {
        name: [point.as_double or point.as_int for point in seen[name]] for name in map("chatrt.{}".format, GAUGES)
    } == {
        "chatrt.active_runs": [1],
        "chatrt.live_readers": [1],
        "chatrt.waiting_inputs": [1],
        "chatrt.unserved_sessions": [1],
        "chatrt.takeovers": [1],
    }
    assert seen["chatrt.reader_lag_records"]
    (commits,) = seen["chatrt.commit"]
    assert (commits.count > 0, commits.sum > 0, len(commits.bucket_counts)) == (True, True, len(FAST) + 1)
    assert list(commits.explicit_bounds) == list(FAST)
    ended = figures(collector.posts[-1][1])["chatrt.turns"]
    assert {"agent": "otlp", "trigger": "message", "status": "interrupted"} in [labels(point) for point in ended]
