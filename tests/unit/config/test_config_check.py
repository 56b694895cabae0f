"""`kong-ai-proxy check`: findings, the lines they are at, exit status."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from kong_ai_proxy.cli import main
from kong_ai_proxy.config.check import Finding, check
from kong_ai_proxy.config.entries import UnreadableFile, parse_path, read
from kong_ai_proxy.config.errors import format_path
from kong_ai_proxy.server import usage_filter

ROOT = Path(__file__).resolve().parents[3]

FILTER = json.dumps(usage_filter.config())
SERVICE = f"""\
_format_version: "3.0"
services:
- name: ai
  url: http://127.0.0.1:8125
  retries: 0
  read_timeout: 900000
  plugins:
  - name: pre-function
    config: {FILTER}
  routes:
  - name: chat
    paths: [/chat]
    plugins:
"""


def plugin(config: str, name: str = "kong-ai-proxy") -> str:
    """A file whose plugin's config begins at line 17."""
    body = "".join(f"        {line}\n" for line in config.strip("\n").split("\n"))
    return f"{SERVICE}    - name: {name}\n      enabled: true\n      config:\n{body}"


def findings(text: str) -> list[Finding]:
    return check(read(text))


def told(text: str) -> list[tuple[str, int, str]]:
    return [(found.severity, found.line, found.path) for found in findings(text)]


GOOD = """
route_type: llm/v1/chat
auth: {header_name: Authorization, header_value: "{vault://env/openai}"}
model: {provider: openai}
"""


def test_nothing_to_say() -> None:
    assert findings(plugin(GOOD)) == []


def test_errors_stand_at_their_line() -> None:
    text = plugin(
        """
targets:
- route_type: llm/v1/chat
  model: {provider: openai}
- route_type: llm/v1/chat
  weight: 0
  model:
    provider: opena
balancer:
  retires: 1
""",
        "kong-ai-proxy-advanced",
    )
    lines = text.split("\n")
    assert lines[16].strip() == "targets:"
    assert told(text) == [
        ("error", 21, "targets[2].weight"),
        ("error", 23, "targets[2].model.provider"),
        ("error", 25, "balancer.retires"),
    ]
    assert "did you mean retries?" in findings(text)[2].message


def test_a_missing_field_is_told_where_it_belongs() -> None:
    assert told(plugin("route_type: llm/v1/chat\nmodel:\n  provider: vllm")) == [
        ("error", 18, "model.options.upstream_url")
    ]
    assert told(plugin("{}")) == [("error", 16, "model"), ("error", 16, "route_type")]


def test_a_plugin_without_config_is_told() -> None:
    assert [found.path for found in findings(SERVICE + "    - name: kong-ai-proxy\n")] == [
        "model",
        "route_type",
    ]


ENTRY = "- name: kong-ai-proxy\n  config: {route_type: nope, model: {provider: openai}}"


@pytest.mark.parametrize(
    ("holder", "scope"),
    [
        ("plugins:\n@", "global"),
        ("services:\n- name: ai\n  plugins:\n  @", "service ai"),
        ("services:\n- name: ai\n  routes:\n  - name: chat\n    plugins:\n    @", "route chat"),
        ("routes:\n- name: chat\n  plugins:\n  @", "route chat"),
        ("consumers:\n- username: alice\n  plugins:\n  @", "consumer alice"),
        ("consumer_groups:\n- name: gold\n  plugins:\n  @", "consumer group gold"),
    ],
)
def test_plugins_are_found_wherever_they_stand(holder: str, scope: str) -> None:
    indent = " " * (len(holder) - len(holder.rstrip("@ ")) - 1)
    text = holder.replace("@", ENTRY.replace("\n", "\n" + indent))
    errors = [found for found in findings(text) if found.severity == "error"]
    assert [(found.path, found.scope) for found in errors] == [("route_type", scope)]
    assert text.split("\n")[errors[0].line - 1].strip().startswith("config:")


def test_a_top_level_plugin_may_name_its_route() -> None:
    text = SERVICE.replace("    plugins:\n", "").replace("  - name: chat\n", "  - name: chat\n", 1) + (
        "plugins:\n- name: kong-ai-proxy\n  route: chat\n"
        "  config: {route_type: llm/v1/chat, model: {provider: openai}}\n"
    )
    assert findings(text) == []


def test_shared_configuration_of_deck_counts() -> None:
    shared = "_plugin_configs:\n  openai:\n    route_type: llm/v1/chat\n    model: {provider: opena}\n"
    text = shared + SERVICE + "    - name: kong-ai-proxy\n      _config: openai\n"
    assert told(text) == [("error", 4, "model.provider")]


def test_values_that_come_later_are_taken() -> None:
    config = """
route_type: llm/v1/chat
max_request_body_size: ${{ env "DECK_SIZE" }}
model_name_header: ${{ env "DECK_HEADER" }}
auth: {header_name: Authorization, header_value: "Bearer ${{ env "DECK_KEY" }}"}
model:
  provider: ${{ env "DECK_PROVIDER" }}
  name: ${model}
  options:
    upstream_url: ${{ env "DECK_URL" }}
    temperature: ${{ env "DECK_TEMPERATURE" }}
"""
    assert findings(plugin(config)) == []
    assert told(plugin(config + "    top_k: 1000")) == [("error", 27, "model.options.top_k")]


def test_what_looks_like_a_date_is_text() -> None:
    config = GOOD.replace(
        "{provider: openai}", "{provider: openai, options: {azure_api_version: 2024-10-21}}"
    )
    assert findings(plugin(config)) == []


def test_secrets_and_references() -> None:
    config = """
route_type: llm/v1/chat
llm_format: openai
auth:
  header_name: Authorization
  header_value: Bearer sk-secret
model:
  provider: openai
  name: "{vault://env/model}"
"""
    found = findings(plugin(config))
    assert [(item.severity, item.path) for item in found] == [
        ("warning", "auth.header_value"),
        ("warning", "model.name"),
    ]
    assert "clear text" in found[0].message
    assert all("sk-secret" not in item.text() for item in found)
    partial = config.replace("Bearer sk-secret", '"Bearer {vault://env/key}"')
    assert "whole value" in findings(plugin(partial))[0].message


def test_a_reference_without_quotes() -> None:
    config = GOOD.replace('"{vault://env/openai}"', "{vault://env/openai}")
    assert [(found.severity, found.path) for found in findings(plugin(config))] == [
        ("error", "auth.header_value"),
        ("warning", "auth.header_value"),
    ]
    assert "quotes" in findings(plugin(config))[1].message


def test_what_only_looks_like_a_template() -> None:
    config = GOOD.replace("{provider: openai}", "{provider: openai, name: $(headers.a)-$(header.x-model)}")
    (found,) = findings(plugin(config))
    assert (found.severity, found.path) == ("warning", "model.name")
    assert findings(plugin(config.replace("$(header.", "$(headers."))) == []


def test_a_host_that_clients_choose() -> None:
    config = GOOD.replace(
        "provider: openai}", 'provider: openai, options: {upstream_url: "https://$(headers.h)/v1"}}'
    )
    (found,) = findings(plugin(config))
    assert (found.severity, found.path) == ("warning", "model.options.upstream_url")
    assert "credential" in found.message
    assert findings(plugin(config.replace("$(headers.h)", "$(headers.h).example.com"))) == []


def test_the_service_around_it() -> None:
    text = plugin(GOOD).replace("  retries: 0\n  read_timeout: 900000\n", "  read_timeout: 60000\n")
    assert told(text) == [("warning", 3, "retries"), ("warning", 5, "read_timeout")]
    longer = plugin(
        "balancer: {read_timeout: 1000000}\ntargets: [{route_type: llm/v1/chat, model: {provider: openai}}]",
        "kong-ai-proxy-advanced",
    )
    assert told(longer) == [("warning", 6, "read_timeout")]


def test_a_missing_usage_filter() -> None:
    text = plugin(GOOD).replace("kong_ai", "something")
    (found,) = findings(text)
    assert found.severity == "warning"
    assert "usage filter" in found.message
    covered = text + "plugins:\n" + usage_filter.plugin_entry()
    assert findings(covered) == []
    elsewhere = text + "routes:\n- name: other\n  plugins:\n" + usage_filter.plugin_entry(2)
    assert len(findings(elsewhere)) == 1
    assert findings(text.replace("enabled: true", "enabled: false")) == []


def test_an_outdated_usage_filter() -> None:
    """Told once, at the filter: for all plugins that it covers."""
    old = FILTER.replace("local VERSION = 2", "local VERSION = 1")
    text = plugin(GOOD).replace(FILTER, old)
    text += "    - name: kong-ai-proxy\n      config:\n" + text[text.index("        route_type") :]
    (found,) = findings(text)
    assert (found.severity, found.line, found.scope) == ("warning", 8, "service ai")
    assert "usage filter is another version's" in found.message
    for changed in (
        FILTER.replace("claims = ", "claim = "),
        FILTER.replace('"log": [', '"log": [], "rewrite": ['),
        '{"access": ["kong.ctx.shared.kong_ai = {}"]}',
        '{"access": "kong_ai"}',
    ):
        assert [each.plugin for each in findings(plugin(GOOD).replace(FILTER, changed))] == ["pre-function"]


def test_a_usage_filter_that_was_written_in_another_way_is_the_same() -> None:
    config = usage_filter.config()
    config["access"].insert(0, "kong.log.debug('mine')")
    config["log"] = [
        "".join(f"    {line}  \n" for line in text.splitlines() if not line.startswith("--"))
        for text in config["log"]
    ]
    assert findings(plugin(GOOD).replace(FILTER, json.dumps(config))) == []


def test_advice() -> None:
    config = """
route_type: preserve
auth: {aws_access_key_id: "{vault://env/id}"}
model:
  provider: bedrock
  options:
    upstream_path: /x
    cache_write_cost_list: [{ttl: 5 minutes, cost: 1}, {ttl: 1h, cost: 2}]
    context_window_factor: [{above: lots, input_factor: 2, output_factor: 2}]
"""
    assert [found.path for found in findings(plugin(config))] == [
        "route_type",
        "auth",
        "model.options.upstream_path",
        "model.options.cache_write_cost_list[1].ttl",
        "model.options.context_window_factor[1].above",
    ]
    judged = """
targets: [{route_type: llm/v1/chat, model: {provider: openai}}]
balancer: {tokens_count_strategy: llm-accuracy}
"""
    found = findings(plugin(judged, "kong-ai-proxy-advanced"))
    assert [(each.path, each.severity) for each in found] == [("balancer.tokens_count_strategy", "warning")]
    assert "no effect with balancer.algorithm round-robin" in found[0].message
    judged = judged.replace("{tok", "{algorithm: lowest-usage, tok")
    found = findings(plugin(judged, "kong-ai-proxy-advanced"))
    assert [each.path for each in found] == ["balancer.tokens_count_strategy"]
    assert "kong_ai_proxy.judge" in found[0].message
    (found_empty,) = findings(plugin("targets: []", "kong-ai-proxy-advanced"))
    assert (found_empty.path, found_empty.severity) == ("targets", "error")


JUDGED = """
targets: [{route_type: llm/v1/chat, model: {provider: openai}}]
balancer: {algorithm: lowest-usage, tokens_count_strategy: llm-accuracy}
kong_ai_proxy: {judge: %s}
"""
CHAT = "route_type: llm/v1/chat"
KONGS = "llm.model.options.upstream_url"
LLM = f"{CHAT}, model: {{provider: openai, name: j}}"


@pytest.mark.parametrize(
    ("judge", "fields"),
    [
        (f"{{llm: {{{LLM}}}}}", []),
        (f"{{llm: {{{LLM}, weight: 3, description: d}}, message_countback: 3, sampling_rate: 0.5}}", []),
        (f"{{llm: {{{LLM}}}, sampling_rate: 0}}", ["sampling_rate"]),
        (f"{{llm: {{{LLM}}}, https_verify: false}}", ["https_verify"]),
        (f"{{llm: {{{LLM}, logging: {{log_payloads: true}}}}}}", ["llm.logging.log_payloads"]),
        (f"{{llm: {{{LLM[:-1]}, options: {{upstream_path: /x}}}}}}}}", ["llm.model.options.upstream_path"]),
        (f"{{llm: {{{CHAT}, model: {{provider: azure, options: {{upstream_url: 'https://a.b'}}}}}}}}", []),
        *(
            (f"{{llm: {{{LLM[:-1]}, options: {{upstream_url: '{url}'}}}}}}}}", [KONGS] * kongs)
            for url, kongs in (
                ("http://localhost:8000/judge", True), ("https://kong.internal/judge", True),
                ("http://vllm.internal:8000/v1/chat/completions", False),
                ("http://127.0.0.1:8080/v1/chat/completions", False),
            )
        ),
        ("{}", ["llm!"]),
        (f"{{llm: {{{CHAT}, model: {{provider: openai}}}}}}", ["llm.model.name!"]),
        ("{llm: {route_type: llm/v1/embeddings, model: {provider: openai, name: j}}}", ["llm.route_type!"]),
        (f"{{llm: {{{CHAT}, model: {{provider: vllm, name: j}}}}}}", ["llm.model.options.upstream_url!"]),
        (f"{{llm: {{{CHAT}, model: {{provider: openai, name: $(headers.x)}}}}}}", ["llm.model.name!"]),
        (
            f"{{llm: {{{LLM[:-1]}, options: {{gemini: {{project_id: $(headers.x), location_id: l, "
            "api_endpoint: e}}}}}",
            ["llm.model.options.gemini.project_id!"],
        ),
        (f"{{llm: {{{LLM}}}, sampling_rate: 1.5}}", ["sampling_rate!"]),
        (f"{{llm: {{{LLM}}}, message_countback: 0}}", ["message_countback!"]),
        (f"{{llm: {{{LLM}}}, http_proxy_host: p}}", ["http_proxy_host!"]),
        (f"{{llm: {{{LLM}, auth: {{header_name: x-api-key, header_value: k}}}}}}", ["llm.auth.header_value"]),
    ],
)
def test_what_is_said_of_a_judge(judge: str, fields: list[str]) -> None:
    """Errors are marked; all name the field."""
    found = findings(plugin(JUDGED % judge, "kong-ai-proxy-advanced"))
    told = [each.path + "!" * (each.severity == "error") for each in found]
    assert told == [f"kong_ai_proxy.judge.{field}" for field in fields]


def test_one_target_has_no_judge() -> None:
    config = f"{CHAT}\nmodel: {{provider: openai}}\nkong_ai_proxy: {{judge: {{llm: {{{LLM}}}}}}}"
    (found,) = findings(plugin(config))
    assert (found.path, found.severity) == ("kong_ai_proxy.judge", "error")


@pytest.mark.parametrize(
    ("redis", "fields"),
    [
        ("{cloud_authentication: {auth_provider: gcp}}", ["ssl"]),
        ("{cloud_authentication: {auth_provider: gcp}, ssl: true}", []),
        ("{cloud_authentication: {auth_provider: gcp}, ssl: true, password: x}", ["password"] * 2),
        ("{cluster_nodes: [{ip: c}], database: 2}", ["database"]),
        ("{sentinel_nodes: [{host: s}], sentinel_master: m, sentinel_role: slave}", ["sentinel_role"]),
        ("{server_name: n}", ["server_name"]),
        ("{send_timeout: 9}", ["send_timeout"]),
        ("{send_timeout: 9, read_timeout: 9}", []),
        ("{send_timeout: 2000, read_timeout: 9, keepalive_pool_size: 256, keepalive_backlog: null}", []),
        (
            "{keepalive_pool_size: 3, keepalive_backlog: 0}",
            ["keepalive_backlog", "keepalive_pool_size"],
        ),
    ],
)  # fmt: skip
def test_advice_on_redis(redis: str, fields: list[str]) -> None:
    config = f"""
targets:
- route_type: llm/v1/chat
  model: {{provider: openai}}
kong_ai_proxy: {{redis: {redis}}}
"""
    found = findings(plugin(config, "kong-ai-proxy-advanced"))
    assert [each.path for each in found] == [f"kong_ai_proxy.redis.{field}" for field in fields]


def test_keys_that_are_there_twice() -> None:
    assert told(plugin(GOOD + "route_type: llm/v1/chat")) == [("warning", 20, "")]


def test_aliases_and_merges_are_followed() -> None:
    text = """
plugins:
- name: kong-ai-proxy
  config: &shared
    route_type: llm/v1/chat
    model: &model {provider: openai}
- name: kong-ai-proxy-advanced
  config:
    targets:
    - <<: *shared
      weight: 0
"""
    errors = [found for found in findings(text) if found.severity == "error"]
    assert [(found.line, found.path) for found in errors] == [(11, "targets[1].weight")]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1", 1), ("services:\n- name: x\n  {", 3), ("- just\n- a list", 1), ("", 1), ("a: &a [*b]", 1)],
)
def test_files_that_are_none(text: str, line: int) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read(text)
    assert abs(refused.value.line - line) <= 1


def test_a_file_that_holds_itself() -> None:
    assert list(read("a: &a {b: *a}").entries()) == []


def test_paths_there_and_back() -> None:
    for path in [("targets", 0, "model"), ("acls", "allow", 2, "match", 0, "values", 1)]:
        assert parse_path(format_path(path)) == path
    assert parse_path("") == ()


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["check", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_exit_status_and_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(plugin(GOOD))
    assert _run(capsys, str(file)) == (0, "", "1 plugin entry checked: 0 errors, 0 warnings\n")

    file.write_text(plugin(GOOD.replace("openai}", "opena}")))
    status, out, err = _run(capsys, str(file))
    assert status == 1
    assert out.startswith(f"{file}:19: error: model.provider: expected one of: anthropic,")
    assert out.rstrip().endswith("[kong-ai-proxy on route chat]")
    assert "1 error, 0 warnings" in err

    file.write_text(plugin(GOOD).replace("retries: 0", "retries: 1"))
    assert _run(capsys, str(file))[0] == 0
    assert _run(capsys, "--strict", str(file))[0] == 1

    file.write_text("a: [")
    assert _run(capsys, str(file))[0] == 2
    file.write_bytes(b"\xff\xfe\x00")
    assert _run(capsys, str(file))[0] == 2
    assert _run(capsys, str(tmp_path / "none.yml"))[0] == 2


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(plugin(GOOD.replace("openai}", "opena}")))
    status, out, _ = _run(capsys, "--format", "json", str(file))
    report: dict[str, Any] = json.loads(out)
    assert (status, report["ok"], report["plugins"]) == (1, False, 1)
    assert report["findings"][0]["line"] == 19
    assert report["findings"][0]["path"] == "model.provider"


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(plugin(GOOD)))
    assert _run(capsys, "-")[0] == 0


def test_the_example_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = _run(capsys, "--strict", str(ROOT / "kong.yml.example"))
    assert (status, out) == (0, "")
    assert "5 plugin entries checked" in err
    text = (ROOT / "kong.yml.example").read_text()
    assert usage_filter.plugin_entry(2) in text


RECORD = "expected a record: a plugin's name and config"


@pytest.mark.parametrize(
    ("text", "line", "place", "wanted"),
    [
        ("plugins: 5\n", 1, "plugins", "expected an array"),
        ("plugins: {name: cors}\n", 1, "plugins", "expected an array"),
        ("plugins:\n- 7\n", 2, "plugins[1]", RECORD),
        ("plugins:\n- name: cors\n- null\n", 3, "plugins[2]", RECORD),
        ("plugins:\n- name: 3\n", 2, "plugins[1].name", "expected a string: the plugin's name"),
        ("plugins:\n- config: {}\n", 2, "plugins[1].name", "required field missing: the plugin's name"),
        ("plugins:\n- name: cors\n  enabled: 1\n", 3, "plugins[1].enabled", "expected a boolean"),
        ("services: x\n", 1, "services", "expected an array"),
        ("services:\n- s\n", 2, "services[1]", "expected a record: a service"),
        ("services:\n- routes:\n  - 1\n", 3, "services[1].routes[1]", "expected a record: a route"),
        ("services:\n- routes:\n  - plugins: 1\n", 3, "services[1].routes[1].plugins", "expected an array"),
        ("routes:\n- plugins: [no]\n", 2, "routes[1].plugins[1]", RECORD),
        ("consumers: 5\n", 1, "consumers", "expected an array"),
        ("consumer_groups: [5]\n", 1, "consumer_groups[1]", "expected a record: a consumer group"),
    ],
)
def test_what_is_no_list_of_plugins_is_told(text: str, line: int, place: str, wanted: str) -> None:
    assert findings(text) == [Finding("error", "kong.yml", line, place, wanted)]


@pytest.mark.parametrize(
    "text",
    [
        "plugins:\nservices:\nroutes: []\nconsumers: {}\n",
        "services:\n- name: s\n  routes:\n",
        'plugins: ${{ env "DECK_PLUGINS" }}\n',
        'services:\n- ${{ env "DECK_SERVICE" }}\n',
        'plugins:\n- {name: "${{ env "DECK_NAME" }}", enabled: ${{ env "DECK_ON" }}}\n',
    ],
)
def test_empty_lists_and_what_deck_fills_in_are_right(text: str) -> None:
    assert findings(text) == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("read_timeout: 60000", "60000 ms is not more than the plugin waits for a provider (60000 ms)"),
        ("host: x", "60000 ms, Kong's default, is not more than the plugin waits for a provider (60000 ms)"),
    ],
)
def test_a_time_out_that_is_too_short_is_told_with_what_to_set(written: str, says: str) -> None:
    (found,) = findings(plugin(GOOD).replace("read_timeout: 900000", written))
    assert found.message == f"{says}: Kong would end long answers first; set 61000 or more"
    assert findings(plugin(GOOD).replace("read_timeout: 900000", "read_timeout: 61000")) == []
