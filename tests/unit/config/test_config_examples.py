"""Every documented example loads, but those that Kong itself would refuse."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from config_examples import Example, examples

from kong_ai_proxy.config.errors import ConfigError
from kong_ai_proxy.config.json_schema import json_schema
from kong_ai_proxy.config.parse import PLUGINS, parse

_FAULTS = {
    "kong-ai-proxy/sdk-azure-deployment": "model.model",
    "kong-ai-proxy/video-generation-openai": "model.options.seconds",
    "kong-ai-proxy-advanced/sdk-multiple-azure-deployments": "targets[1].model.options.zure_instance",
    "kong-ai-proxy-advanced/sdk-two-routes": "targets[1].targets",
    "kong-ai-proxy-advanced/video-generation-openai": "targets[1].model.options.size",
    "kong-ai-proxy-advanced/xai-image-generation": "targets[1].genai_category",
}
"""What is wrong with each example that is marked invalid."""

_VALIDATORS = {plugin: jsonschema.Draft202012Validator(json_schema(plugin)) for plugin in PLUGINS}

pytestmark = pytest.mark.skipif(not examples(), reason="no documented examples here")


def _params(invalid: bool) -> list[Any]:
    return [pytest.param(found, id=found.id) for found in examples() if found.invalid is invalid]


def test_there_are_as_many_as_documented() -> None:
    documented = [found for found in examples() if not found.slug.startswith("page-")]
    assert len(documented) == 108
    assert {found.id for found in documented if found.invalid} == set(_FAULTS)
    assert len(examples()) == 108 + 17


@pytest.mark.parametrize("example", _params(invalid=False))
def test_loads(example: Example) -> None:
    for config in example.configs:
        parsed = parse(example.plugin, config)
        assert parsed.targets[0].model.provider
        _VALIDATORS[example.plugin].validate(config)


@pytest.mark.parametrize("example", _params(invalid=True))
def test_invalid_one_is_refused_by_name(example: Example) -> None:
    with pytest.raises(ConfigError) as refused:
        for config in example.configs:
            parse(example.plugin, config)
    assert _FAULTS[example.id] in [path for path, _ in refused.value.problems]
    assert _FAULTS[example.id] in str(refused.value)
    assert not all(_VALIDATORS[example.plugin].is_valid(config) for config in example.configs)
