"""Errors of the steps that a REST API takes at a provider: who reads them is declared, not tried."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest

from kong_ai_proxy import providers
from kong_ai_proxy.config.models import Auth, BedrockOptions, GeminiOptions, Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import dumps
from kong_ai_proxy.providers import provider
from kong_ai_proxy.providers.base import Provider

VERTEX = Options(gemini=GeminiOptions(api_endpoint="e", project_id="p", location_id="l"))
GOOGLES = {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}


def with_steps() -> list[str]:
    found = []
    for module in iter_modules(providers.__path__):
        made = getattr(import_module(f"{providers.__name__}.{module.name}"), "PROVIDER", None)
        if isinstance(made, Provider) and type(made).steps is not Provider.steps:
            found.append(made.name)
    return found


def call_to(name: str, model: str = "m", options: Options | None = None) -> Call:
    target = Target(
        model=Model(provider=name, name=model, options=options or Options()),  # type: ignore[arg-type]
        route_type="llm/v1/files", auth=Auth(),
    )  # fmt: skip
    return Call(target, target.model.options, model, "files", ClientRequest("GET", "/", "", {}))


@pytest.mark.parametrize("name", with_steps())
def test_every_provider_with_steps_says_who_reads_their_errors(name: str) -> None:
    for operation in ("image.generations", "image.edits", "video.generations", "files", "batches"):
        call = call_to(name)
        call.operation = operation
        assert provider(name).step_errors(call) is not None


@pytest.mark.parametrize(
    ("name", "model", "options", "body", "type"),
    [
        ("anthropic", "m", None, {"type": "error", "error": {"type": "rate_limit_error", "message": "Quota"}},
         "rate_limit_error"),
        ("azure", "sora", None, {"error": {"message": "Quota", "code": "429"}}, "rate_limit_error"),
        ("bedrock", "m", Options(bedrock=BedrockOptions(aws_region="r")), {"message": "Quota"},
         "rate_limit_error"),
        ("dashscope", "m", None, {"code": "Throttling", "message": "Quota", "request_id": "r"},
         "rate_limit_error"),
        ("gemini", "m", None, GOOGLES, "rate_limit_error"),
        ("gemini", "m", VERTEX, [GOOGLES], "rate_limit_error"),
        # Jobs of Claude on Vertex are Google's all the same.
        ("gemini", "claude-sonnet-4", VERTEX, [GOOGLES], "rate_limit_error"),
        ("huggingface", "m", None, {"error": "Quota"}, "rate_limit_error"),
    ],
)  # fmt: skip
def test_each_reads_its_providers_words(
    name: str, model: str, options: Options | None, body: Any, type: str
) -> None:
    call = call_to(name, model, options)
    reader = provider(name).step_errors(call)
    assert reader is not None
    error = reader.error(429, {}, dumps(body), call)
    assert (error.status, error.message, error.type) == (429, "Quota", type)
