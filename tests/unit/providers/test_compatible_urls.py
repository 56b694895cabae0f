"""Where each OpenAI-compatible provider is called (shared facts: Kong's provider pages; recorded URLs)."""

from __future__ import annotations

from typing import Any

import pytest
from openai_support import OWN, make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.providers import provider


def url(
    name: str, operation: str = "chat", *, model: str = "test-model", query: str = "", **options: Any
) -> str:
    call = make_call(name, operation, model, options=options, request=ClientRequest("POST", "/", query, {}))
    found = provider(name).url(call)
    return f"{found.scheme}://{found.authority}{found.target}"


@pytest.mark.parametrize(
    ("name", "operation", "options", "expected"),
    [
        ("openai", "chat", {}, "https://api.openai.com/v1/chat/completions"),
        ("openai", "completions", {}, "https://api.openai.com/v1/completions"),
        ("openai", "embeddings", {}, "https://api.openai.com/v1/embeddings"),
        ("cerebras", "chat", {}, "https://api.cerebras.ai/v1/chat/completions"),
        ("dashscope", "chat", {}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions"),
        (
            "dashscope",
            "embeddings",
            {"dashscope": {"international": False}},
            "https://dashscope.aliyuncs.com/compatible-mode/v1/embeddings",
        ),
        (
            "databricks",
            "chat",
            {"databricks": {"workspace_instance_id": "dbc-1a2b-3c4d"}},
            "https://dbc-1a2b-3c4d.cloud.databricks.com/serving-endpoints/v1/chat/completions",
        ),
        (
            "databricks",
            "chat",
            {"databricks": {"workspace_instance_id": "adb-12.3.azuredatabricks.net"}},
            "https://adb-12.3.azuredatabricks.net/serving-endpoints/v1/chat/completions",
        ),
        ("deepseek", "chat", {}, "https://api.deepseek.com/v1/chat/completions"),
        ("mistral", "chat", {}, "https://api.mistral.ai/v1/chat/completions"),
        ("mistral", "embeddings", {}, "https://api.mistral.ai/v1/embeddings"),
        ("xai", "chat", {}, "https://api.x.ai/v1/chat/completions"),
        ("huggingface", "chat", {}, "https://router.huggingface.co/v1/chat/completions"),
    ],
)
def test_the_address(name: str, operation: str, options: dict[str, Any], expected: str) -> None:
    assert url(name, operation, **options) == expected


@pytest.mark.parametrize(
    "name", ["openai", "azure", "cerebras", "dashscope", "databricks", "deepseek", "mistral", "xai"]
)
def test_an_upstream_url_is_the_whole_url(name: str) -> None:
    """Kong's examples: `provider: openai`, `upstream_url: https://api.deepseek.com/chat/completions`."""
    given = "http://localhost:8080/some/where?a=b"
    expected = given + "&api-version=2023-05-15" if name == "azure" else given
    assert url(name, upstream_url=given) == expected
    assert url(name, upstream_url=given, upstream_path="/ignored") == expected


@pytest.mark.parametrize("name", ["openai", "cerebras", "deepseek", "mistral", "xai", "huggingface"])
@pytest.mark.parametrize(("path", "expected"), [("/v2/chat", "/v2/chat"), ("v2/chat?x=1", "/v2/chat?x=1")])
def test_an_upstream_path_replaces_the_path(name: str, path: str, expected: str) -> None:
    assert url(name, upstream_path=path).endswith(expected)


@pytest.mark.parametrize("name", ["vllm", "huggingface"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://gpu.local:8000", "http://gpu.local:8000/v1/chat/completions"),
        ("http://gpu.local:8000/", "http://gpu.local:8000/v1/chat/completions"),
        ("http://gpu.local:8000/v1", "http://gpu.local:8000/v1/chat/completions"),
        ("http://gpu.local:8000/v1/chat/completions", "http://gpu.local:8000/v1/chat/completions"),
        ("https://gpu.local/llama/v1/chat/completions", "https://gpu.local/llama/v1/chat/completions"),
        ("https://gpu.local?key=a", "https://gpu.local/v1/chat/completions?key=a"),
    ],
)
def test_a_servers_address_gets_the_path(name: str, given: str, expected: str) -> None:
    assert url(name, upstream_url=given) == expected


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("vllm", "upstream_url"),
        ("databricks", "databricks.workspace_instance_id"),
        ("azure", "azure_instance"),
    ],
)
def test_what_must_be_configured_is_named(name: str, field: str) -> None:
    with pytest.raises(ApiError, match=field.replace(".", r"\.")) as caught:
        url(name)
    assert caught.value.status == 500


@pytest.mark.parametrize("given", ["not a url", "ftp://x/y", "//host/path", "/v1/chat", "http://"])
def test_an_upstream_url_that_is_none(given: str) -> None:
    with pytest.raises(ApiError) as caught:
        url("openai", upstream_url=given)
    assert caught.value.status == 500
    assert given not in caught.value.message


class TestAzure:
    DEPLOYED = "https://inst.openai.azure.com/openai/deployments/dep/"

    @pytest.mark.parametrize(
        ("operation", "path"),
        [("chat", "chat/completions"), ("completions", "completions"), ("embeddings", "embeddings")],
    )
    def test_a_deployment(self, operation: str, path: str) -> None:
        found = url("azure", operation, azure_instance="inst", azure_deployment_id="dep")
        assert found == f"{self.DEPLOYED}{path}?api-version=2023-05-15"

    def test_the_configured_version(self) -> None:
        options = {"azure_instance": "inst", "azure_deployment_id": "dep", "azure_api_version": "2024-10-01"}
        assert url("azure", **options).endswith("?api-version=2024-10-01")

    def test_the_clients_version_wins(self) -> None:
        found = url(
            "azure", azure_instance="inst", azure_deployment_id="dep", query="api-version=2025-01-01&x=1"
        )
        assert found == f"{self.DEPLOYED}chat/completions?api-version=2025-01-01"

    def test_the_model_is_the_deployment_where_none_is_configured(self) -> None:
        """Kong 3.15: the configured model name was never used for Azure."""
        assert "/deployments/gpt-4o/" in url("azure", model="gpt-4o", azure_instance="inst")

    def test_neither(self) -> None:
        with pytest.raises(ApiError, match="azure_deployment_id"):
            url("azure", model="", azure_instance="inst")

    def test_an_upstream_path_follows_the_deployment(self) -> None:
        """Kong 3.9.0.1: `upstream_path` overrides always gave a 404."""
        options = {"azure_instance": "inst", "azure_deployment_id": "dep"}
        assert url("azure", upstream_path="/chat/x", **options).startswith(f"{self.DEPLOYED}chat/x?")
        whole = url("azure", upstream_path="/openai/v1/chat/completions", azure_instance="inst")
        assert whole == "https://inst.openai.azure.com/openai/v1/chat/completions"

    def test_the_v1_api_has_no_dated_version(self) -> None:
        v1 = "https://inst.openai.azure.com/openai/v1/chat/completions"
        assert url("azure", upstream_url=v1) == v1
        assert url("azure", upstream_url=v1, azure_api_version="preview") == v1 + "?api-version=preview"

    CLAUDE = "https://x.services.ai.azure.com/anthropic/v1/messages"

    def test_claude_at_foundry_speaks_its_own_form(self) -> None:
        """Kong's cookbook: provider azure, `upstream_url` as here; recorded in azure/native-messages."""
        assert url("azure", upstream_url=self.CLAUDE) == self.CLAUDE
        azure = provider("azure")
        call = make_call("azure", options={"upstream_url": self.CLAUDE}, client_format="anthropic")
        assert azure.adapter(call).format == "anthropic"
        assert type(azure.observer(call)).__name__ == "MessagesObserver"
        assert azure.headers(call) == {"anthropic-version": "2023-06-01"}
        other = make_call("azure", options={"azure_instance": "inst"})
        assert azure.adapter(other).format == "openai"
        assert azure.headers(other) == {}

    def test_a_version_in_the_url_stays(self) -> None:
        given = "https://x.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview"
        assert url("azure", upstream_url=given, query="api-version=1") == given

    @pytest.mark.parametrize(
        "evil", ["evil.com/", "a.b", "x@y", "a b", "a:1", "a?b", "a#b", "..", "-a", "a/../b"]
    )
    def test_an_instance_from_a_request_cannot_lead_elsewhere(self, evil: str) -> None:
        with pytest.raises(ApiError):
            url("azure", azure_instance=evil, azure_deployment_id="dep")

    @pytest.mark.parametrize(
        ("evil", "path"),
        [
            ("a/b", "a%2Fb"),
            ("a?b#c", "a%3Fb%23c"),
            ("a b%2f", "a%20b%252f"),
            ("żółw", "%C5%BC%C3%B3%C5%82w"),
        ],
    )
    def test_a_deployment_from_a_request_stays_one_segment(self, evil: str, path: str) -> None:
        """Kong 3.14.0.7: unsafe model names could construct upstream paths."""
        assert f"/deployments/{path}/chat" in url("azure", azure_instance="inst", azure_deployment_id=evil)

    @pytest.mark.parametrize("evil", [".", "..", "../../admin", "a/../b", "a\\..\\b"])
    def test_a_deployment_cannot_climb(self, evil: str) -> None:
        with pytest.raises(ApiError) as caught:
            url("azure", azure_instance="inst", azure_deployment_id=evil)
        assert caught.value.status == 400


@pytest.mark.parametrize("evil", ["evil.com/", "a@b", "a:1", "..", "a..b", ".a", "a b", "a?b", "a#b"])
def test_a_workspace_from_a_request_cannot_lead_elsewhere(evil: str) -> None:
    with pytest.raises(ApiError):
        url("databricks", databricks={"workspace_instance_id": evil})


@pytest.mark.parametrize("name", ["cerebras", "databricks", "deepseek", "xai"])
def test_what_a_provider_lacks_is_refused(name: str) -> None:
    with pytest.raises(ApiError, match="embeddings") as caught:
        provider(name).supports(make_call(name, "embeddings"))
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["openai", "azure", "vllm"])
@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
def test_what_a_provider_has_it_has_an_adapter_for(name: str, operation: str) -> None:
    call = make_call(name, operation)
    provider(name).supports(call)
    assert provider(name).adapter(call).format == "openai"


def test_bytes_pass_through_only_where_the_form_is_openais_own() -> None:
    through = [name for name in OWN if provider(name).observer(make_call(name)) is not None]
    assert through == ["azure", "openai"]


def test_hugging_faces_options_are_headers() -> None:
    """Kong 3.13: "extra inputs were not permitted" with the options in the body."""
    call = make_call("huggingface", options={"huggingface": {"use_cache": False, "wait_for_model": True}})
    assert provider("huggingface").headers(call) == {"x-use-cache": "false", "x-wait-for-model": "true"}
    assert provider("huggingface").headers(make_call("huggingface")) == {}


class TestMistralOnOllama:
    """`mistral_format: ollama`: a server of one's own, in Ollama's form and at its paths."""

    @pytest.mark.parametrize(
        ("operation", "given", "expected"),
        [
            ("chat", "http://ollama.local:11434", "http://ollama.local:11434/api/chat"),
            ("embeddings", "http://ollama.local:11434/", "http://ollama.local:11434/api/embed"),
            ("chat", "http://ollama.local:11434/api/chat", "http://ollama.local:11434/api/chat"),
        ],
    )
    def test_the_address(self, operation: str, given: str, expected: str) -> None:
        assert url("mistral", operation, mistral_format="ollama", upstream_url=given) == expected

    def test_the_form(self) -> None:
        options = {"mistral_format": "ollama", "upstream_url": "http://ollama.local"}
        call = make_call("mistral", options=options)
        assert provider("mistral").adapter(call).format == "ollama"

    def test_without_an_address(self) -> None:
        with pytest.raises(ApiError, match="upstream_url"):
            url("mistral", mistral_format="ollama")
