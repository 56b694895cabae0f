"""Every example that Kong documents moves over, or what is lost of it is told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from config_examples import Example, examples

from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import read
from kong_ai_proxy.migrate.kong import migrate
from kong_ai_proxy.migrate.report import Report

Json = dict[str, Any]

_LOST = {
    "kong-ai-proxy/sdk-azure-deployment": {"model.model"},
    "kong-ai-proxy/video-generation-openai": {"model.options.seconds", "model.options.size"},
    "kong-ai-proxy-advanced/sdk-multiple-azure-deployments": {"targets[1].model.options.zure_instance"},
    "kong-ai-proxy-advanced/sdk-two-routes": {"targets[1].targets"},
    "kong-ai-proxy-advanced/video-generation-openai": {
        "targets[1].model.options.seconds", "targets[1].model.options.size"
    },
    "kong-ai-proxy-advanced/xai-image-generation": {"targets[1].genai_category"},
}  # fmt: skip
"""Of those that Kong itself would refuse."""

pytestmark = pytest.mark.skipif(not examples(), reason="no documented examples here")


def declared(shown: list[Example]) -> str:
    """A service with a route for each plugin of the examples."""
    routes = [
        {
            "name": f"{example.slug}-{number}",
            "paths": [f"/{example.id}/{number}"],
            "plugins": [{"name": example.plugin.removeprefix("kong-"), "config": config}],
        }
        for example in shown
        for number, config in enumerate(example.configs)
    ]
    service: Json = {"name": "ai", "url": "http://localhost:32000", "routes": routes}
    return yaml.safe_dump({"_format_version": "3.0", "services": [service]}, sort_keys=False)


def same_but_secrets(given: Any, made: Any) -> bool:
    if isinstance(given, dict) and isinstance(made, dict):
        return given.keys() == made.keys() and all(same_but_secrets(given[key], made[key]) for key in given)
    if isinstance(given, list) and isinstance(made, list):
        return len(given) == len(made) and all(map(same_but_secrets, given, made))
    return given == made or (isinstance(made, str) and made.startswith("{vault://env/"))


def test_all_examples_move_over_whole() -> None:
    shown = [example for example in examples() if not example.invalid]
    report = Report()
    text = migrate(declared(shown), relay="127.0.0.1:8125", report=report)
    assert [note.text("f") for note in report.of("lost")] == []
    assert [found.text() for found in check(read(text))] == []
    (service,) = yaml.safe_load(text)["services"]
    plugins = [route["plugins"] for route in service["routes"]]
    given = [(example.plugin, config) for example in shown for config in example.configs]
    assert len(plugins) == len(given)
    for (name, config), (made,) in zip(given, plugins, strict=True):
        assert made["name"] == name
        assert same_but_secrets(config, made["config"]), config


@pytest.mark.parametrize("example", [pytest.param(each, id=each.id) for each in examples() if each.invalid])
def test_what_kong_would_refuse_is_told(example: Example) -> None:
    report = Report()
    text = migrate(declared([example]), relay="127.0.0.1:8125", report=report)
    assert {note.path for note in report.of("lost")} == _LOST[example.id]
    wrong = [found.path for found in check(read(text)) if found.severity == "error"]
    # The name that was misspelt is missing now, and told.
    assert wrong == (["targets[1].model.options.azure_instance"] if "multiple-azure" in example.slug else [])
