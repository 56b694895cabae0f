"""Google's token endpoints, by stand-ins on this machine."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from auth_support import TokenServer, call, token_server, upstream
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kong_ai_proxy.auth import authenticate, google
from kong_ai_proxy.auth.tokens import TokenCache
from kong_ai_proxy.core.errors import ApiError

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
USE = {"gcp_use_service_account": True}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[TokenServer]:
    for name in ("GCP_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", "GCP_AUTH_METHOD_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(google, "tokens", TokenCache(clock, lambda work: work()))
    with token_server() as server:
        monkeypatch.setattr(google, "_METADATA", server.url)
        yield server


def account(server: TokenServer, name: str = "one", **changes: Any) -> str:
    info = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "kid",
        "private_key": PEM,
        "client_email": f"{name}@p.iam.gserviceaccount.com",
        "token_uri": f"{server.url}/token",
        **changes,
    }
    return json.dumps(info)


def authorization(auth: dict[str, Any]) -> str:
    request = upstream("https://us-central1-aiplatform.googleapis.com/v1/x")
    authenticate(request, call("gemini", auth))
    return request.headers["authorization"]


def claims(assertion: str) -> dict[str, Any]:
    """What a service account's assertion says; its signature is checked."""
    head, body, signature = assertion.split(".")
    signed = f"{head}.{body}".encode()
    KEY.public_key().verify(_decoded(signature), signed, padding.PKCS1v15(), hashes.SHA256())
    found = json.loads(_decoded(body))
    assert isinstance(found, dict)
    return found


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_service_account_of_the_configuration(server: TokenServer) -> None:
    auth = {**USE, "gcp_service_account_json": account(server)}
    assert [authorization(auth) for _ in range(3)] == ["Bearer token-1"] * 3
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/token")
    assert asked.form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    said = claims(asked.form["assertion"][0])
    assert said["iss"] == "one@p.iam.gserviceaccount.com"
    assert said["scope"] == "https://www.googleapis.com/auth/cloud-platform"


def test_the_metadata_server_is_not_asked_where_there_is_a_key(server: TokenServer) -> None:
    """A bug of Kong's: it probed the metadata server all the same."""
    authorization({**USE, "gcp_service_account_json": account(server)})
    assert [asked.path for asked in server.asked] == ["/token"]


def test_service_account_of_the_environment(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCP_SERVICE_ACCOUNT", account(server, "environment"))
    authorization(USE)
    assert claims(server.asked[0].form["assertion"][0])["iss"].startswith("environment@")
    authorization({**USE, "gcp_service_account_json": account(server, "configured")})
    assert claims(server.asked[1].form["assertion"][0])["iss"].startswith("configured@")


def test_oauth_token_url(server: TokenServer) -> None:
    key = account(server, token_uri="https://oauth2.invalid/token")
    authorization({**USE, "gcp_service_account_json": key, "gcp_oauth_token_url": f"{server.url}/private"})
    assert server.asked[0].path == "/private"


def test_metadata_server(server: TokenServer) -> None:
    assert authorization(USE) == "Bearer token-1"
    (asked,) = server.asked
    assert asked.path == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asked.headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/computeMetadata/v1/instance/service-accounts/default/token"),
        ("/", "/computeMetadata/v1/instance/service-accounts/default/token"),
        ("/computeMetadata/v1", "/computeMetadata/v1/instance/service-accounts/default/token"),
        ("/computeMetadata/v1/", "/computeMetadata/v1/instance/service-accounts/default/token"),
        ("/my/token", "/my/token"),
    ],
)
def test_metadata_url(server: TokenServer, suffix: str, path: str) -> None:
    authorization({**USE, "gcp_metadata_url": server.url + suffix})
    assert server.asked[0].path == path


def test_metadata_url_without_a_scheme(server: TokenServer) -> None:
    authorization({**USE, "gcp_metadata_url": server.url.removeprefix("http://")})
    assert server.asked[0].path.startswith("/computeMetadata/")


def test_application_default_credentials(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "adc.json"
    file.write_text(account(server, "adc"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    configured = {**USE, "gcp_service_account_json": account(server, "configured")}
    authorization(configured)
    assert claims(server.asked[0].form["assertion"][0])["iss"].startswith("configured@")
    monkeypatch.setenv("GCP_AUTH_METHOD_ORDER", "adc")
    authorization(configured)
    assert claims(server.asked[1].form["assertion"][0])["iss"].startswith("adc@")


def test_authorized_user(server: TokenServer) -> None:
    key = {
        "type": "authorized_user",
        "client_id": "c",
        "client_secret": "s",
        "refresh_token": "r",
    }
    auth = {**USE, "gcp_service_account_json": json.dumps(key), "gcp_oauth_token_url": f"{server.url}/token"}
    assert authorization(auth) == "Bearer token-1"
    assert server.asked[0].form["refresh_token"] == ["r"]


def test_renewed_before_it_expires(server: TokenServer, clock: Clock) -> None:
    auth = {**USE, "gcp_service_account_json": account(server)}
    authorization(auth)
    clock.now += 3200
    assert authorization(auth) == "Bearer token-1"
    clock.now += 250
    authorization(auth)
    assert authorization(auth) == "Bearer token-2"
    clock.now += 4000
    assert authorization(auth) == "Bearer token-3"


def test_accounts_do_not_share_tokens(server: TokenServer) -> None:
    one, two = ({**USE, "gcp_service_account_json": account(server, name)} for name in ("one", "two"))
    assert (authorization(one), authorization(two), authorization(one)) == (
        "Bearer token-1",
        "Bearer token-2",
        "Bearer token-1",
    )


@pytest.mark.parametrize(
    "key",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"type":"service_account"}',
        '{"type":"service_account","private_key":"planted-key","client_email":"e","token_uri":"u"}',
        '{"type":"external_account"}',
    ],
)
def test_unusable_keys(server: TokenServer, key: str, log_lines: io.StringIO) -> None:
    with pytest.raises(ApiError) as caught:
        authorization({**USE, "gcp_service_account_json": key})
    assert (caught.value.status, caught.value.code) == (500, "credential_unavailable")
    assert "planted-key" not in caught.value.message + log_lines.getvalue()
    assert not server.asked


@pytest.mark.parametrize("answer", [(400, {"error": "invalid_grant"}), (200, b"x"), (200, {}), (403, b"")])
def test_endpoint_refuses(server: TokenServer, answer: tuple[int, Any], log_lines: io.StringIO) -> None:
    server.answer = lambda asked: answer
    with pytest.raises(ApiError) as caught:
        authorization({**USE, "gcp_service_account_json": account(server)})
    assert caught.value.status == 500
    assert "PRIVATE KEY" not in log_lines.getvalue()
    if answer[0] == 400:
        assert "invalid_grant" in log_lines.getvalue()
