"""Templates in the model's name and options."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.config.models import Target
from kong_ai_proxy.config.parse import parse
from kong_ai_proxy.config.templates import clients_choose_host, resolve, templates_of, uses
from kong_ai_proxy.core.errors import ApiError


def target(name: str | None = None, **options: Any) -> Target:
    model = {"provider": "azure", "name": name, "options": options}
    return Target.model_validate({"route_type": "llm/v1/chat", "model": model})


def option(path: str, value: str, headers: dict[str, str]) -> str:
    """The option at a dotted path once resolved."""
    first, _, second = path.partition(".")
    options = resolve(target(**{first: {second: value} if second else value}), headers, {}, "")[1]
    found = getattr(options, first)
    return str(getattr(found, second) if second else found)


def test_a_target_without_templates_is_handed_out_as_it_is() -> None:
    plain = target("gpt-4o", azure_instance="i")
    name, options = resolve(plain, {}, {}, "")
    assert name == "gpt-4o"
    assert options is plain.model.options
    assert resolve(target(), {}, {}, "")[0] == ""


def test_every_source_several_times_with_text_around() -> None:
    name, options = resolve(
        target(
            "$(headers.X-Vendor)/$(uri_captures.model)-$(query_params.version)",
            azure_deployment_id="eu-$(uri_captures.model)",
            upstream_path="/v1/$(headers.x-vendor)/chat",
        ),
        {"x-vendor": "acme"},
        {"model": "large"},
        "version=2&other=1&version=3",
    )
    assert name == "acme/large-2"
    assert options.azure_deployment_id == "eu-large"
    assert options.upstream_path == "/v1/acme/chat"
    assert options.azure_api_version == "2023-05-15"


def test_templates_in_nested_records_leave_the_configured_ones_alone() -> None:
    gemini = {"api_endpoint": "$(headers.x-host)", "location_id": "$(headers.x-place)", "project_id": "p"}
    configured = target(gemini=gemini)
    headers = {"x-host": "eu.example.com", "x-place": "eu"}
    _, options = resolve(configured, headers, {}, "")
    assert options.gemini is not None
    assert (options.gemini.api_endpoint, options.gemini.location_id) == ("eu.example.com", "eu")
    assert options.gemini.project_id == "p"
    assert configured.model.options.gemini is not None
    assert configured.model.options.gemini.api_endpoint == "$(headers.x-host)"


def test_header_names_are_exact_but_for_case() -> None:
    with pytest.raises(ApiError) as missing:
        resolve(target("$(headers.X_Model)"), {"x-model": "m"}, {}, "")
    assert missing.value.status == 400
    assert "$(headers.X_Model)" in missing.value.message
    assert resolve(target("$(headers.X_Model)"), {"x_model": "m"}, {}, "")[0] == "m"


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("$(headers.x)", "$(headers.x)"),
        ("$(uri_captures.x)", "$(uri_captures.x)"),
        ("a-$(query_params.x)", "$(query_params.x)"),
    ],
)
def test_a_missing_value_names_the_template(text: str, template: str) -> None:
    for query in ("", "x=", "y=1"):
        with pytest.raises(ApiError) as missing:
            resolve(target(text), {"x": ""}, {}, query)
        assert missing.value.status == 400
        assert template in missing.value.message
        assert "model.name" in missing.value.message


def test_query_parameters_are_decoded() -> None:
    assert resolve(target("$(query_params.m)"), {}, {}, "m=a%2Fb+c")[0] == "a/b c"


@pytest.mark.parametrize("text", ["$(header.x)", "$headers.x", "$(headers.)", "${headers.x}", "$(headers)"])
def test_what_only_looks_like_a_template_stays(text: str) -> None:
    assert resolve(target(text), {"x": "1"}, {}, "")[0] == text


@pytest.mark.parametrize(
    "value", ["evil.com/", "evil.com#", "a b", "user@evil.com", "x\r\ny", "a..b", "-", "."]
)
@pytest.mark.parametrize(
    "path",
    ["azure_instance", "bedrock.aws_region", "databricks.workspace_instance_id", "gemini.api_endpoint"],
)
def test_a_host_cannot_be_broken_out_of(path: str, value: str) -> None:
    with pytest.raises(ApiError) as refused:
        option(path, "$(headers.x)", {"x": value})
    assert refused.value.status == 400
    assert len(value) < 3 or value not in refused.value.message


@pytest.mark.parametrize("value", ["../admin", "a/../b", "..", "a\\..\\b", "x\ny"])
@pytest.mark.parametrize("text", ["https://h/v1/$(headers.x)/chat", "https://h/$(headers.x)"])
def test_a_path_cannot_be_left(text: str, value: str) -> None:
    with pytest.raises(ApiError):
        option("upstream_url", text, {"x": value})
    with pytest.raises(ApiError):
        option("upstream_path", text.removeprefix("https://h"), {"x": value})


def test_a_url_takes_values_where_they_belong() -> None:
    def url(text: str, value: str) -> str:
        return option("upstream_url", text, {"x": value})

    assert url("https://$(headers.x)/v1", "a.example.com") == "https://a.example.com/v1"
    assert url("https://h/$(headers.x)/chat", "org/model?x#y") == "https://h/org/model%3Fx%23y/chat"
    assert url("https://h/v1?v=$(headers.x)", "a&b=c") == "https://h/v1?v=a%26b%3Dc"
    assert url("$(headers.x)", "https://a.example.com/v1") == "https://a.example.com/v1"
    for value in ("file:///etc/passwd", "//host", "https://h/ x", "host"):
        with pytest.raises(ApiError):
            url("$(headers.x)", value)
    with pytest.raises(ApiError):
        url("https://$(headers.x)/v1", "a.example.com:99999")


@pytest.mark.parametrize("value", ["a/b", "..", "a?b", "a#b", "a\\b"])
def test_a_deployment_is_one_segment(value: str) -> None:
    with pytest.raises(ApiError):
        option("azure_deployment_id", "$(headers.x)", {"x": value})


@pytest.mark.parametrize(
    ("field", "text", "choose"),
    [
        ("upstream_url", "$(headers.x)", True),
        ("upstream_url", "https://$(headers.x)", True),
        ("upstream_url", "https://$(headers.x):8443/v1", True),
        ("upstream_url", "https://api.example.com$(headers.x)/v1", True),
        ("upstream_url", "https://$(headers.x).internal:80/v1", True),
        ("upstream_url", "https://$(headers.x)./v1", True),
        ("upstream_url", "https://$(headers.x).example.com/$(headers.y)", False),
        ("upstream_url", "https://api.example.com/$(uri_captures.x)?v=$(headers.x)", False),
        ("upstream_url", "https://api.example.com", False),
        ("gemini.api_endpoint", "$(headers.x)", True),
        ("gemini.api_endpoint", "$(headers.x)-aiplatform.googleapis.com", False),
        ("bedrock.aws_sts_endpoint_url", "https://$(query_params.x)/", True),
        ("upstream_path", "/$(headers.x)", False),
    ],
)
def test_who_chooses_the_host(field: str, text: str, choose: bool) -> None:
    assert clients_choose_host(f"model.options.{field}", text) is choose


def test_bytes_that_are_no_text_are_refused() -> None:
    for field in ("$(uri_captures.x)", "v-$(uri_captures.x)"):
        with pytest.raises(ApiError) as refused:
            resolve(target(field), {}, {"x": "a\udcff"}, "")
        assert refused.value.status == 400


def test_a_model_name_may_hold_a_slash_but_no_control_character() -> None:
    assert resolve(target("$(headers.x)"), {"x": "org/model:1"}, {}, "")[0] == "org/model:1"
    with pytest.raises(ApiError):
        resolve(target("$(headers.x)"), {"x": "a\x00b"}, {}, "")


def test_the_plugin_can_ask_what_templates_need() -> None:
    config = parse(
        "kong-ai-proxy-advanced",
        {
            "targets": [
                {"route_type": "llm/v1/chat", "model": {"provider": "openai", "name": "$(uri_captures.m)"}},
                {
                    "route_type": "llm/v1/chat",
                    "model": {"provider": "openai", "options": {"anthropic_version": "$(headers.v)"}},
                },
            ]
        },
    )
    assert uses(config) == {"uri_captures", "headers"}
    plain = {"route_type": "llm/v1/chat", "model": {"provider": "openai"}}
    assert uses(parse("kong-ai-proxy", plain)) == set()
    assert uses(
        parse("kong-ai-proxy", {**plain, "model": {"provider": "openai", "name": "$(query_params.m)"}})
    ) == {"query_params"}


def test_templates_are_compiled_once() -> None:
    one = target("$(headers.x)")
    assert templates_of(one) is templates_of(one)
    assert one == target("$(headers.x)")
