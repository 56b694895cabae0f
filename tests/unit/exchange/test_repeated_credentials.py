"""Providers that repeat, in an error, a credential that was sent to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_support import call, upstream
from exchange_support import answered, proxy

from kong_ai_proxy.auth import authenticate, aws, azure, google
from kong_ai_proxy.auth.tokens import Token, TokenCache
from kong_ai_proxy.exchange.redact import redact

KEY = 'sk-a/b+c"d\\e-0123456789'


def error(text: str) -> dict[str, Any]:
    return {"error": {"message": f"not a key: {text}", "type": "t"}}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "cohere"])
@pytest.mark.parametrize("said", [KEY, "sk-a%2Fb%2Bc%22d%5Ce-0123456789", "sk-a/b%2Bc%22d%5Ce-0123456789"])
def test_in_whatever_form(provider: str, said: str) -> None:
    instance = proxy(
        provider, "m", auth={"header_name": "x-key", "header_value": f"Bearer {KEY}"},
        logging={"log_payloads": True, "log_statistics": True},
    )  # fmt: skip
    told = json.dumps(error(said))
    for body in (told.encode(), told.replace("/", "\\/").encode()):
        done = answered(instance, body, status=401)
        assert done.response.status == 401 and b"[redacted]" in done.response.body
        record = json.dumps(done.exchange.record())
        for place in (done.response.body.decode(), record):
            assert "0123456789" not in place


def test_a_payload_that_is_logged_does_not_repeat_it_either() -> None:
    instance = proxy("openai", "m", auth={"header_name": "x-key", "header_value": KEY},
                     logging={"log_payloads": True, "log_statistics": True})  # fmt: skip
    record = answered(instance, error(KEY), status=403).exchange.record()
    assert record is not None and "[redacted]" in record["payload"]["response"]
    assert "0123456789" not in json.dumps(record)


def test_tokens_that_were_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS quotes the canonical request, with the session token, where a signature does not match."""
    monkeypatch.setattr(aws, "_chain_keys", lambda: aws.Keys("AKIDOFTHEROLE", "secret", "session-token-1"))
    asked = call("bedrock", options={"bedrock": {"aws_region": "eu-west-1"}})
    request = upstream()
    authenticate(request, asked)
    assert asked.secrets == ["AKIDOFTHEROLE", "session-token-1"]
    said = b"should be: x-amz-security-token:session-token-1 Credential=AKIDOFTHEROLE/2026"
    told = b"should be: x-amz-security-token:[redacted] Credential=[redacted]/2026"
    assert redact(said, asked) == told

    with_key = {"gcp_use_service_account": True, "gcp_service_account_json": "{}"}
    for module, name, provider, auth in (
        (google, "_fetch", "gemini", with_key),
        (azure, "fetch_for", "azure", {"azure_use_managed_identity": True}),
    ):
        monkeypatch.setattr(module, "tokens", TokenCache())
        monkeypatch.setattr(module, name, lambda *_: Token("tok-12345", 60))
        asked = call(provider, auth)
        authenticate(upstream(), asked)
        assert asked.secrets == ["tok-12345"]
        assert redact(b"no such token: tok-12345", asked) == b"no such token: [redacted]"


def test_a_clients_own_credential_is_its_own() -> None:
    asked = call("openai", headers={"authorization": "Bearer sk-clients-own-1"})
    authenticate(upstream(), asked)
    assert asked.secrets == []
    assert redact(b"bad: sk-clients-own-1", asked) == b"bad: sk-clients-own-1"


def test_what_is_too_short_to_be_one_is_left_alone() -> None:
    asked = call("openai", {"header_name": "x-key", "header_value": "Bearer error"})
    assert redact(b"an error", asked) == b"an error"
