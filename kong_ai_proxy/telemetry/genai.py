"""An attempt in the words of OpenTelemetry's conventions for generative AI. Pure.

Sources: https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/gen-ai-spans.md,
gen-ai-metrics.md);
shared/kong/logging.md, section 6, for what Kong itself reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ..accounting.cost import cost
from ..core.usage import UsageSource
from ..exchange.redact import without_base64
from ..log import redact

if TYPE_CHECKING:
    from ..accounting.record import Timing
    from ..core.call import Call
    from ..core.json import Json
    from ..exchange.carry import Carrier
    from ..exchange.exchange import Attempt

Attributes = dict[str, Any]

DURATION: Final = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
TOKENS: Final = "gen_ai.client.token.usage"
TIME_TO_FIRST_TOKEN: Final = "gen_ai.server.time_to_first_token"
TIME_PER_TOKEN: Final = "gen_ai.server.time_per_output_token"
COST: Final = "kong.gen_ai.llm.cost"
_EVALUATION: Final = "gen_ai.evaluation.name"
_SCORE: Final = "gen_ai.evaluation.score.value"
_ACCURACY: Final = "llm_accuracy"
"""What a judge's score is called, here as in its log record (`usage.llm_accuracy`)."""

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
)  # fmt: skip
HISTOGRAMS: Final[dict[str, tuple[str, str, tuple[float, ...]]]] = {
    DURATION: ("s", "Time from the request to the end of the answer.", _SECONDS),
    TIME_TO_FIRST_CHUNK: ("s", "Time from the request to a stream's first output.", _SECONDS),
    TIME_TO_FIRST_TOKEN: ("s", "Time from the request to the first output.", _FIRST),
    TIME_PER_TOKEN: (
        "s",
        "Time for each output token after the first.",
        (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    ),
    TOKENS: ("{token}", "Input and output tokens used.", tuple(float(4**n) for n in range(14))),
}
"""Name → unit, description, the conventions' boundaries."""

_OPERATIONS: Final = {"completions": "text_completion", "responses": "chat"}
"""Where the conventions have another name than we do."""
_PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
_VERTEX: Final = "gcp.vertex_ai"
_REQUEST: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
}
_PAYLOAD_LIMIT: Final = 32 * 1024
"""Bytes of a payload on a span."""


class Tried(Protocol):
    """What a span tells of: an attempt at a target, or a question to a judge."""

    @property
    def call(self) -> Call: ...

    @property
    def translation(self) -> Carrier: ...

    @property
    def timing(self) -> Timing: ...

    @property
    def status(self) -> int | None: ...

    @property
    def failure(self) -> str | None: ...


def operation(attempt: Tried) -> str:
    """`gen_ai.operation.name`; what the conventions have no name for goes by ours."""
    name = attempt.call.operation
    return _OPERATIONS.get(name, name)


def span_name(attempt: Tried) -> str:
    model = attempt.call.model
    return f"{operation(attempt)} {model}" if model else operation(attempt)


def request_attributes(attempt: Tried, body: Json) -> Attributes:
    """What is known when the request goes out."""
    attributes = _common(attempt)
    attributes["gen_ai.request.stream"] = attempt.call.stream
    for member, name in _REQUEST.items():
        value = body.get(member)
        if isinstance(value, int | float) and not isinstance(value, bool):
            attributes[name] = value
    return attributes


def answer_attributes(attempt: Tried) -> Attributes:
    """What is known at the end."""
    call, usage = attempt.call, attempt.call.usage
    attributes: Attributes = {}
    _put(attributes, "gen_ai.response.model", call.response_model)
    _put(attributes, "gen_ai.response.id", call.response_id)
    if call.finish_reasons:
        attributes["gen_ai.response.finish_reasons"] = list(call.finish_reasons)
    if usage.source is not UsageSource.NONE:
        attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
        _put(attributes, "gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
        _put(attributes, "gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens)
        _put(attributes, "gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)
        attributes["kong.gen_ai.usage.source"] = str(usage.source)
        attributes[COST] = cost(usage, call.options)
    first = attempt.timing.first_token
    if first is not None and call.stream:
        attributes["gen_ai.response.time_to_first_chunk"] = first / 1000
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    _put(attributes, "error.type", error_type(attempt))
    return attributes


def score_attributes(score: float | None) -> Attributes:
    """Of a question to a judge: what is measured, and the score where there is one."""
    attributes: Attributes = {_EVALUATION: _ACCURACY}
    _put(attributes, _SCORE, score)
    return attributes


def payload_attributes(attempt: Attempt) -> Attributes:
    """The bodies, where the target's `logging.log_payloads` is on; as they went to and came from the
    provider, so under names of our own. Without images and sound, as in Kong's log."""
    if not attempt.call.target.logging.log_payloads:
        return {}
    upstream, answered = attempt.translation.upstream, attempt.translation.answered
    bodies = {"request": upstream.body if upstream is not None else b"", "response": answered or b""}
    return {
        f"kong.gen_ai.payload.{name}": redact(
            without_base64(body)[:_PAYLOAD_LIMIT].decode("utf-8", "replace")
        )
        for name, body in bodies.items()
        if body and b"\0" not in body
    }


def metric_attributes(attempt: Attempt) -> Attributes:
    attributes = _common(attempt)
    _put(attributes, "gen_ai.response.model", attempt.call.response_model)
    return attributes


def measurements(attempt: Attempt) -> list[tuple[str, float, Attributes]]:
    """What to record: instrument, value, attributes besides the common ones."""
    found: list[tuple[str, float, Attributes]] = []
    timing, usage = attempt.timing, attempt.call.usage
    error = error_type(attempt)
    if timing.latency is not None:
        found.append((DURATION, timing.latency / 1000, {"error.type": error} if error else {}))
    if usage.source is not UsageSource.NONE:
        # By the conventions only what is known is reported; what we counted ourselves says so.
        source = (
            {} if usage.source is UsageSource.REPORTED else {"kong.gen_ai.usage.source": str(usage.source)}
        )
        found.append((TOKENS, usage.prompt_tokens, {"gen_ai.token.type": "input", **source}))
        if usage.completion_tokens:
            found.append((TOKENS, usage.completion_tokens, {"gen_ai.token.type": "output", **source}))
        found.append((COST, cost(usage, attempt.call.options), {}))
    first = timing.first_token
    if error is None and first is not None:
        found.append((TIME_TO_FIRST_TOKEN, first / 1000, {}))
        if attempt.call.stream:
            found.append((TIME_TO_FIRST_CHUNK, first / 1000, {}))
            if timing.latency is not None and usage.completion_tokens > 1:
                rest = max(0.0, timing.latency - first) / 1000
                found.append((TIME_PER_TOKEN, rest / (usage.completion_tokens - 1), {}))
    return found


def error_type(attempt: Tried) -> str | None:
    """None where it went well: a status, why there was none, or why a stream broke off."""
    if attempt.failure is not None:
        return attempt.failure
    if attempt.status is not None and attempt.status >= 400:
        return str(attempt.status)
    running = attempt.translation.running
    broken = running.failed if running is not None else None
    if broken is not None:
        return broken.code or str(broken.status)
    left = attempt.status is None or attempt.call.usage.source is UsageSource.PARTIAL
    return "incomplete" if left else None


def provider(attempt: Tried) -> str:
    """`gen_ai.provider.name`; providers that the conventions do not list go by their own name."""
    call = attempt.call
    if call.provider == "gemini" and call.options.gemini is not None:
        return _VERTEX
    return _PROVIDERS.get(call.provider, call.provider)


def _common(attempt: Tried) -> Attributes:
    call, upstream = attempt.call, attempt.translation.upstream
    attributes: Attributes = {
        "gen_ai.operation.name": operation(attempt),
        "gen_ai.provider.name": provider(attempt),
    }
    _put(attributes, "gen_ai.request.model", call.model or None)
    if upstream is not None:
        attributes["server.address"] = upstream.url.host
        attributes["server.port"] = upstream.url.port
    return attributes


def _put(attributes: Attributes, name: str, value: Any) -> None:
    if value is not None:
        attributes[name] = value
