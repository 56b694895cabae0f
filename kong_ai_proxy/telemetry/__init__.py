"""OpenTelemetry: a span for each attempt at a target, and metrics, by the conventions for generative AI.

Off unless an OTLP endpoint is set; then nothing of OpenTelemetry is loaded, and a request costs a comparison.
`genai` says what an attempt is in the words of the conventions, `otlp` sends it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from ..log import get_logger

if TYPE_CHECKING:
    from ..core.http import UpstreamRequest
    from ..core.json import Json
    from ..exchange.exchange import Attempt, Exchange
    from .genai import Tried

log = get_logger("telemetry")

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
"""https://opentelemetry.io/docs/specs/otel/protocol/exporter/"""
DISABLED: Final = "OTEL_SDK_DISABLED"
TRACES: Final = "OTEL_TRACES_EXPORTER"
METRICS: Final = "OTEL_METRICS_EXPORTER"
"""https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/; "none" is off."""
HTTP: Final = "http/protobuf"


class Later(Protocol):
    """A question to a judge about an exchange that is over. Nothing here raises."""

    def sent(self, question: Tried, request: UpstreamRequest, body: Json) -> None:
        """It goes out now: begins its span in the exchange's trace, and gives the judge the context."""

    def ended(self, question: Tried, score: float | None) -> None:
        """It was answered, or failed."""


class Trace(Protocol):
    """One exchange. Nothing here raises."""

    def sent(self, attempt: Attempt, request: UpstreamRequest) -> None:
        """An attempt's request goes out now: begins its span, and gives the provider the trace's context."""

    def ended(self, exchange: Exchange) -> None:
        """All attempts are over."""

    def later(self) -> Later:
        """For one question that comes after it. Holds nothing of the exchange."""


class Telemetry(Protocol):
    """Where spans and metrics go."""

    def begin(self, exchange: Exchange) -> Trace | None:
        """An exchange begins; its request may bring a trace's context. None where that failed."""

    def shutdown(self) -> None:
        """Send what is left. May take as long as the exporter's time-out."""


def from_environment(environ: Mapping[str, str] | None = None) -> Telemetry | None:
    """What OpenTelemetry's own environment variables ask for; None where they ask for nothing."""
    environ = os.environ if environ is None else environ
    if environ.get(DISABLED, "").strip().lower() == "true":
        return None
    everything = bool(environ.get(ENDPOINT))
    traces = (everything or bool(environ.get(TRACES_ENDPOINT))) and environ.get(TRACES) != "none"
    metrics = (everything or bool(environ.get(METRICS_ENDPOINT))) and environ.get(METRICS) != "none"
    if not traces and not metrics:
        return None
    protocol = environ.get(PROTOCOL, HTTP)
    if protocol != HTTP:
        log.error("telemetry_off", reason=f"{PROTOCOL} is {protocol}; only {HTTP} is spoken")
        return None
    try:
        from .otlp import Otlp
    except ImportError:
        log.error("telemetry_off", reason="not installed: pip install 'kong-ai-proxy[otel]'")
        return None
    telemetry = Otlp(traces=traces, metrics=metrics)
    log.info("telemetry_on", traces=traces, metrics=metrics)
    return telemetry
