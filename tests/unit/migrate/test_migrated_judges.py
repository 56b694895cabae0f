"""Kong's ai-llm-as-judge beside ai-proxy-advanced becomes a block in its configuration, in place."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import read
from kong_ai_proxy.migrate.edits import Source
from kong_ai_proxy.migrate.kong import migrate
from kong_ai_proxy.migrate.report import Report

TARGET = "{route_type: llm/v1/chat, model: {provider: openai, name: m}}"
ADVANCED = f"""\
- name: ai-proxy-advanced
  config:
    balancer: {{algorithm: lowest-usage, tokens_count_strategy: llm-accuracy}}
    targets: [{TARGET}]
"""
JUDGE = """\
- name: ai-llm-as-judge   # the judge
  config:
    prompt: |
      Judge it.

        A number.
    http_proxy_host: proxy.internal
    sampling_rat: 0.5
    llm:
      auth:
        header_name: Authorization
        header_value: Bearer sk-judges
      model: {provider: openai, name: ${{ env "DECK_JUDGE" }}}
      route_type: llm/v1/chat
    message_countback: 3   # three
"""


def below(head: str, *plugins: str, indent: int = 0) -> str:
    pad = " " * indent
    lines = "".join(plugins).splitlines(keepends=True)
    return head + f"{pad}plugins:\n" + "".join(pad + line for line in lines)


def migrated(text: str, **options: Any) -> tuple[Any, Report, str]:
    report = Report()
    made = migrate(text, relay="127.0.0.1:8125", report=report, **{"usage": False, **options})
    assert [found.text() for found in check(read(made)) if found.severity == "error"] == []
    return yaml.safe_load(made.replace('${{ env "DECK_JUDGE" }}', "j")), report, made


def judge_of(plugin: Any) -> Any:
    return plugin["config"]["kong_ai_proxy"]["judge"]


def test_the_judge_moves_into_the_plugin_it_judged_for() -> None:
    data, report, text = migrated(below("", ADVANCED, "# as before\n", JUDGE, "- name: cors\n"))
    one, cors = data["plugins"]
    assert cors == {"name": "cors"} and one["name"] == "kong-ai-proxy-advanced"
    judge = judge_of(one)
    assert judge["prompt"] == "Judge it.\n\n  A number.\n"
    assert judge["llm"]["auth"]["header_value"].startswith("{vault://env/")
    assert judge["llm"]["model"] == {"provider": "openai", "name": "j"}
    assert set(judge) == {"prompt", "llm", "message_countback"}
    assert '${{ env "DECK_JUDGE" }}' in text and "# three" in text and "# as before" in text
    assert "sk-judges" not in text + report.text("f")
    lost = {note.path: note.message for note in report.of("lost")}
    assert "no proxy" in lost["http_proxy_host"] and "unknown" in lost["sampling_rat"]
    assert any("is now kong_ai_proxy.judge" in note.message for note in report.of("changed"))
    assert not any("may see nothing" in note.message for note in report.of("todo"))


def test_the_default_prompt_is_another() -> None:
    _, report, _ = migrated(below("", ADVANCED, f"- name: ai-llm-as-judge\n  config: {{llm: {TARGET}}}\n"))
    assert any("default prompt has other words" in note.message for note in report.of("changed"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        # before and behind the plugin, alone in its list
        (below("", JUDGE, ADVANCED), ["kong-ai-proxy-advanced"]),
        (below("", ADVANCED, JUDGE), ["kong-ai-proxy-advanced"]),
        (below("services:\n- name: s\n  url: http://a\n", ADVANCED, indent=2) + below("", JUDGE), None),
    ],
)
def test_wherever_it_stands_in_its_list(text: str, left: list[str] | None) -> None:
    data, _, _ = migrated(text)
    if left is None:
        assert "plugins" not in data
        assert judge_of(data["services"][0]["plugins"][0])
    else:
        assert [plugin["name"] for plugin in data["plugins"]] == left


def test_the_only_plugin_of_a_list_that_gets_the_filter() -> None:
    text = below("services:\n- name: s\n  url: http://a\n", ADVANCED, indent=2)
    text += below("- name: t\n  url: http://b\n", ADVANCED, indent=2) + below("", JUDGE)
    data, _, _ = migrated(text, usage=True)
    assert [plugin["name"] for plugin in data["plugins"]] == ["pre-function"]
    for service in data["services"]:
        assert judge_of(service["plugins"][0])["message_countback"] == 3, "one judge for two"


def test_the_nearest_judge_counts() -> None:
    near = JUDGE.replace("message_countback: 3", "message_countback: 7")
    text = "services:\n- name: s\n  url: http://a\n" + below("", near, indent=2)
    text += "  routes:\n  - name: r\n    paths: [/r]\n" + below("", ADVANCED, indent=4)
    data, report, _ = migrated(text + below("", JUDGE))
    (service,) = data["services"]
    assert judge_of(service["routes"][0]["plugins"][0])["message_countback"] == 7
    assert "plugins" not in service
    assert data["plugins"][0]["name"] == "ai-llm-as-judge", "it judges for nobody here"
    assert any("can be carried into" in note.message for note in report.of("lost"))


@pytest.mark.parametrize(
    "text",
    [
        below("", f"- name: ai-proxy\n  config: {TARGET}\n", JUDGE),
        "services:\n- name: s\n  url: http://a\n" + below("", ADVANCED, indent=2)
        + "  routes:\n  - name: r\n    paths: [/r]\n" + below("", JUDGE, indent=4),
        below("", ADVANCED) + "consumers:\n- username: u\n" + below("", JUDGE, indent=2),
        "consumers:\n- username: u\n" + below("", ADVANCED, indent=2) + below("", JUDGE),
        below("", ADVANCED, JUDGE.replace("- name:", "- consumer: u\n  name:")),
    ],
)  # fmt: skip
def test_a_judge_of_part_of_the_requests_is_not_carried(text: str) -> None:
    data, report, _ = migrated(text)
    assert "kong_ai_proxy" not in json.dumps(data)
    assert [note.message for note in report.of("lost") if "can be carried into" in note.message]


def test_one_that_is_switched_off_is_left_alone() -> None:
    data, report, _ = migrated(below("", ADVANCED, JUDGE + "  enabled: false\n"))
    assert len(data["plugins"]) == 2 and not report.of("lost")


@pytest.mark.parametrize(
    ("advanced", "judge", "carried"),
    [
        (f"{{targets: [{TARGET}]}}", f"{{llm: {TARGET}, message_countback: 2}}", True),
        (f"{{targets: [{TARGET}]}}", f"\n    llm: {TARGET}", False),
        (f"\n    targets: [{TARGET}]", f"{{llm: {TARGET}, message_countback: 2}}", True),
        (f"\n    targets: [{TARGET}]\n    kong_ai_proxy: {{}}", f"{{llm: {TARGET}}}", False),
    ],
)
def test_texts_in_one_line_and_in_several(advanced: str, judge: str, carried: bool) -> None:
    text = f"plugins:\n- name: ai-proxy-advanced\n  config: {advanced}\n"
    text += f"- name: ai-llm-as-judge\n  config: {judge}\n"
    data, report, _ = migrated(text)
    if carried:
        (plugin,) = data["plugins"]
        assert judge_of(plugin)["message_countback"] == 2
    else:
        assert len(data["plugins"]) == 2
        assert [note.message for note in report.of("todo") if "by hand" in note.message]


def test_a_whole_file_in_one_line() -> None:
    text = (
        f'{{"plugins": [{{"name": "ai-llm-as-judge", "config": {{"llm": {TARGET}}}}}, '
        f'{{"name": "ai-proxy-advanced", "config": {{"targets": [{TARGET}]}}}}]}}'
    )
    data, _, _ = migrated(text)
    assert judge_of(data["plugins"][0])["llm"]["model"]["name"] == "m"


@pytest.mark.parametrize("judge", ["- name: ai-llm-as-judge\n", "- {name: ai-llm-as-judge, config: 3}\n",
                                   "- name: ai-llm-as-judge\n  _config: shared\n  config: {}\n"])  # fmt: skip
def test_odd_judges_are_for_people(judge: str) -> None:
    _, report, _ = migrated(below("", ADVANCED, judge))
    assert [note.message for note in report.of("todo") if "by hand" in note.message]


def test_an_anchor_that_stands_elsewhere() -> None:
    judge = "- name: ai-llm-as-judge\n  config:\n    llm: *llm\n"
    advanced = ADVANCED.replace("[{", "[&llm {")
    _, report, _ = migrated(below("", advanced, judge))
    assert [note.message for note in report.of("todo") if "by hand" in note.message]


def test_items_of_lists_are_taken_out() -> None:
    for text, path, left in (
        ("a: [1, 2, 3]\n", ("a", 1), {"a": [1, 3]}),
        ("a: [1, 2, 3]\n", ("a", 2), {"a": [1, 2]}),
        ("a: [1]\nb: 2\n", ("a", 0), {"b": 2}),
        ("a:\n- x: 1\n  y: 2\n- x: 3\n", ("a", 0), {"a": [{"x": 3}]}),
        ("a:\n- x: 1\n-\n  x: 3\n", ("a", 1), {"a": [{"x": 1}]}),
        ("a: 1\n", ("a", 0), {"a": 1}),
    ):
        source = Source(text)
        source.remove_item(path)
        assert yaml.safe_load(source.result()) == left
