"""No header or query parameter crosses the gateway unless it is meant to; planted credentials stay behind."""

from __future__ import annotations

from typing import Any

import pytest
from exchange_support import (
    advanced,
    answered,
    client_request,
    first_attempt,
    openai_answer,
    proxy,
    sent,
    target_config,
)

from kong_ai_proxy.auth import authenticate
from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest

PLANTED = {
    "cookie": "session=planted-cookie",
    "authorization": "Bearer planted-client-key",
    "proxy-authorization": "Basic planted-proxy",
    "x-api-key": "planted-x-api-key",
    "api-key": "planted-api-key",
    "x-goog-api-key": "planted-google-key",
    "apikey": "planted-kong-key",
    "x-kong-ai-ticket": "planted-ticket",
    "x-kong-request-id": "planted-kong-id",
    "x-consumer-id": "planted-consumer",
    "x-consumer-username": "planted-name",
    "x-credential-identifier": "planted-credential",
    "x-forwarded-for": "203.0.113.7",
    "x-forwarded-host": "planted.example",
    "x-real-ip": "203.0.113.7",
    "x-amz-security-token": "planted-aws-token",
    "x-amz-date": "20200101T000000Z",
    "forwarded": "for=203.0.113.7",
    "via": "1.1 kong",
    "x-internal-user": "planted-user",
    "referer": "https://planted.example/",
    "origin": "https://planted.example",
    "connection": "keep-alive, x-planted",
    "te": "trailers",
    "accept-encoding": "br, gzip",
    "user-agent": "planted-agent",
    "content-length": "12345",
    "host": "gateway.internal",
}
PROVIDERS: list[tuple[str, dict[str, Any]]] = [
    ("openai", {}),
    ("anthropic", {}),
    ("azure", {"azure_instance": "unit", "azure_deployment_id": "d"}),
    ("mistral", {"mistral_format": "openai", "upstream_url": "https://mistral.example/v1/chat/completions"}),
    ("xai", {}),
    ("cerebras", {}),
    ("deepseek", {}),
    ("gemini", {}),
]


def shown(upstream: UpstreamRequest) -> str:
    return f"{upstream.headers} {upstream.url.target}"


@pytest.mark.parametrize(("provider", "options"), PROVIDERS)
def test_planted_headers_stay_behind(provider: str, options: dict[str, Any]) -> None:
    instance = proxy(provider, "model-1", options=options)
    query = "key=planted-1&api-key=planted-2&api_key=planted-3&access_token=planted-4&beta=true"
    _, attempt = first_attempt(instance, client_request(headers=PLANTED, query=query))
    upstream = attempt.translation.request()
    authenticate(upstream, attempt.call)
    text = shown(upstream)
    assert "planted" not in text
    assert "203.0.113.7" not in text
    assert upstream.headers["accept-encoding"] == "identity"
    assert upstream.headers["user-agent"] == "kong-ai-proxy"
    assert upstream.headers["authorization"] == "Bearer sk-configured-0123456789"
    assert "beta=true" in upstream.url.query


def test_every_header_towards_a_provider_is_known() -> None:
    known = {"content-type", "accept", "accept-encoding", "user-agent"}
    assert set(sent(proxy(), client_request(headers=PLANTED)).headers) == known


def test_headers_meant_for_a_provider_reach_that_one_only() -> None:
    meant = {"anthropic-beta": "tools-2024", "openai-organization": "org-1", "openai-beta": "assistants=v2"}
    openai = sent(proxy(), client_request(headers=meant)).headers
    assert (openai["openai-organization"], openai["openai-beta"]) == ("org-1", "assistants=v2")
    assert "anthropic-beta" not in openai
    anthropic = sent(proxy("anthropic", "claude-sonnet-4-5"), client_request(headers=meant)).headers
    assert anthropic["anthropic-beta"] == "tools-2024"
    assert not any(name.startswith("openai-") for name in anthropic)


def test_failover_rebuilds_headers() -> None:
    """A key meant for one provider is not shown to the next (a leak other gateways had)."""
    instance = advanced(
        target_config("anthropic", None, auth={}),
        target_config("openai", None),
        balancer={"algorithm": "priority"},
    )
    request = client_request(
        {"messages": [{"role": "user", "content": "hi"}], "model": "m"},
        headers={"authorization": "Bearer planted", "x-api-key": "planted"},
    )
    seen = {}
    exchange, attempt = first_attempt(instance, request)
    for _ in range(2):
        upstream = attempt.translation.request()
        authenticate(upstream, attempt.call)
        seen[attempt.call.provider] = upstream.headers
        if not attempt.failed("error"):
            break
        following = exchange.next_attempt()
        assert following is not None
        attempt = following
    assert seen["anthropic"]["x-api-key"] == "planted"
    assert "planted" not in str(seen["openai"])


def test_accept_says_what_is_asked_for() -> None:
    plain = {"messages": [{"role": "user", "content": "hi"}]}
    assert sent(proxy(), client_request(plain)).headers["accept"] == "application/json"
    assert sent(proxy(), client_request({**plain, "stream": True})).headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("beta=true", "beta=true"),
        ("a=1&a=2&flag", "a=1&a=2&flag"),
        ("KEY=x&Api-Key=y&a=b", "a=b"),
        ("k%65y=x&a=b", "a=b"),
        ("a=%20b%2Fc", "a=%20b%2Fc"),
        ("a=b c\r\nHost: x", "a=b%20c%0D%0AHost%3A%20x"),
        ("&&", ""),
        ("a=\xe9", "a=%E9"),
        ("a=\u20ac", "a=%E2%82%AC"),
        ("a=\udce9", "a=?"),
    ],
)
def test_clients_query_goes_along(query: str, expected: str) -> None:
    assert sent(proxy(), client_request(query=query)).url.query.replace(":", "%3A") == expected


@pytest.mark.parametrize(
    "query",
    [
        "fields=candidates", "%66ields=candidates", "Fields=candidates", "$fields=candidates",
        "%24fields=candidates", "$alt=proto", "callback=evil", "quotaUser=other", "userIp=192.0.2.1",
        "$.xgafv=1", "$httpHeaders=X-Goog-Api-Key:other", "oauth_token=other",
    ],
)  # fmt: skip
def test_what_google_would_take_for_more_than_a_parameter(query: str) -> None:
    """An answer without its usage, in another form, or at somebody else's expense."""
    chat = sent(proxy("gemini", "gemini-2.5-flash"), client_request(query=f"{query}&x=1"))
    assert chat.url.query == "x=1"
    own = ClientRequest(
        "POST", "/v1beta/models/m:generateContent", f"{query}&x=1", {"content-type": "application/json"},
        b'{"contents":[{"parts":[{"text":"hi"}]}]}',
    )  # fmt: skip
    assert sent(proxy("gemini", "m", llm_format="gemini"), own).url.query == "x=1"


def test_a_part_of_a_list_of_googles_files_will_do() -> None:
    files = ClientRequest("GET", "/v1beta/files", "fields=files(name)&pageSize=2", {})
    upstream = sent(proxy("gemini", "m", llm_format="gemini"), files)
    assert upstream.url.query == "fields=files(name)&pageSize=2"


def test_providers_own_query_wins() -> None:
    options = {"azure_instance": "unit", "azure_deployment_id": "d", "azure_api_version": "2024-10-21"}
    instance = proxy("azure", None, options=options)
    assert sent(instance, client_request(query="x=1")).url.query == "api-version=2024-10-21&x=1"
    twice = sent(instance, client_request(query="api-version=2025-01-01&x=1")).url.query
    assert twice == "api-version=2025-01-01&x=1", "the provider decides; nothing stands there twice"


def test_the_configured_parameters_name_is_not_the_clients_to_set() -> None:
    auth = {"param_name": "license", "param_value": "configured-license", "param_location": "query"}
    _, attempt = first_attempt(proxy(auth=auth), client_request(query="License=planted&license=planted"))
    upstream = attempt.translation.request()
    assert upstream.url.query == ""
    authenticate(upstream, attempt.call)
    assert upstream.url.query == "license=configured-license"


# Towards the client.


def test_answer_headers_by_allow_list() -> None:
    headers = {
        "x-request-id": "req-1",
        "request-id": "req-2",
        "x-ratelimit-remaining-requests": "9",
        "anthropic-ratelimit-tokens-remaining": "8",
        "retry-after": "3",
        "set-cookie": "__cf_bm=planted",
        "server": "planted",
        "openai-organization": "planted-org",
        "transfer-encoding": "chunked",
        "content-encoding": "gzip",
        "content-length": "99999",
        "connection": "close",
        "strict-transport-security": "max-age=1",
        "x-kong-ai-usage": "planted",
        "x-kong-ai-ticket": "planted",
        "alt-svc": "h3",
    }
    got = answered(proxy(), openai_answer(), headers=headers).response.headers
    assert got == {
        "content-type": "application/json",
        "x-request-id": "req-1",
        "request-id": "req-2",
        "x-ratelimit-remaining-requests": "9",
        "anthropic-ratelimit-tokens-remaining": "8",
        "retry-after": "3",
        "x-kong-llm-model": "openai/gpt-4o",
    }


def test_model_header_can_be_switched_off() -> None:
    assert (
        "x-kong-llm-model" not in answered(proxy(model_name_header=False), openai_answer()).response.headers
    )


def test_model_header_is_no_way_to_inject_headers() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "model": "a\r\nx-evil: 1\u00e9"}
    got = answered(proxy(name=None), openai_answer(), client_request(body)).response.headers
    assert got["x-kong-llm-model"] == "openai/a??x-evil: 1?"


def test_dropped_fields_are_told_where_statistics_are_on() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "logit_bias": {"1": 2}}
    answer = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    got = answered(proxy("anthropic", "claude-sonnet-4-5"), answer, client_request(body)).response.headers
    assert got["x-kong-ai-dropped"] == "logit_bias"
    silent = proxy("anthropic", "claude-sonnet-4-5", logging={"log_statistics": False})
    assert "x-kong-ai-dropped" not in answered(silent, answer, client_request(body)).response.headers


MESSAGES = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


class TestOfNativeClients:
    """docs/native-formats.md, "Headers"."""

    def sent(self, path: str = "/v1/messages", **changes: Any) -> dict[str, str]:
        headers = {
            "user-agent": "claude-cli/9 (external)",
            "x-app": "cli",
            "x-stainless-lang": "js",
            "anthropic-version": "2026-10-21",
            "anthropic-beta": "oauth-2025-04-20",
            "anthropic-user-profile-id": "profile",
            "anthropic-workspace-id": "workspace",
        }
        provider = changes.pop("provider", "anthropic")
        instance = proxy(provider, None, llm_format="anthropic", **changes)
        return sent(instance, client_request(MESSAGES, headers=headers, path=path)).headers

    @pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
    def test_what_the_api_reads_goes_along(self, path: str) -> None:
        headers = self.sent(path)
        assert headers["anthropic-version"] == "2026-10-21"
        assert headers["anthropic-beta"] == "oauth-2025-04-20"
        assert headers["anthropic-user-profile-id"] == "profile"
        assert headers["user-agent"] == "kong-ai-proxy"
        assert not {"x-app", "x-stainless-lang", "anthropic-workspace-id"} & headers.keys()

    @pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
    @pytest.mark.parametrize(
        "auth", [{}, {"header_name": "x-api-key", "header_value": "secret", "allow_override": True}]
    )
    def test_who_asks_goes_with_its_own_credential(self, auth: dict[str, Any], path: str) -> None:
        headers = self.sent(path, auth=auth)
        assert (headers["user-agent"], headers["x-app"]) == ("claude-cli/9 (external)", "cli")
        assert "x-stainless-lang" not in headers

    @pytest.mark.parametrize("provider", ["openai", "cohere"])
    def test_not_to_another_provider(self, provider: str) -> None:
        headers = self.sent(provider=provider, auth={})
        assert headers["user-agent"] == "kong-ai-proxy"
        assert not {"x-app", "anthropic-version", "anthropic-beta"} & headers.keys()

    def test_the_version_of_a_translation_is_configured(self) -> None:
        headers = sent(
            proxy("anthropic", "claude-x"), client_request(headers={"anthropic-version": "x"})
        ).headers
        assert headers["anthropic-version"] == "2023-06-01"

    @pytest.mark.parametrize(
        ("provider", "name"),
        [
            ("xai", "x-grok-conv-id"),
            ("gemini", "x-vertex-ai-llm-request-type"),
            ("gemini", "x-server-timeout"),
        ],
    )
    def test_what_others_read(self, provider: str, name: str) -> None:
        assert sent(proxy(provider, "m"), client_request(headers={name: "v"})).headers[name] == "v"
        assert name not in sent(proxy("openai", "m"), client_request(headers={name: "v"})).headers
