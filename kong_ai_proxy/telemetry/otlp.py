"""Spans and metrics over OTLP/HTTP, by OpenTelemetry's SDK. Importing this needs `kong-ai-proxy[otel]`.

The SDK's threads are greenlets where the standard library is patched (`serve`). Small batches: making one
of them
ready holds the others up.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from ..log import get_logger
from . import genai

if TYPE_CHECKING:
    from ..core.http import UpstreamRequest
    from ..core.json import Json
    from ..exchange.exchange import Attempt, Exchange

log = get_logger("telemetry")

_NAME: Final = "kong-ai-proxy"
_SCHEDULE: Final = {"OTEL_BSP_SCHEDULE_DELAY": 1000, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 64}
"""Milliseconds and spans, unless the environment says otherwise (the SDK's own: 5000 and 512)."""
_CONTEXT: Final = TraceContextTextMapPropagator()
_PARENT: Final = "traceparent"
_PROPAGATORS: Final = "OTEL_PROPAGATORS"
"""https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/"""


class Otlp:
    """Where spans and metrics go: what OTEL_* says."""

    def __init__(self, *, traces: bool = True, metrics: bool = True) -> None:
        names = {"service.instance.id": str(uuid.uuid4()), "service.version": __version__}
        if not os.environ.get("OTEL_SERVICE_NAME"):
            names["service.name"] = _NAME
        resource = Resource.create(names)
        named = os.environ.get(_PROPAGATORS, "").replace(" ", "").lower()
        self.propagates = not named or "tracecontext" in named.split(",")
        """A trace's context is taken from requests, and given to providers."""
        self.tracers: TracerProvider | None = None
        self.meters: MeterProvider | None = None
        if traces:
            self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            delay, batch = (int(os.environ.get(name) or value) for name, value in _SCHEDULE.items())
            self.tracers.add_span_processor(
                BatchSpanProcessor(
                    OTLPSpanExporter(), schedule_delay_millis=delay, max_export_batch_size=batch
                )
            )
            self._tracer = self.tracers.get_tracer(_NAME, __version__)
        self._histograms: dict[str, Any] = {}
        if metrics:
            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
            self.meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            meter = self.meters.get_meter(_NAME, __version__)
            for name, (unit, text, boundaries) in genai.HISTOGRAMS.items():
                self._histograms[name] = meter.create_histogram(
                    name, unit, text, explicit_bucket_boundaries_advisory=boundaries
                )
            self._cost = meter.create_counter(genai.COST, "{cost}", "By the configured prices.")

    def begin(self, exchange: Exchange) -> ExchangeTrace | None:
        """See `Telemetry`."""
        try:
            return ExchangeTrace(self, exchange)
        except Exception:
            log.exception("not_traced")
            return None

    def shutdown(self) -> None:
        """See `Telemetry`."""
        for provider in (self.tracers, self.meters):
            if provider is not None:
                try:
                    provider.shutdown()
                except Exception:
                    log.exception("telemetry_not_ended")

    def span(self, name: str, kind: SpanKind, context: Any, attributes: genai.Attributes) -> Span:
        """Begins one. Without traces one that only hands the context on."""
        if self.tracers is None:
            return NonRecordingSpan(_span_context(context))
        return self._tracer.start_span(name, context, kind, attributes)

    def measure(self, attempt: Attempt) -> None:
        """Records an attempt's metrics."""
        if self.meters is None:
            return
        common = genai.metric_attributes(attempt)
        for name, value, more in genai.measurements(attempt):
            attributes = {**common, **more} if more else common
            if name == genai.COST:
                self._cost.add(value, attributes)
            else:
                self._histograms[name].record(value, attributes)


class ExchangeTrace:
    """One exchange: a span of its own, and one for each attempt below it."""

    def __init__(self, telemetry: Otlp, exchange: Exchange) -> None:
        self._telemetry = telemetry
        self._exchange = exchange
        parent = _CONTEXT.extract(exchange.request.headers if telemetry.propagates else {})
        self._span = telemetry.span(
            _NAME, SpanKind.SERVER, parent, {"kong.plugin.id": exchange.instance.plugin_id}
        )
        self._context = set_span_in_context(self._span, parent)
        self._attempts: dict[int, Span] = {}

    def sent(self, attempt: Attempt, request: UpstreamRequest) -> None:
        """See `Trace`."""
        try:
            span = self._attempts.get(id(attempt))
            if span is None:
                span = self._attempts[id(attempt)] = self._telemetry.span(
                    genai.span_name(attempt),
                    SpanKind.CLIENT,
                    self._context,
                    genai.request_attributes(attempt, self._exchange.plan.body),
                )
            if self._telemetry.propagates:
                _give_parent(request.headers, set_span_in_context(span, self._context))
        except Exception:
            log.exception("not_traced")

    def ended(self, exchange: Exchange) -> None:
        """See `Trace`."""
        try:
            self._end(exchange)
        except Exception:
            log.exception("not_traced")

    def _end(self, exchange: Exchange) -> None:
        error: str | None = None
        for attempt in exchange.attempts:
            span = self._attempts.pop(id(attempt), None)
            if span is None:
                continue  # nothing was sent
            error = genai.error_type(attempt)
            if span.is_recording():
                span.set_attributes({**genai.answer_attributes(attempt), **genai.payload_attributes(attempt)})
            _finish(span, error, attempt.timing.latency)
            self._telemetry.measure(attempt)
        if len(exchange.attempts) > 1:
            self._span.set_attribute("kong.gen_ai.attempts", len(exchange.attempts))
        _finish(self._span, error, None)

    def later(self) -> QuestionTrace:
        """See `Trace`."""
        return QuestionTrace(self._telemetry, self._context)


class QuestionTrace:
    """One question to a judge: a span below that of the exchange, which has ended by then. Its tokens are
    in no metric: those are of answers that clients get."""

    def __init__(self, telemetry: Otlp, context: Any) -> None:
        self._telemetry = telemetry
        self._context = context
        self._span: Span | None = None

    def sent(self, question: genai.Tried, request: UpstreamRequest, body: Json) -> None:
        """See `Later`."""
        try:
            span = self._span = self._telemetry.span(
                genai.span_name(question),
                SpanKind.CLIENT,
                self._context,
                genai.request_attributes(question, body),
            )
            if self._telemetry.propagates:
                _give_parent(request.headers, set_span_in_context(span, self._context))
        except Exception:
            log.exception("not_traced")

    def ended(self, question: genai.Tried, score: float | None) -> None:
        """See `Later`."""
        span, self._span = self._span, None
        if span is None:
            return  # nothing was sent
        try:
            if span.is_recording():
                span.set_attributes({**genai.answer_attributes(question), **genai.score_attributes(score)})
            _finish(span, genai.error_type(question), question.timing.latency)
        except Exception:
            log.exception("not_traced")


def _give_parent(headers: dict[str, str], context: Any) -> None:
    """`traceparent` alone: two random numbers and a flag. What `tracestate` says is for the systems that
    wrote it, and may tell of them; a provider is none of them
    (https://www.w3.org/TR/trace-context/#information-exposure)."""
    made: dict[str, str] = {}
    _CONTEXT.inject(made, context)
    if _PARENT in made:
        headers[_PARENT] = made[_PARENT]


def _finish(span: Span, error: str | None, latency_ms: float | None) -> None:
    """An attempt that was followed by another one ended before the exchange did."""
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    began = getattr(span, "start_time", None)
    span.end(began + int(latency_ms * 1e6) if began is not None and latency_ms is not None else None)


def _span_context(context: Any) -> Any:
    from opentelemetry.trace import get_current_span

    return get_current_span(context).get_span_context()
