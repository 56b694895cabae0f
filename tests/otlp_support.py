"""A stand-in for an OpenTelemetry collector: OTLP over HTTP, protobuf, decoded."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Span:
    """One span as the collector got it."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool
    status: str
    seconds: float


@dataclass
class Point:
    """One data point; of a histogram its count and sum."""

    metric: str
    unit: str
    attributes: dict[str, Any]
    count: int
    sum: float
    boundaries: tuple[float, ...] = ()


class Collector:
    """Keeps what it is sent. Runs in threads of its own."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.points: list[Point] = []
        self.resource: dict[str, Any] = {}
        self.instances: set[str] = set()
        """Processes that have sent spans, by service.instance.id."""
        self.headers: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.headers = {name.lower(): value for name, value in self.headers.items()}
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            for group in traces.resource_spans:
                self.resource = _attributes(group.resource.attributes)
                self.instances.add(str(self.resource.get("service.instance.id")))
                for scope in group.scope_spans:
                    self.spans += [_span(span) for span in scope.spans]
        elif path == "/v1/metrics":
            told = ExportMetricsServiceRequest.FromString(body)
            self.points = [
                point
                for group in told.resource_metrics
                for scope in group.scope_metrics
                for metric in scope.metrics
                for point in _points(metric)
            ]

    def wait(self, found: Callable[[Collector], Any], seconds: float = 10.0) -> Any:
        """What `found` gives, once it is something."""
        until = time.monotonic() + seconds
        while not (result := found(self)):
            assert time.monotonic() < until, (self.spans, self.points)
            time.sleep(0.02)
        return result

    def point(self, metric: str, **attributes: Any) -> Point:
        """The only data point of a metric with these attributes (dots written as __)."""
        wanted = {name.replace("__", "."): value for name, value in attributes.items()}
        (found,) = (
            point
            for point in self.points
            if point.metric == metric and wanted.items() <= point.attributes.items()
        )
        return found


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


def _span(span: Any) -> Span:
    return Span(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        span.status.code == 2,
        span.status.message,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _points(metric: Any) -> list[Point]:
    if metric.WhichOneof("data") == "histogram":
        return [
            Point(
                metric.name,
                metric.unit,
                _attributes(point.attributes),
                point.count,
                point.sum,
                tuple(point.explicit_bounds),
            )
            for point in metric.histogram.data_points
        ]
    return [
        Point(metric.name, metric.unit, _attributes(point.attributes), 1, point.as_double or point.as_int)
        for point in metric.sum.data_points
    ]
