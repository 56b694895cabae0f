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
_OURS: Final = "and on (job, instance) kong_ai_proxy_build_info"
"""Other programs tell the metrics of a process too."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its queries by the legend of their lines. With `calcs`, ids of reducers of Grafana's, the
    legend is a table, for which there is room in half a row and more."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    about: str = ""
    stacked: bool = False
    decimals: int | None = None
    calcs: tuple[str, ...] = ()
    joined: bool = False
    """Draw on over gaps of some minutes: what a quantile has where nobody asked."""
    least_top: float | None = None
    """The axis reaches at least there, where all may be 0."""
    highest: float | None = None
    warnings: tuple[tuple[str, float], ...] = ()
    """Colours of the value, and from where on."""
    nothing: str = ""
    """Said in the place of "No data"."""


def _rate(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _by_consumer(metric: str, labels: str = _BY_CONSUMER) -> str:
    """A line without labels would have no name."""
    return f'label_replace({_rate(metric, labels, "consumer")}, "consumer", "(nobody)", "consumer", "")'


def _quantile(quantile: float, metric: str) -> tuple[tuple[str, str], ...]:
    rate = f"sum by (le, provider, model) (rate({metric}_bucket{{{_PICKED}}}[$__rate_interval]))"
    return ((_MODEL, f"histogram_quantile({quantile}, {rate})"),)


def _total(metric: str, labels: str = _BY_CONSUMER) -> str:
    """How much was added in the range. `increase` knows nothing of a series' first value, which is all there
    is where a model was asked once: it is added for series that began within the range."""
    series = f"{metric}{{{labels}}}"
    began = f"sum(min_over_time({series}[$__range]) unless {series} offset $__range)"
    return f"((sum(increase({series}[$__range])) or vector(0)) + ({began} or vector(0)))"


def _of_target(gauge: str, how: str = "max", more: str = "") -> tuple[tuple[str, str], ...]:
    """By plugin too, in short: one model may be a target of several."""
    value = f"{how} by (plugin_id, target, model) ({gauge}){more}"
    short = f'label_replace({value}, "plugin", "$1", "plugin_id", "([^-]*).*")'
    return (("{{model}} #{{target}} {{plugin}}", short),)


_LLM: Final = "kong_ai_proxy_llm"
_MODEL: Final = "{{provider}}/{{model}}"
_SPENT: Final = _BY_CONSUMER + ',type!="cached"'
_FAILED: Final = _total(f"{_LLM}_requests_total", _BY_CONSUMER + ',error!=""')
_PACE: Final = ("mean",)
_TOKENS: Final = "count:tok/s"
_HALF: Final = 12

ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "At a glance",
        (
            Panel(
                "Requests",
                (("", _total(f"{_LLM}_requests_total")),),
                "locale",
                "stat",
                4,
                4,
                "Reckoned between readings of the counters, as Prometheus does.",
                decimals=0,
            ),
            Panel(
                "Failed",
                (("", f"{_FAILED} / ({_total(f'{_LLM}_requests_total')} > 0)"),),
                "percentunit",
                "stat",
                4,
                4,
                "Of the requests: clients got an error, or an answer that broke off.",
                warnings=(("orange", 0.01), ("red", 0.05)),
                nothing="–",
            ),
            Panel(
                "Tokens",
                (("", _total(f"{_LLM}_tokens_total", _SPENT)),),
                "locale",
                "stat",
                4,
                4,
                "Input and output.",
                decimals=0,
            ),
            Panel(
                "Cost",
                (("", _total(f"{_LLM}_cost_total")),),
                "short",
                "stat",
                4,
                4,
                "In the currency of the configured prices.",
            ),
            Panel(
                "Failovers",
                (("", _total(f"{_LLM}_failovers_total", _PICKED)),),
                "locale",
                "stat",
                4,
                4,
                "Attempts that failed and were followed by another target.",
                decimals=0,
            ),
            Panel(
                "Open breakers",
                (("", "sum(kong_ai_proxy_target_unhealthy) or vector(0)"),),
                "locale",
                "stat",
                4,
                4,
                "Targets that get nothing now.",
                warnings=(("red", 1),),
            ),
        ),
    ),
    (
        "Requests, tokens, cost",
        (
            Panel(
                "Requests by model",
                ((_MODEL, _rate(f"{_LLM}_requests_total", _BY_CONSUMER, "provider, model")),),
                "reqps",
                width=_HALF,
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Requests by consumer",
                (("{{consumer}}", _by_consumer(f"{_LLM}_requests_total")),),
                "reqps",
                width=_HALF,
                about="(nobody): not authenticated.",
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Tokens by model",
                ((_MODEL, _rate(f"{_LLM}_tokens_total", _SPENT, "provider, model")),),
                _TOKENS,
                width=_HALF,
                about="Input and output.",
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Tokens by consumer",
                (("{{consumer}}", _by_consumer(f"{_LLM}_tokens_total", _SPENT)),),
                _TOKENS,
                width=_HALF,
                about="Input and output.",
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Cost by model, an hour",
                ((_MODEL, f"3600 * {_rate(f'{_LLM}_cost_total', _BY_CONSUMER, 'provider, model')}"),),
                width=_HALF,
                about="At the pace of the moment, in the currency of the configured prices.",
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Cost by consumer, an hour",
                (("{{consumer}}", f"3600 * {_by_consumer(f'{_LLM}_cost_total')}"),),
                width=_HALF,
                about="At the pace of the moment, in the currency of the configured prices.",
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Tokens by type",
                (("{{type}}", _rate(f"{_LLM}_tokens_total", _BY_CONSUMER, "type")),),
                _TOKENS,
                width=24,
                height=6,
                about="Cached ones are among the input.",
                calcs=_PACE,
            ),
        ),
    ),
    (
        "Speed",
        tuple(
            Panel(
                f"{what}, {name}",
                _quantile(quantile, f"{_LLM}_{metric}_seconds"),
                "s",
                width=_HALF,
                about=about,
                calcs=("lastNotNull",),
                joined=True,
            )
            for what, metric, about in (
                ("Time to first token", "time_to_first_token", "Of streams."),
                ("Time per token", "time_per_token", "Of streams, after the first token."),
                ("Whole answers", "duration", "Streamed or not."),
            )
            for name, quantile in (("median", 0.5), ("p95", 0.95))
        ),
    ),
    (
        "Failures",
        (
            Panel(
                "Errors",
                (
                    (
                        f"{_MODEL} {{{{error}}}}",
                        _rate(
                            f"{_LLM}_requests_total", _BY_CONSUMER + ',error!=""', "provider, model, error"
                        ),
                    ),
                ),
                "reqps",
                width=_HALF,
                about="What clients got: a status, or why there was none.",
                calcs=_PACE,
                nothing="None",
            ),
            Panel(
                "Failovers",
                (
                    (
                        f"{_MODEL} {{{{error}}}}",
                        _rate(f"{_LLM}_failovers_total", _PICKED, "provider, model, error"),
                    ),
                ),
                "count:attempts/s",
                width=_HALF,
                about="Attempts that failed and were followed by another target.",
                calcs=_PACE,
                nothing="None",
            ),
            Panel(
                "Circuit breakers",
                _of_target("kong_ai_proxy_target_unhealthy"),
                kind="state-timeline",
                width=_HALF,
                height=9,
                about="Open: the target gets nothing. # is its place among the targets of the plugin named.",
            ),
            Panel(
                "Targets left alone",
                _of_target("kong_ai_proxy_target_left_alone_seconds", more=" > 0"),
                "s",
                width=_HALF,
                height=9,
                about="For how long yet: they asked for it (Retry-After).",
                calcs=("max",),
                nothing="None",
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
                width=_HALF,
                height=6,
                about="Should be none.",
                least_top=1,
            ),
            Panel(
                "Token fetches that failed",
                (
                    (
                        "failed",
                        'sum(rate(kong_ai_proxy_token_fetches_total{outcome="failed"}[$__rate_interval]))',
                    ),
                ),
                "count:fetches/s",
                width=_HALF,
                height=6,
                about="Access tokens of cloud providers.",
                least_top=1,
            ),
        ),
    ),
    (
        "Judged answers",
        (
            Panel(
                "Accuracy",
                _of_target("kong_ai_proxy_target_accuracy", "avg"),
                about="Moving average of the judge's scores; 100 is best.",
                highest=100,
                nothing="No judge",
            ),
            Panel(
                "Answers to judge, by outcome",
                (
                    (
                        "{{outcome}}",
                        "sum by (outcome) (rate(kong_ai_proxy_judge_answers_total[$__rate_interval]))",
                    ),
                ),
                "count:answers/s",
                stacked=True,
                nothing="No judge",
            ),
            Panel(
                "Cost of the judge, an hour",
                (
                    (
                        _MODEL,
                        "3600 * "
                        "sum by (provider, model) (rate(kong_ai_proxy_judge_cost_total[$__rate_interval]))",
                    ),
                ),
                about="By its configured prices. Not among the costs above; in Kong's own count, if its "
                "records reach Kong.",
                nothing="No judge",
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
                width=_HALF,
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Tokens by model",
                (
                    (
                        "{{ai_provider}}/{{ai_model}}",
                        _rate(
                            "kong_ai_llm_tokens_total",
                            _KONGS + ',token_type="total_tokens"',
                            "ai_provider, ai_model",
                        ),
                    ),
                ),
                _TOKENS,
                width=_HALF,
                about="Input and output.",
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Cost by model, an hour",
                (
                    (
                        "{{ai_provider}}/{{ai_model}}",
                        f"3600 * {_rate('kong_ai_llm_cost_total', _KONGS, 'ai_provider, ai_model')}",
                    ),
                ),
                width=_HALF,
                stacked=True,
                calcs=_PACE,
            ),
            Panel(
                "Provider latency, p95",
                (
                    (
                        "{{ai_provider}}/{{ai_model}}",
                        "histogram_quantile(0.95, sum by (le, ai_provider, ai_model) "
                        f"(rate(kong_ai_llm_provider_latency_ms_bucket{{{_KONGS}}}[$__rate_interval])))",
                    ),
                ),
                "ms",
                width=_HALF,
                calcs=("lastNotNull",),
                joined=True,
            ),
            Panel(
                "Statuses",
                (("{{code}}", "sum by (code) (rate(kong_http_requests_total[$__rate_interval]))"),),
                "reqps",
                width=24,
                height=6,
                about="Of all of Kong's routes. 204: where the relay leaves its own records.",
                stacked=True,
                calcs=_PACE,
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
                about="Messages between Kong and the plugin server for each phase that Kong runs.",
                joined=True,
            ),
            Panel(
                "CPU",
                (("{{instance}}", f"rate(process_cpu_seconds_total[$__rate_interval]) {_OURS}"),),
                "percentunit",
                about="100 % is one core.",
            ),
            Panel("Memory", (("{{instance}}", f"process_resident_memory_bytes {_OURS}"),), "bytes"),
            Panel("Descriptors", (("{{instance}}", f"process_open_fds {_OURS}"),)),
            Panel(
                "Oldest ticket",
                (("oldest", "max(kong_ai_proxy_tickets_oldest_age_seconds)"),),
                "s",
                about="Grows where Kong does not reach the relay.",
                least_top=1,
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
