"""Azure's token endpoints, by stand-ins on this machine."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from auth_support import TokenServer, call, token_server, upstream

from kong_ai_proxy.auth import authenticate, azure, fetch
from kong_ai_proxy.auth.tokens import TokenCache
from kong_ai_proxy.core.errors import ApiError

MANAGED = {"azure_use_managed_identity": True}
CLIENT = {
    "azure_use_managed_identity": True,
    "azure_client_id": "client-1",
    "azure_client_secret": "planted-client-secret",
    "azure_tenant_id": "tenant-1",
}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[TokenServer]:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(azure, "tokens", TokenCache(clock, lambda work: work()))
    with token_server() as server:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", server.url + "/")
        yield server


def authorization(auth: dict[str, Any]) -> str:
    request = upstream("https://unit.openai.azure.com/openai/deployments/d/chat/completions")
    authenticate(request, call("azure", auth))
    return request.headers["authorization"]


def test_system_assigned_identity(server: TokenServer) -> None:
    assert authorization(MANAGED) == "Bearer token-1"
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/metadata/identity/oauth2/token")
    assert asked.headers["metadata"] == "true"
    assert asked.query == {"api-version": ["2018-02-01"], "resource": ["https://cognitiveservices.azure.com"]}


def test_user_assigned_identity(server: TokenServer) -> None:
    authorization({**MANAGED, "azure_client_id": "mine"})
    assert server.asked[0].query["client_id"] == ["mine"]


def test_lifetime_may_be_text_as_the_metadata_server_sends_it(server: TokenServer, clock: Clock) -> None:
    server.answer = lambda asked: (200, {"access_token": f"t{len(server.asked)}", "expires_in": "3599"})
    assert authorization(MANAGED) == "Bearer t1"
    clock.now += 3598
    assert authorization(MANAGED) == "Bearer t1"
    assert authorization(MANAGED) == "Bearer t2"


def test_renewed_after_an_hour(server: TokenServer, clock: Clock) -> None:
    assert authorization(MANAGED) == "Bearer token-1"
    clock.now += 3601
    assert authorization(MANAGED) == "Bearer token-2"


def test_identities_do_not_share_tokens(server: TokenServer) -> None:
    assert authorization(MANAGED) == "Bearer token-1"
    assert authorization({**MANAGED, "azure_client_id": "other"}) == "Bearer token-2"
    assert authorization(MANAGED) == "Bearer token-1"


def test_app_service(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header-secret")
    authorization(MANAGED)
    (asked,) = server.asked
    assert asked.path == "/msi/token"
    assert asked.headers["x-identity-header"] == "header-secret"
    assert asked.query["api-version"] == ["2019-08-01"]


def test_app_service_says_when_a_token_ends(
    server: TokenServer, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """https://learn.microsoft.com/azure/app-service/overview-managed-identity: there is no `expires_in`."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header-secret")
    ends = int(time.time()) + 3600
    server.answer = lambda asked: (200, {"access_token": f"t{len(server.asked)}", "expires_on": str(ends)})
    assert authorization(MANAGED) == "Bearer t1"
    clock.now += 3000
    assert authorization(MANAGED) == "Bearer t1"


@pytest.mark.parametrize(
    ("said", "lives"),
    [
        ({}, 60), ({"expires_in": None}, 60), ({"expires_in": "soon"}, 60), ({"expires_in": "NaN"}, 60),
        ({"expires_in": 0}, 1), ({"expires_in": -5}, 1), ({"expires_in": 1e300}, 86_400),
        ({"expires_in": True}, 60), ({"expires_on": "09/14/2030 00:00:00 PM +00:00"}, 60),
    ],
)  # fmt: skip
def test_odd_lifetimes(said: dict[str, Any], lives: float, server: TokenServer) -> None:
    server.answer = lambda asked: (200, {"access_token": "t", **said})
    assert azure.fetch_for(call("azure", MANAGED).target.auth, azure.RESOURCE).lifetime == lives


@pytest.mark.parametrize("named", [{}, {"AZURE_TENANT_ID": "t"}, {"AZURE_CLIENT_ID": "c"}])
def test_workload_identity_of_nobody(
    named: dict[str, str], server: TokenServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("assertion-jwt")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ApiError):
        authorization(MANAGED)
    assert not server.asked


def test_an_answer_that_only_drips_in() -> None:
    class Dripping:
        def read1(self, size: int) -> bytes:
            return b"x"

    with pytest.raises(TimeoutError):
        fetch._read(Dripping(), time.monotonic() - 1)  # type: ignore[arg-type]


def test_workload_identity(server: TokenServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("assertion-jwt\n")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant-9")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client-9")
    authorization(MANAGED)
    (asked,) = server.asked
    assert asked.path == "/tenant-9/oauth2/v2.0/token"
    assert asked.form["client_assertion"] == ["assertion-jwt"]
    assert asked.form["client_id"] == ["client-9"]


@pytest.mark.parametrize("managed", [True, False])
def test_client_credentials(server: TokenServer, managed: bool) -> None:
    assert authorization({**CLIENT, "azure_use_managed_identity": managed}) == "Bearer token-1"
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/tenant-1/oauth2/v2.0/token")
    assert asked.form == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-1"],
        "client_secret": ["planted-client-secret"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }


def test_a_tenant_is_one_segment_of_the_path(server: TokenServer) -> None:
    authorization({**CLIENT, "azure_tenant_id": "../other?x=1"})
    assert server.asked[0].path == "/..%2Fother%3Fx%3D1/oauth2/v2.0/token"


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"error": "invalid_client", "error_description": "planted-client-secret"}),
        (500, b"oops planted-client-secret"),
        (200, b"not json"),
        (200, {"token": "x"}),
        (200, {"access_token": ""}),
        (200, {"access_token": 7}),
        (200, {"access_token": "line\nbreak"}),
        (302, {}),
    ],
)
def test_failures_are_clear_and_tell_no_secret(
    server: TokenServer, answer: tuple[int, Any], log_lines: io.StringIO
) -> None:
    server.answer = lambda asked: answer
    with pytest.raises(ApiError) as caught:
        authorization(CLIENT)
    assert (caught.value.status, caught.value.code) == (500, "credential_unavailable")
    assert "planted-client-secret" not in caught.value.message + log_lines.getvalue()
    assert "127.0.0.1" in log_lines.getvalue()


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, server: TokenServer) -> None:
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "http://127.0.0.1:1")
    with pytest.raises(ApiError) as caught:
        authorization(CLIENT)
    assert caught.value.status == 500


def test_secret_whose_vault_has_no_value_yet(server: TokenServer) -> None:
    with pytest.raises(ApiError):
        authorization({**CLIENT, "azure_client_secret": ""})
    assert not server.asked
