"""Headers and parameters from the configuration, and when the client's own go along."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_support import call, upstream

from kong_ai_proxy.auth import authenticate, prepare
from kong_ai_proxy.auth.authenticate import kind_of
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import UpstreamRequest

HEADER = {"header_name": "X-Api-Key", "header_value": "configured-key"}
QUERY = {"param_name": "license", "param_value": "configured key&1", "param_location": "query"}
BODY = {"param_name": "license", "param_value": "configured", "param_location": "body"}


def applied(provider: str = "openai", auth: dict[str, Any] | None = None, **fields: Any) -> UpstreamRequest:
    request = fields.pop("request", None) or upstream()
    authenticate(request, call(provider, auth, **fields))
    return request


def test_header() -> None:
    assert applied(auth=HEADER).headers["x-api-key"] == "configured-key"


def test_query_parameter_is_encoded() -> None:
    request = applied(auth=QUERY, request=upstream("https://provider.example/x?a=1"))
    assert request.url.target == "/x?a=1&license=configured%20key%261"


def test_parameter_without_a_location_goes_to_the_query() -> None:
    assert applied(auth={"param_name": "k", "param_value": "v"}).url.query == "k=v"


def test_body_parameter_of_json() -> None:
    request = applied(auth=BODY, request=upstream(body=b'{"messages":[],"license":"client"}'))
    assert json.loads(request.body) == {"messages": [], "license": "configured"}


def test_body_parameter_of_a_form() -> None:
    request = upstream(body=b"a=1")
    request.headers["content-type"] = "application/x-www-form-urlencoded"
    assert applied(auth=BODY, request=request).body == b"a=1&license=configured"


@pytest.mark.parametrize("body", [b"", b"[]", b"\x00binary"])
def test_body_parameter_where_there_is_no_body_for_it(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        applied(auth=BODY, request=upstream(body=body))
    assert caught.value.status == 500
    assert "configured" not in str(caught.value.message).replace("auth.param_location", "")


def test_header_and_parameter_together() -> None:
    request = applied(auth={**HEADER, **QUERY})
    assert request.headers["x-api-key"] == "configured-key"
    assert "license=" in request.url.query


def test_googles_key_is_in_no_url() -> None:
    """Keys in URLs end up in logs; Google takes the same key as a header."""
    auth = {"param_name": "key", "param_value": "google-key", "param_location": "query"}
    url = "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent"
    request = applied("gemini", auth, request=upstream(url))
    assert request.headers["x-goog-api-key"] == "google-key"
    assert request.url.query == ""
    elsewhere = applied("gemini", auth, request=upstream("https://proxy.example/v1beta"))
    assert elsewhere.url.query == "key=google-key"


@pytest.mark.parametrize("value", ["", "line\nbreak", "nul\x00"])
def test_a_value_that_cannot_be_sent_is_our_error_and_nobodys_secret(value: str) -> None:
    with pytest.raises(ApiError) as caught:
        applied(
            auth={"header_name": "Authorization", "header_value": value},
            headers={"authorization": "Bearer client"},
        )
    assert caught.value.status == 500
    assert "break" not in caught.value.message


# Nothing configured.


def test_clients_own_authorization_goes_along_where_nothing_is_configured() -> None:
    request = applied(headers={"authorization": "Bearer client", "x-api-key": "other", "cookie": "c"})
    assert request.headers == {"content-type": "application/json", "authorization": "Bearer client"}


@pytest.mark.parametrize(
    ("provider", "name"), [("anthropic", "x-api-key"), ("azure", "api-key"), ("gemini", "x-goog-api-key")]
)
def test_where_a_providers_own_sdk_puts_its_key(provider: str, name: str) -> None:
    assert applied(provider, headers={name: "client-key"}).headers[name] == "client-key"
    assert name not in applied("openai", headers={name: "client-key"}).headers


def test_gemini_clients_key_in_the_query_becomes_a_header() -> None:
    request = applied("gemini", query="key=client-key&alt=sse")
    assert request.headers["x-goog-api-key"] == "client-key"
    assert "client-key" not in request.url.query


def test_nobody_sent_anything() -> None:
    assert applied().headers == {"content-type": "application/json"}


def test_a_signature_for_the_gateway_is_no_credential_for_the_provider() -> None:
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=dummy"}
    assert "authorization" not in applied(headers=headers).headers


# allow_override.


def test_without_it_the_configured_one_is_sent() -> None:
    headers = {"x-api-key": "client", "authorization": "Bearer dummy"}
    request = applied(auth=HEADER, headers=headers)
    assert request.headers["x-api-key"] == "configured-key"
    assert "authorization" not in request.headers, "an SDK's dummy key would be refused"


def test_clients_header_wins() -> None:
    auth = {**HEADER, "allow_override": True}
    assert applied(auth=auth, headers={"x-api-key": "client"}).headers["x-api-key"] == "client"
    assert applied(auth=auth, headers={"x-api-key": ""}).headers["x-api-key"] == "configured-key"
    other = applied(auth=auth, headers={"authorization": "Bearer client"}).headers
    assert other["x-api-key"] == "configured-key"
    assert "authorization" not in other


def test_clients_query_parameter_wins() -> None:
    auth = {**QUERY, "allow_override": True}
    assert applied(auth=auth, query="license=client&x=1").url.query == "license=client"
    assert "configured" in applied(auth=auth, query="x=1").url.query


def test_clients_body_parameter_wins() -> None:
    auth = {**BODY, "allow_override": True}
    kept = upstream(body=b'{"license":"client"}')
    assert applied(auth=auth, request=kept).body == b'{"license":"client"}'
    assert json.loads(applied(auth=auth).body)["license"] == "configured"
    assert json.loads(applied(auth=auth, request=upstream(body=b'{"license":null}')).body) == {
        "license": "configured"
    }


def test_clients_own_token_instead_of_a_clouds() -> None:
    auth = {"azure_use_managed_identity": True, "allow_override": True}
    request = applied("azure", auth, headers={"api-key": "client"})
    assert request.headers["api-key"] == "client"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("provider", "auth", "kind"),
    [
        ("openai", {}, "own"),
        ("openai", HEADER, "configured"),
        ("bedrock", {}, "aws"),
        ("bedrock", HEADER, "configured"),
        ("gemini", {"gcp_use_service_account": True}, "google"),
        ("gemini", {}, "own"),
        ("azure", {"azure_use_managed_identity": True}, "azure"),
        ("azure", {"azure_client_id": "c", "azure_client_secret": "s", "azure_tenant_id": "t"}, "azure"),
        ("azure", {"azure_client_id": "c"}, "own"),
        ("azure", {"azure_use_managed_identity": True, **HEADER}, "configured"),
    ],
)
def test_what_a_targets_credentials_are(provider: str, auth: dict[str, Any], kind: str) -> None:
    target = call(provider, auth).target
    assert kind_of(target) == kind
    prepare([target])
