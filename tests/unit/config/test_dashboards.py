"""Prometheus, Grafana and the dashboard of docker-compose.yml's profile `monitoring`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from exchange_support import answered, openai_answer, proxy
from relay_support import relay_world

from kong_ai_proxy.metrics import dashboard, panels, process
from kong_ai_proxy.metrics.llm import LlmMetrics
from kong_ai_proxy.metrics.sources import CountedTickets, of_plugin_server
from kong_ai_proxy.server.rpc import RpcServer

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
PROVISIONING = ROOT / "docker" / "grafana" / "provisioning"
MADE = json.loads((ROOT / "docker" / "grafana" / "dashboards" / "kong-ai-proxy.json").read_text())

_AI = {
    "ai_provider",
    "ai_model",
    "cache_status",
    "vector_db",
    "embeddings_provider",
    "embeddings_model",
    "workspace",
}
KONGS = {
    "kong_ai_llm_requests_total": _AI,
    "kong_ai_llm_cost_total": _AI,
    "kong_ai_llm_tokens_total": _AI | {"token_type"},
    "kong_ai_llm_provider_latency_ms_bucket": _AI | {"le"},
    "kong_http_requests_total": {"service", "route", "code", "source", "workspace", "consumer"},
}
"""What Kong 3.9.3 exports of what the dashboard asks, with labels (kong/plugins/prometheus/exporter.lua)."""
_METRIC = re.compile(r"\b((?:kong|process)_[a-z_]+)(?:\{([^}]*)\})?")


def ours() -> set[str]:
    with relay_world() as world:
        families = [
            *process.collect(),
            *(family for collector in world.relay.collectors for family in collector()),
            *of_plugin_server(RpcServer({}), CountedTickets()),
        ]
    plain = {family.name for family in families if family.kind != "histogram"}
    return plain | {f"{family.name}_bucket" for family in families if family.kind == "histogram"}


def test_every_metric_it_asks_for_is_told_by_somebody() -> None:
    asked = {name for query in dashboard.queries() for name, _ in _METRIC.findall(query)}
    assert len(asked) > 20
    assert asked <= ours() | set(KONGS)
    # And what matters most is on it.
    counters = ("requests_total", "tokens_total", "cost_total", "failovers_total")
    times = ("time_to_first_token_seconds_bucket", "time_per_token_seconds_bucket")
    for name in counters + times:
        assert f"kong_ai_proxy_llm_{name}" in asked
    assert "kong_ai_proxy_target_unhealthy" in asked and "kong_ai_llm_tokens_total" in asked


def test_every_label_it_picks_by_is_there() -> None:
    metrics = LlmMetrics()
    metrics.observe(answered(proxy(), openai_answer()).exchange)
    labels = {
        family.name: {key for sample in family.samples for key, _ in sample} for family in metrics.collect()
    }
    told = 0
    for query in dashboard.queries():
        for name, picked in _METRIC.findall(query):
            known = KONGS.get(name) or labels.get(name.removesuffix("_bucket"))
            if known:
                told += 1
                assert {part.split("=")[0].rstrip("!~") for part in picked.split(",") if part} <= known, query
    assert told > 20


def test_the_file_is_what_code_makes_and_panels_do_not_overlap() -> None:
    assert dashboard.dashboard() == MADE
    made = MADE["panels"]
    assert len({panel["id"] for panel in made}) == len(made)
    taken: set[tuple[int, int]] = set()
    for panel in made:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        for target in panel.get("targets", []):
            assert target["expr"].count("(") == target["expr"].count(")")


UNITS = {"short", "locale", "reqps", "percentunit", "s", "ms", "bytes"}
"""Ids of @grafana/data 12.1.1 (valueFormats/categories.ts); `count:x` makes one of one's own."""
ROWS = [(title, panel) for title, row in panels.ROWS for panel in row]
EACH_PANEL = pytest.mark.parametrize(
    "panel", [pytest.param(panel, id=f"{row}-{panel.title}") for row, panel in ROWS]
)


@EACH_PANEL
def test_a_panels_numbers_read_well(panel: panels.Panel) -> None:
    assert panel.unit in UNITS or re.fullmatch(r"count:[a-z]+/s", panel.unit)
    # Grafana scales a unit before it rounds: 2,024 without decimals is "2 K" of `short`.
    assert panel.decimals != 0 or panel.unit == "locale"
    # What is wider has an ellipsis, on a screen of 1280.
    assert panel.kind != "stat" or len(panel.title) <= 16


@EACH_PANEL
def test_a_legend_tells_the_lines_of_a_panel_apart(panel: panels.Panel) -> None:
    """By labels that lines have, all of them; a line of which none is there would be named "Value"."""
    for legend, query in panel.queries:
        named = set(re.findall(r"{{(.*?)}}", legend))
        by = re.search(r"\bby \(([^)]*)\)", query)
        told = set(by[1].split(", ")) - {"le"} if by else {"instance"} & named
        if "label_replace(" in query and '"plugin_id"' in query:
            told = told - {"plugin_id"} | {"plugin"}
        assert named == told, legend
        assert not named or named != {"consumer"} or '"(nobody)", "consumer", ""' in query
        assert legend or (len(panel.queries) == 1 and not by)


def test_other_programs_processes_are_left_out() -> None:
    asked = [query for query in dashboard.queries() if "process_" in query]
    assert len(asked) == 3
    assert all(query.endswith(" and on (job, instance) kong_ai_proxy_build_info") for query in asked)


def test_rows_have_no_holes() -> None:
    lines: dict[int, int] = {}
    for panel in MADE["panels"]:
        place = panel["gridPos"]
        assert all(
            other["gridPos"]["h"] == place["h"]
            for other in MADE["panels"]
            if other["gridPos"]["y"] == place["y"]
        )
        lines[place["y"]] = lines.get(place["y"], 0) + place["w"]
    assert set(lines.values()) == {24}


def test_totals_begin_with_a_series_first_value() -> None:
    """`increase` of a counter that was first seen at 1 and stayed there is 0."""
    totals = [panel for panel in MADE["panels"] if panel["type"] == "stat"][:5]
    for panel in totals:
        (target,) = panel["targets"]
        assert target["instant"] is True and target["range"] is False
        for series in re.findall(r"increase\((.*?)\[\$__range\]\)", target["expr"]):
            assert f"min_over_time({series}[$__range]) unless {series} offset $__range" in target["expr"]
        assert "increase(" in target["expr"]
    # Counted things have no fractions.
    whole = {"Requests", "Tokens", "Failovers"}
    assert {
        panel["title"] for panel in totals if panel["fieldConfig"]["defaults"].get("decimals") == 0
    } == whole


def test_grafana_finds_its_source_and_its_dashboard() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    asked = [panel for panel in MADE["panels"] if panel["type"] != "row"]
    asked += [target for panel in asked for target in panel["targets"]]
    picked, *variables = MADE["templating"]["list"]
    # Whoever takes the dashboard alone picks the Prometheus of his own.
    assert {each["datasource"]["uid"] for each in (*asked, *variables)} == {f"${{{picked['name']}}}"}
    assert (picked["type"], picked["query"]) == ("datasource", source["type"])
    assert picked["current"] == {"text": source["name"], "value": source["uid"]}
    assert {"type": source["type"], "uid": source["uid"]} == dashboard.DATASOURCE
    assert source["url"] == "http://prometheus:9090" and "prometheus" in SERVICES
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "files.yml").read_text())["providers"]
    mounts = dict(reversed(volume.split(":")[:2]) for volume in SERVICES["grafana"]["volumes"])
    assert (ROOT / mounts[provider["options"]["path"]] / "kong-ai-proxy.json").is_file()
    # Each folder on its own: of others that the image has, and a mount would hide, Grafana says errors.
    for folder in PROVISIONING.iterdir():
        assert ROOT / mounts[f"/etc/grafana/provisioning/{folder.name}"] == folder
    assert "/etc/grafana/provisioning" not in mounts
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/kong-ai-proxy.json"
    assert MADE["uid"] in (ROOT / "docker-compose.yml").read_text()


def test_grafana_is_to_look_at_and_asks_nobody_elsewhere() -> None:
    """By basic authentication `admin:admin` would open its API; plugins would be fetched at its start."""
    settings = SERVICES["grafana"]["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    off = {"AUTH_BASIC_ENABLED", "ANALYTICS_REPORTING_ENABLED"}
    off |= {"ANALYTICS_CHECK_FOR_UPDATES", "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES"}
    assert {settings[f"GF_{name}"] for name in off} == {"false"}
    assert settings["GF_PLUGINS_PREINSTALL_DISABLED"] == settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"


def test_prometheus_asks_kong_and_the_relay() -> None:
    asked = {
        target
        for job in PROMETHEUS["scrape_configs"]
        for config in job["static_configs"]
        for target in config["targets"]
    }
    status = SERVICES["kong"]["environment"]["KONG_STATUS_LISTEN"].rpartition(":")[2]
    relay = SERVICES["kong-ai-proxy"]["environment"]["KONG_AI_PROXY_RELAY_ADVERTISE"]
    assert asked == {f"kong:{status}", relay}
    declared = yaml.safe_load((ROOT / "docker" / "kong.yml").read_text())
    (plugin,) = [plugin for plugin in declared["plugins"] if plugin["name"] == "prometheus"]
    assert plugin["config"]["ai_metrics"] and plugin["config"]["status_code_metrics"]


def test_plain_up_is_small_and_everything_is_pinned_and_local() -> None:
    plain = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert plain == {"kong", "kong-ai-proxy", "mock"}
    for name, service in SERVICES.items():
        if service["image"] != "kong-ai-proxy":
            assert re.search(r":v?\d+\.\d+", service["image"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume


@pytest.mark.parametrize("name", ["kong-ai-proxy", "mock"])
def test_our_containers_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
