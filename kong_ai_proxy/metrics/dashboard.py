"""The Grafana dashboard of docker/grafana, made from `panels`."""

from __future__ import annotations

import json
from typing import Any, Final

from .panels import ROWS, VARIABLES, Panel

Json = dict[str, Any]

UID: Final = "kong-ai-proxy"
DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
"""As docker/grafana/provisioning/datasources/prometheus.yml names it."""
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
"""What is picked: elsewhere Prometheus has another uid."""
_SCHEMA: Final = 41
"""Of dashboards in Grafana 12.1 (`defaultDashboard` of the npm package @grafana/schema 12.1.1)."""
_LABEL_VALUES: Final = 1
"""`PromVariableQueryType.LabelValues` of @grafana/prometheus 12.1.1."""
_WIDTH: Final = 24
_ALPHABETICAL: Final = 1
"""`VariableSort.alphabeticalAsc` of @grafana/schema 12.1.1."""
_CALCS: Final = {"mean": "Mean", "max": "Max", "lastNotNull": "Last *"}
"""What Grafana calls the columns (`fieldReducers` of @grafana/data 12.1.1)."""
_GAP: Final = 300_000
"""Milliseconds without a value that a joined line goes over."""


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
        "templating": {"list": [_sources(), *(_variable(name, query) for name, query in VARIABLES)]},
        "panels": panels,
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


def queries() -> list[str]:
    """All of its queries, those of its variables included."""
    told = [query for _, row in ROWS for panel in row for _, query in panel.queries]
    return [*told, *(query for _, query in VARIABLES)]


def _row(title: str, number: int, top: int) -> Json:
    place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, left: int, top: int) -> Json:
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
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
    if panel.highest is not None:
        defaults["max"] = panel.highest
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.nothing:
        defaults["noValue"] = panel.nothing
    if panel.kind == "timeseries":
        defaults["custom"] = _lines(panel)
    elif panel.kind == "stat":
        steps: list[Json] = [{"color": "text", "value": None}]
        steps += [{"color": color, "value": value} for color, value in panel.warnings]
        defaults["color"] = {"mode": "thresholds"}
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
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


def _lines(panel: Panel) -> Json:
    custom: Json = {
        "lineWidth": 1,
        "fillOpacity": 25 if panel.stacked else 0 if panel.joined else 5,
        "showPoints": "auto" if panel.joined else "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
    if panel.joined:
        custom["spanNulls"] = _GAP
    if panel.least_top is not None:
        custom["axisSoftMax"] = panel.least_top
    return custom


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    legend: Json = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    if panel.calcs:
        legend |= {"displayMode": "table", "placement": "right", "calcs": list(panel.calcs)}
        legend |= {"sortBy": _CALCS[panel.calcs[0]], "sortDesc": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _sources() -> Json:
    return {
        "name": "source",
        "label": "Source",
        "type": "datasource",
        "query": DATASOURCE["type"],
        "refresh": 1,
        "current": {"text": "Prometheus", "value": DATASOURCE["uid"]},
    }


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "qryType": _LABEL_VALUES, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": _ALPHABETICAL,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }
