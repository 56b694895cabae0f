"""Configurations of Kong's ai-proxy become ours, in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_ai_proxy import cli
from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import UnreadableFile, read
from kong_ai_proxy.migrate.edits import Source
from kong_ai_proxy.migrate.kong import READ_TIMEOUT, migrate
from kong_ai_proxy.migrate.report import Report

RELAY = "127.0.0.1:8125"

DECK = """\
# our gateway
_format_version: "3.0"
_plugin_configs:
  shared:
    logging: {log_statistics: true}
    response_streamin: allow  # a slip
services:
- name: ai
  url: http://localhost:32000   # never called
  read_timeout: 60000
  plugins:
  - name: cors
  routes:
  - name: chat
    paths: [/chat]
    plugins:
    - name: ai-proxy     # one model
      ordering: {before: {access: [ai-proxy, acl]}}
      _config: shared
      config:
        route_type: llm/v1/chat
        auth:
          header_name: Authorization
          header_value: Bearer sk-very-secret
        model:
          provider: openai
          name: gpt-4o
          options:
            no_such_option: 3
            max_tokens: 512
  - name: many
    paths: [/many]
    plugins:
    - {name: ai-proxy-advanced, config: {genai_categori: x, targets: [{route_type: llm/v1/chat,
        auth: {header_name: x-api-key, header_value: '{vault://env/anthropic}'},
        model: {provider: anthropic, name: ${{ env "DECK_MODEL" }}}}]}}
- name: mixed
  host: api.openai.com
  port: 443
  protocol: https
  routes:
  - name: with
    paths: [/with]
    plugins:
    - name: ai-proxy
      config: {route_type: llm/v1/chat, model: {provider: openai},
        auth: {header_name: Authorization, header_value: Bearer sk-very-secret}}
  - name: without
    paths: [/without]
consumers:
- username: alice
  plugins:
  - name: ai-prompt-guard
    config: {allow_patterns: [x]}
"""


def migrated(text: str, **options: Any) -> tuple[str, Report]:
    report = Report()
    return migrate(text, relay=RELAY, report=report, **options), report


def errors(text: str) -> list[str]:
    return [found.text() for found in check(read(text)) if found.severity == "error"]


def test_a_whole_file_is_changed_in_place() -> None:
    text, report = migrated(DECK)
    assert errors(text) == []
    data = yaml.safe_load(text.replace('${{ env "DECK_MODEL" }}', "m"))
    ai, mixed = data["services"]
    assert (ai["url"], ai["retries"], ai["read_timeout"]) == (f"http://{RELAY}", 0, READ_TIMEOUT)
    chat, many = (route["plugins"][0] for route in ai["routes"])
    assert chat["name"] == "kong-ai-proxy"
    assert chat["ordering"] == {"before": {"access": ["kong-ai-proxy", "acl"]}}
    assert chat["config"]["auth"]["header_value"] == "{vault://env/openai-authorization}"
    assert chat["config"]["model"]["options"] == {"max_tokens": 512}
    assert data["_plugin_configs"]["shared"] == {"logging": {"log_statistics": True}}
    assert many["name"] == "kong-ai-proxy-advanced"
    assert many["config"]["targets"][0]["auth"]["header_value"] == "{vault://env/anthropic}"
    assert "genai_categori" not in many["config"]
    assert ai["plugins"] == [{"name": "cors"}]
    assert [plugin["name"] for plugin in data["plugins"]] == ["pre-function"]
    assert (mixed["host"], mixed["port"]) == ("api.openai.com", 443) and "retries" not in mixed
    for comment in ("# our gateway", "# never called", "# one model"):
        assert comment in text
    assert "sk-very-secret" not in text + report.text("f") + report.json("f")


def test_what_is_left_to_do_is_told_with_lines() -> None:
    _, report = migrated(DECK)
    lost = {note.path: note.line for note in report.of("lost")}
    assert lost["model.options.no_such_option"] == DECK.split("no_such_option")[0].count("\n") + 1
    assert {"response_streamin", "genai_categori"} <= set(lost)
    todo = " ".join(note.message for note in report.of("todo"))
    assert "OPENAI_AUTHORIZATION" in todo and "ai-prompt-guard" in todo and "without ai-proxy" in todo


def test_secrets_may_stay() -> None:
    text, _ = migrated(DECK, keep_secrets=True, usage=False)
    assert text.count("Bearer sk-very-secret") == 2
    assert "pre-function" not in text


def test_json_and_separate_address_fields() -> None:
    document = {
        "services": [
            {
                "name": "a",
                "host": "api.anthropic.com",
                "port": 443,
                "protocol": "https",
                "path": "/v1",
                "tls_verify": True,
                "routes": [{"name": "r", "paths": ["/"]}],
                "plugins": [
                    {
                        "name": "ai-proxy",
                        "config": {
                            "route_type": "llm/v1/chat",
                            "nope": [1, {"a": 2}],
                            "model": {"provider": "anthropic", "name": "m"},
                            "auth": {"header_name": "x-api-key", "header_value": "sk-1"},
                            "extra": 1,
                        },
                    }
                ],
            }
        ]
    }
    text, report = migrated(json.dumps(document, indent=2))
    assert errors(text) == []
    (service,) = json.loads(text)["services"]
    assert {name: service[name] for name in ("host", "port", "protocol", "path", "retries")} == {
        "host": "127.0.0.1", "port": 8125, "protocol": "http", "path": "/", "retries": 0,
    }  # fmt: skip
    assert [plugin["name"] for plugin in service["plugins"]] == ["pre-function", "kong-ai-proxy"]
    assert set(service["plugins"][1]["config"]) == {"route_type", "model", "auth"}
    assert service["plugins"][1]["config"]["auth"]["header_value"] == "{vault://env/anthropic-api-key}"
    assert any("tls_verify" in note.path for note in report.of("lost"))


def test_plugins_by_reference_and_the_filter_where_nothing_is_yet() -> None:
    text, report = migrated(
        "_format_version: '3.0'\n"
        "services:\n- {name: ai, url: 'http://x'}\n"
        "routes:\n- {name: r, paths: [/], service: ai}\n- {name: s, paths: [/s], service: {name: ai}}\n"
        "plugins:\n- name: ai-proxy\n  route: r\n  config: {route_type: llm/v1/chat, model: "
        "{provider: openai}}\n"
        "- name: ai-proxy\n  enabled: false\n  consumer: bob\n"
        "  config: {route_type: llm/v1/chat, model: {provider: openai}}\n"
    )
    data = yaml.safe_load(text)
    assert [plugin["name"] for plugin in data["plugins"]] == [
        "pre-function",
        "kong-ai-proxy",
        "kong-ai-proxy",
    ]
    # Route s has no plugin: the service stays.
    assert data["services"][0]["url"] == "http://x"
    assert "round" in report.text("f")


def test_a_plugin_for_everything_changes_no_service() -> None:
    text, report = migrated(
        "plugins: [{name: ai-proxy, config: {route_type: llm/v1/chat, model: {provider: openai}}}]\n"
        "services: [{name: a, url: 'http://x', routes: [{name: r, paths: [/]}]}]\n"
    )
    data = yaml.safe_load(text)
    assert data["services"][0]["url"] == "http://x"
    assert [plugin["name"] for plugin in data["plugins"]] == ["pre-function", "kong-ai-proxy"]
    assert "belongs to no service" in report.text("f")


def test_another_pre_function_is_left_alone() -> None:
    text, report = migrated(
        "services:\n- name: a\n  url: http://x\n  plugins:\n"
        "  - name: pre-function\n    config: {access: ['return']}\n"
        "  - name: ai-proxy\n    config: {route_type: llm/v1/chat, model: {provider: openai}}\n"
    )
    assert text.count("pre-function") == 1
    assert "add the usage filter's functions" in report.text("f")


def test_redis_by_a_clouds_credentials_stays() -> None:
    text, report = migrated(
        "plugins:\n- name: ai-proxy-advanced\n  config:\n    vectordb:\n      strategy: redis\n"
        "      dimensions: 3\n      distance_metric: cosine\n      redis:\n        ssl: true\n"
        "        cloud_authentication: {auth_provider: azure}\n"
        "    targets: [{route_type: llm/v1/chat, model: {provider: openai}}]\n"
    )
    assert "cloud_authentication: {auth_provider: azure}" in text
    assert report.of("lost") == []


def test_a_file_without_the_plugins_stays() -> None:
    text, report = migrated("services: [{name: a, url: 'http://x'}]\n")
    assert text == "services: [{name: a, url: 'http://x'}]\n"
    assert report.of("lost")


def test_merged_maps_and_aliases_are_edited_once() -> None:
    text, _ = migrated(
        "_plugin_configs: {}\n"
        "x-defaults: &d\n  name: ai-proxy\n"
        "services:\n- name: a\n  url: http://x\n  plugins:\n  - <<: *d\n"
        "    config: &c\n      route_type: llm/v1/chat\n      model: {provider: openai}\n"
        "      auth: {header_name: api-key, header_value: secret-1}\n"
        "- name: b\n  url: http://y\n  plugins:\n  - <<: [*d]\n    config: *c\n",
        usage=False,
    )
    data = yaml.safe_load(text)
    for service in data["services"]:
        (plugin,) = service["plugins"]
        assert plugin["name"] == "kong-ai-proxy" and service["retries"] == 0
        assert plugin["config"]["auth"]["header_value"] == "{vault://env/openai-api-key}"
    assert text.count("vault") == 1


def test_anchors_stay() -> None:
    text, _ = migrated(
        "plugins: &shared\n- &one\n  name: &name ai-proxy\n"
        "  config: &c !!map\n    route_type: llm/v1/chat\n    model: {provider: openai}\n"
        "    auth: &a {header_name: api-key, header_value: &key secret-1}\n"
        "x-others: [*shared, *one, *name, *key, *c, *a]\n"
    )
    data = yaml.safe_load(text)
    filtered, plugin = data["plugins"]
    assert (filtered["name"], plugin["name"]) == ("pre-function", "kong-ai-proxy")
    others = data["x-others"]
    assert others[0] == data["plugins"] and others[1] == plugin and others[2] == "kong-ai-proxy"
    assert others[3] == plugin["config"]["auth"]["header_value"] == "{vault://env/openai-api-key}"
    flow, _ = migrated(
        "plugins: &p [{name: ai-proxy, config: {route_type: llm/v1/chat, model: {provider: openai}}}]\n"
    )
    assert [plugin["name"] for plugin in yaml.safe_load(flow)["plugins"]] == ["pre-function", "kong-ai-proxy"]


@pytest.mark.parametrize(
    ("text", "path", "left"),
    [
        ("a: 1\nb: 2\n", ("a",), {"b": 2}),
        ("a: 1\nb: 2", ("b",), {"a": 1}),
        ("a:\n  b:\n  - c\n  - d: |\n      text\n\n  e: 1\n", ("a", "b"), {"a": {"e": 1}}),
        ("a:\n- b: 1\n  c: 2\n", ("a", 0, "b"), {"a": [{"c": 2}]}),
        ("a:\n- b: 1\n", ("a", 0, "b"), {"a": [{}]}),
        ("a: {b: 1, c: 2}", ("a", "c"), {"a": {"b": 1}}),
        ("a: {b: [1, 2], c: 2}", ("a", "b"), {"a": {"c": 2}}),
        ("a: {b: 1}", ("a", "b"), {"a": {}}),
    ],
)
def test_members_are_taken_out(text: str, path: tuple[str | int, ...], left: Any) -> None:
    source = Source(text)
    assert source.remove(path)
    assert yaml.safe_load(source.result()) == left
    assert not source.remove((*path[:-1], "other"))
    assert not source.remove((*path, "below"))


@pytest.mark.parametrize(
    ("text", "holder", "result"),
    [
        ("s: {}\n", ("s",), {"s": {"plugins": [{"n": 1}]}}),
        ("s:\n  a: 1\n  plugins: []\n", ("s",), {"s": {"a": 1, "plugins": [{"n": 1}]}}),
        ("s:\n  a: 1\n", ("s",), {"s": {"a": 1, "plugins": [{"n": 1}]}}),
        ("s: {a: 1, plugins: [{n: 0}]}\n", ("s",), {"s": {"a": 1, "plugins": [{"n": 1}, {"n": 0}]}}),
        ("s:\n  plugins:\n    - n: 0\n", ("s",), {"s": {"plugins": [{"n": 1}, {"n": 0}]}}),
        ("s: [1]\n", ("s",), {"s": [1]}),
    ],
)
def test_items_are_put_first(text: str, holder: tuple[str, ...], result: Any) -> None:
    source = Source(text)
    source.prepend(holder, "plugins", {"n": 1}, "- n: 1\n")
    source.set((*holder, "nothing"), "a", 1)
    assert yaml.safe_load(source.result()) == result


def test_what_was_written_is_found_again() -> None:
    source = Source("a:\n  b: 'x' # y\n")
    node = source.node(("a", "b"))
    assert node is not None and source.text_of(node) == "'x'"
    assert source.node(("a", "b", "c")) is None and source.node(("a", 0)) is None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, result, told = tmp_path / "kong.yml", tmp_path / "new.yml", tmp_path / "report.json"
    source.write_text(DECK)
    assert cli.main(["migrate", str(source), "-o", str(result), "--report", str(told)]) == 0
    assert "kong-ai-proxy-advanced" in result.read_text()
    notes = json.loads(told.read_text())["notes"]
    assert {note["kind"] for note in notes} == {"lost", "todo", "changed"}
    assert capsys.readouterr() == ("", "")
    assert cli.main(["migrate", str(source), "--strict", "--relay", "kong-ai-proxy:8125"]) == 1
    out, err = capsys.readouterr()
    assert "http://kong-ai-proxy:8125" in out and "Not carried over:" in err
    assert cli.main(["check", str(result)]) == 0


@pytest.mark.parametrize("text", ["a: [", "- 1", "a: 1", "\x00"])
def test_what_cannot_be_read(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kong.yml"
    path.write_text(text)
    assert cli.main(["migrate", str(path)]) == 2
    assert "kong.yml" in capsys.readouterr().err
    assert cli.main(["migrate", str(tmp_path / "none.yml")]) == 2
    with pytest.raises(UnreadableFile):
        migrated("a: [")


def test_a_relay_that_is_no_address_is_refused(capsys, tmp_path):
    source = tmp_path / "kong.yml"
    source.write_text('_format_version: "3.0"\n')
    with pytest.raises(SystemExit) as ended:
        cli.main(["migrate", str(source), "--relay", "nonsense"])
    assert ended.value.code == 2
    assert "--relay" in capsys.readouterr().err
