"""What the dashboard shows: rows of panels, and the queries of each.

Metrics of the relay's own port (`llm`, `sources`, `process`, `judge.counts`) and of Kong's prometheus plugin
with `ai_metrics` and `status_code_metrics`. The tests see that both tell them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_PICKED: Final = 'provider=~"$provider",model=~"$model"'
_BY_CONSUMER: Final = f'{_PICKED},consumer=~"$consumer"'
_KONGS: Final = 'ai_provider=~"$provider",ai_model=~"$model"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its queries by the legend of their lines."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    about: str = ""
    stacked: bool = False
    decimals: int | None = None


def _rate(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _quantile(quantile: float, metric: str) -> str:
    rate = f"sum by (le, model) (rate({metric}_bucket{{{_PICKED}}}[$__rate_interval]))"
    return f"histogram_quantile({quantile}, {rate})"


def _total(metric: str, labels: str = _BY_CONSUMER) -> str:
    """How much was added in the range. `increase` knows nothing of a series' first value, which is all there
    is where a model was asked once: it is added for series that began within the range."""
    series = f"{metric}{{{labels}}}"
    began = f"sum(min_over_time({series}[$__range]) unless {series} offset $__range)"
    return f"((sum(increase({series}[$__range])) or vector(0)) + ({began} or vector(0)))"


_LLM: Final = "kong_ai_proxy_llm"
_FAILED: Final = _total(f"{_LLM}_requests_total", _BY_CONSUMER + ',error!=""')

ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "At a glance",
        (
            Panel(
                "Requests",
                (("", _total(f"{_LLM}_requests_total")),),
                kind="stat",
                width=4,
                height=4,
                decimals=0,
                about="Reckoned between readings of the counters, as Prometheus does.",
            ),
            Panel(
                "Failed",
                (("", f"{_FAILED} / ({_total(f'{_LLM}_requests_total')} > 0)"),),
                "percentunit",
                "stat",
                4,
                4,
            ),
            Panel(
                "Tokens",
                (("", _total(f"{_LLM}_tokens_total", _BY_CONSUMER + ',type!="cached"')),),
                kind="stat",
                width=4,
                height=4,
                decimals=0,
            ),
            Panel(
                "Cost",
                (("", _total(f"{_LLM}_cost_total")),),
                kind="stat",
                width=4,
                height=4,
                about="In the currency of the configured prices.",
            ),
            Panel(
                "Failovers",
                (("", _total(f"{_LLM}_failovers_total", _PICKED)),),
                kind="stat",
                width=4,
                height=4,
                decimals=0,
            ),
            Panel(
                "Targets with an open breaker",
                (("", "sum(kong_ai_proxy_target_unhealthy) or vector(0)"),),
                kind="stat",
                width=4,
                height=4,
            ),
        ),
    ),
    (
        "Requests, tokens, cost",
        (
            Panel(
                "Requests by model",
                (
                    (
                        "{{provider}}/{{model}}",
                        _rate(f"{_LLM}_requests_total", _BY_CONSUMER, "provider, model"),
                    ),
                ),
                "reqps",
                stacked=True,
            ),
            Panel(
                "Tokens by model",
                (("{{model}} {{type}}", _rate(f"{_LLM}_tokens_total", _BY_CONSUMER, "model, type")),),
                about="Tokens a second; cached ones are among the input.",
            ),
            Panel(
                "Cost by model, an hour",
                (
                    (
                        "{{provider}}/{{model}}",
                        f"3600 * {_rate(f'{_LLM}_cost_total', _BY_CONSUMER, 'provider, model')}",
                    ),
                ),
                stacked=True,
            ),
            Panel(
                "Requests by consumer",
                (("{{consumer}}", _rate(f"{_LLM}_requests_total", _BY_CONSUMER, "consumer")),),
                "reqps",
                stacked=True,
                about="Empty: nobody was authenticated.",
            ),
            Panel(
                "Tokens by consumer",
                (
                    (
                        "{{consumer}}",
                        _rate(f"{_LLM}_tokens_total", _BY_CONSUMER + ',type!="cached"', "consumer"),
                    ),
                ),
                stacked=True,
            ),
            Panel(
                "Cost by consumer, an hour",
                (("{{consumer}}", f"3600 * {_rate(f'{_LLM}_cost_total', _BY_CONSUMER, 'consumer')}"),),
                stacked=True,
            ),
        ),
    ),
    (
        "Speed",
        (
            Panel(
                "Time to first token",
                (
                    ("p50 {{model}}", _quantile(0.5, f"{_LLM}_time_to_first_token_seconds")),
                    ("p95 {{model}}", _quantile(0.95, f"{_LLM}_time_to_first_token_seconds")),
                ),
                "s",
                about="Of streams.",
            ),
            Panel(
                "Time per token",
                (
                    ("p50 {{model}}", _quantile(0.5, f"{_LLM}_time_per_token_seconds")),
                    ("p95 {{model}}", _quantile(0.95, f"{_LLM}_time_per_token_seconds")),
                ),
                "s",
                about="Of streams, after the first token.",
            ),
            Panel(
                "Whole answers",
                (
                    ("p50 {{model}}", _quantile(0.5, f"{_LLM}_duration_seconds")),
                    ("p95 {{model}}", _quantile(0.95, f"{_LLM}_duration_seconds")),
                ),
                "s",
            ),
        ),
    ),
    (
        "Failures",
        (
            Panel(
                "Errors",
                (
                    (
                        "{{provider}}/{{model}} {{error}}",
                        _rate(
                            f"{_LLM}_requests_total", _BY_CONSUMER + ',error!=""', "provider, model, error"
                        ),
                    ),
                ),
                "reqps",
                about="What clients got: a status, or why there was none.",
            ),
            Panel(
                "Failovers",
                (
                    (
                        "{{provider}}/{{model}} {{error}}",
                        _rate(f"{_LLM}_failovers_total", _PICKED, "provider, model, error"),
                    ),
                ),
                "reqps",
                about="Attempts that failed and were followed by another target.",
            ),
            Panel(
                "Circuit breakers",
                (
                    (
                        "{{model}} {{target}}",
                        "max by (plugin_id, target, model) (kong_ai_proxy_target_unhealthy)",
                    ),
                ),
                kind="state-timeline",
                about="1: open, the target gets nothing.",
            ),
            Panel(
                "Targets left alone",
                (
                    (
                        "{{model}} {{target}}",
                        "max by (plugin_id, target, model) (kong_ai_proxy_target_left_alone_seconds)",
                    ),
                ),
                "s",
                about="They asked for it (Retry-After).",
            ),
            Panel(
                "Requests past the plugin",
                (
                    (
                        "refused",
                        'sum(rate(kong_ai_proxy_relay_requests_total{ticket="none"}[$__rate_interval]))',
                    ),
                    ("never came", "sum(rate(kong_ai_proxy_tickets_expired_total[$__rate_interval]))"),
                ),
                "reqps",
                about="Should be none.",
            ),
            Panel(
                "Token fetches that failed",
                (
                    (
                        "failed",
                        'sum(rate(kong_ai_proxy_token_fetches_total{outcome="failed"}[$__rate_interval]))',
                    ),
                ),
                "reqps",
            ),
        ),
    ),
    (
        "Judged answers",
        (
            Panel(
                "Accuracy",
                (
                    (
                        "{{model}} {{target}}",
                        "avg by (plugin_id, target, model) (kong_ai_proxy_target_accuracy)",
                    ),
                ),
                about="Moving average of the judge's scores; 100 is best.",
            ),
            Panel(
                "Answers to judge, by outcome",
                (
                    (
                        "{{outcome}}",
                        "sum by (outcome) (rate(kong_ai_proxy_judge_answers_total[$__rate_interval]))",
                    ),
                ),
                "reqps",
                stacked=True,
            ),
            Panel(
                "Cost of the judge, an hour",
                (
                    (
                        "{{provider}}/{{model}}",
                        "3600 * "
                        "sum by (provider, model) (rate(kong_ai_proxy_judge_cost_total[$__rate_interval]))",
                    ),
                ),
                decimals=2,
                about="By its configured prices; in none of the other costs.",
            ),
        ),
    ),
    (
        "Kong's own count",
        (
            Panel(
                "Requests by model",
                (
                    (
                        "{{ai_provider}}/{{ai_model}}",
                        _rate("kong_ai_llm_requests_total", _KONGS, "ai_provider, ai_model"),
                    ),
                ),
                "reqps",
                stacked=True,
            ),
            Panel(
                "Tokens by model",
                (
                    (
                        "{{ai_model}} {{token_type}}",
                        _rate("kong_ai_llm_tokens_total", _KONGS, "ai_model, token_type"),
                    ),
                ),
            ),
            Panel(
                "Cost by model, an hour",
                (
                    (
                        "{{ai_provider}}/{{ai_model}}",
                        f"3600 * {_rate('kong_ai_llm_cost_total', _KONGS, 'ai_provider, ai_model')}",
                    ),
                ),
                stacked=True,
            ),
            Panel(
                "Provider latency",
                (
                    (
                        "p95 {{ai_model}}",
                        "histogram_quantile(0.95, sum by (le, ai_model) "
                        f"(rate(kong_ai_llm_provider_latency_ms_bucket{{{_KONGS}}}[$__rate_interval])))",
                    ),
                ),
                "ms",
            ),
            Panel(
                "Statuses",
                (
                    (
                        "{{route}} {{code}}",
                        "sum by (route, code) (rate(kong_http_requests_total[$__rate_interval]))",
                    ),
                ),
                "reqps",
            ),
        ),
    ),
    (
        "The plugin server",
        (
            Panel(
                "Under way",
                (
                    # Prometheus' own request is among them.
                    ("exchanges", "sum(kong_ai_proxy_relay_exchanges_running - 1)"),
                    ("streams", "sum(kong_ai_proxy_relay_streams_open)"),
                    ("connections from Kong", "sum(kong_ai_proxy_relay_connections)"),
                    ("idle to providers", "sum(kong_ai_proxy_upstream_idle_connections)"),
                ),
            ),
            Panel(
                "Round trips a phase",
                (
                    (
                        "round trips",
                        "sum(rate(kong_ai_proxy_rpc_round_trips_total[$__rate_interval])) / "
                        "sum(rate(kong_ai_proxy_rpc_events_total[$__rate_interval]))",
                    ),
                ),
            ),
            Panel(
                "CPU", (("{{instance}}", "rate(process_cpu_seconds_total[$__rate_interval])"),), "percentunit"
            ),
            Panel("Memory", (("{{instance}}", "process_resident_memory_bytes"),), "bytes"),
            Panel("Descriptors", (("{{instance}}", "process_open_fds"),)),
            Panel(
                "Oldest ticket",
                (("oldest", "max(kong_ai_proxy_tickets_oldest_age_seconds)"),),
                "s",
                about="Grows where Kong does not reach the relay.",
            ),
        ),
    ),
)

VARIABLES: Final = (
    ("provider", f"label_values({_LLM}_requests_total, provider)"),
    ("model", f'label_values({_LLM}_requests_total{{provider=~"$provider"}}, model)'),
    ("consumer", f"label_values({_LLM}_requests_total, consumer)"),
)
"""By which all is picked: name, and the query for its values."""
