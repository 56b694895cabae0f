"""The Grafana dashboard of docker/grafana, made from the list of its panels here.

Metrics of the relay's own port (`llm`, `sources`, `process`) and of Kong's prometheus plugin with
`ai_metrics` and
`status_code_metrics`. The tests see that both tell them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

UID: Final = "kong-ai-proxy"
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
"""As docker/grafana/provisioning/datasources/prometheus.yml names it."""
_SCHEMA: Final = 41
"""Of dashboards in Grafana 12.1 (`defaultDashboard` of the npm package @grafana/schema 12.1.1)."""
_LABEL_VALUES: Final = 1
"""`PromVariableQueryType.LabelValues` of @grafana/prometheus 12.1.1."""
_WIDTH: Final = 24
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

_VARIABLES: Final = (
    ("provider", f"label_values({_LLM}_requests_total, provider)"),
    ("model", f'label_values({_LLM}_requests_total{{provider=~"$provider"}}, model)'),
    ("consumer", f"label_values({_LLM}_requests_total, consumer)"),
)


def dashboard() -> Json:
    """The dashboard as Grafana takes it from a file."""
    panels: list[Json] = []
    top = 0
    for title, row in ROWS:
        panels.append(_row(title, len(panels) + 1, top))
        top += 1
        left = tallest = 0
        for panel in row:
            if left + panel.width > _WIDTH:
                top, left, tallest = top + tallest, 0, 0
            panels.append(_panel(panel, len(panels) + 1, left, top))
            left += panel.width
            tallest = max(tallest, panel.height)
        top += tallest
    return {
        "uid": UID,
        "title": "Kong AI Proxy",
        "tags": ["kong", "llm"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "schemaVersion": _SCHEMA,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_variable(name, query) for name, query in _VARIABLES]},
        "panels": panels,
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def queries() -> list[str]:
    """All of its queries, those of its variables included."""
    told = [query for _, row in ROWS for panel in row for _, query in panel.queries]
    return [*told, *(query for _, query in _VARIABLES)]


def _row(title: str, number: int, top: int) -> Json:
    place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, left: int, top: int) -> Json:
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.kind),
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend,
                **({"instant": True, "range": False} if panel.kind == "stat" else {}),
            }
            for place, (legend, query) in enumerate(panel.queries)
        ],
    }
    if panel.about:
        made["description"] = panel.about
    return made


def _defaults(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "min": 0}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        fill = 25 if panel.stacked else 5
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": fill,
            "showPoints": "never",
            "stacking": stacking,
        }
    elif panel.kind == "state-timeline":
        defaults["mappings"] = [
            {
                "type": "value",
                "options": {
                    "0": {"text": "closed", "color": "green"},
                    "1": {"text": "open", "color": "red"},
                },
            }
        ]
    return defaults


def _options(kind: str) -> Json:
    if kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "none"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "qryType": _LABEL_VALUES, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
