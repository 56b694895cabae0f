"""Logins with a cloud's identities: what is asked for, and that a real Redis takes it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import gevent
import pytest
from auth_support import TokenServer, token_server
from redis_support import redis_server

from kong_ai_proxy.auth.redis_login import RENEWED, RedisLogin
from kong_ai_proxy.auth.tokens import Unavailable
from kong_ai_proxy.balancer import shared
from kong_ai_proxy.balancer.shared import RedisSharing
from kong_ai_proxy.config.models import Redis
from kong_ai_proxy.redis_client import connect

AWS = {
    "auth_provider": "aws",
    "aws_cache_name": "my-cache",
    "aws_region": "eu-west-1",
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "not-a-secret",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "IDENTITY_ENDPOINT", "GCP_SERVICE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    with token_server() as running:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", running.url)
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", running.url)
        yield running


def settings(cloud: dict[str, Any], **more: Any) -> Redis:
    return Redis.model_validate({"cloud_authentication": cloud, **more})


def login(cloud: dict[str, Any], **more: Any) -> RedisLogin:
    found = RedisLogin.of(settings(cloud, **more))
    assert found is not None
    return found


def test_without_a_provider_the_password_counts() -> None:
    assert RedisLogin.of(Redis(password="p")) is None
    assert RedisLogin.of(settings({}, password="p")) is None


# AWS.


@pytest.mark.parametrize("serverless", [True, False])
def test_elasticache_gets_a_presigned_connect(serverless: bool) -> None:
    """https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html: the query's members, without the
    scheme; the signature is worked out here once more, as
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html says."""
    username, token = login({**AWS, "aws_is_serverless": serverless}, username="a user").get_credentials()  # type: ignore[misc]
    assert username == "a user"
    assert token.startswith("my-cache/?Action=connect&User=a%20user&")
    parts = urlsplit("https://" + token)
    query = dict(parse_qsl(parts.query))
    signature = query.pop("X-Amz-Signature")
    date = query["X-Amz-Date"]
    at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    scope = f"{date[:8]}/eu-west-1/elasticache/aws4_request"
    assert query == {
        "Action": "connect",
        "User": "a user",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"AKIDEXAMPLE/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
        **({"ResourceType": "ServerlessCache"} if serverless else {}),
    }
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    canonical = "&".join(f"{name}={value}" for name, value in pairs)
    request = f"GET\n/\n{canonical}\nhost:my-cache\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4not-a-secret"
    for part in (date[:8], "eu-west-1", "elasticache", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    assert signature == hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def test_elasticache_by_an_assumed_role(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        b"<R><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        b"<SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></R>"
    )
    server.answer = lambda asked: (200, answer)
    monkeypatch.setattr("kong_ai_proxy.auth.aws._sts_endpoint", lambda region: server.url)
    role = {"aws_assume_role_arn": "arn:aws:iam::1:role/r", "aws_role_session_name": "me"}
    _, token = login({**AWS, **role}, username="u").get_credentials()  # type: ignore[misc]
    assert server.asked[0].form["RoleArn"] == ["arn:aws:iam::1:role/r"]
    assert server.asked[0].form["RoleSessionName"] == ["me"]
    query = dict(parse_qsl(token))
    assert query["X-Amz-Credential"].startswith("ASIAROLE/")
    assert query["X-Amz-Security-Token"] == "session"


def test_region_of_the_environment(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = {name: value for name, value in AWS.items() if name != "aws_region"}
    with pytest.raises(Unavailable, match="aws_region"):
        login(cloud, username="u").get_credentials()
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert "us-east-2" in login(cloud, username="u").get_credentials()[1]  # type: ignore[misc]


@pytest.mark.parametrize("lacking", ["username", "aws_cache_name"])
def test_references_without_a_value(lacking: str) -> None:
    there = settings(AWS, username="u")
    # As they are where a vault has nothing.
    setattr(there if lacking == "username" else there.cloud_authentication, lacking, "")
    found = RedisLogin.of(there)
    assert found is not None
    with pytest.raises(Unavailable, match=lacking):
        found.get_credentials()


# Azure and Google.


def jwt(claims: dict[str, Any]) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{middle}.c2ln"


SECRET = {"azure_client_id": "c", "azure_client_secret": "not-a-secret", "azure_tenant_id": "t"}


@pytest.mark.parametrize("more", [SECRET, {"azure_client_id": "c"}, {}], ids=["secret", "identity", "system"])
def test_azures_token_is_for_redis(server: TokenServer, more: dict[str, str]) -> None:
    server.answer = lambda asked: (200, {"access_token": jwt({"oid": "object-1"}), "expires_in": 3600})
    assert login({"auth_provider": "azure", **more}).get_credentials() == (
        "object-1",
        jwt({"oid": "object-1"}),
    )
    (asked,) = server.asked
    if more is SECRET:
        assert asked.path == "/t/oauth2/v2.0/token"
        assert asked.form["scope"] == ["https://redis.azure.com/.default"]
    else:
        assert asked.query["resource"] == ["https://redis.azure.com"]
        assert asked.query.get("client_id", []) == ([more["azure_client_id"]] if more else [])


@pytest.mark.parametrize("token", ["opaque", "a.b.c", jwt({}), jwt({"oid": 7})])
def test_azures_token_that_names_nobody(server: TokenServer, token: str) -> None:
    server.answer = lambda asked: (200, {"access_token": token, "expires_in": 3600})
    assert login({"auth_provider": "azure"}).get_credentials() == (token,)
    assert login({"auth_provider": "azure"}, username="me").get_credentials() == ("me", token)


def test_googles_token(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setattr("kong_ai_proxy.auth.google._METADATA", server.url)
    assert login({"auth_provider": "gcp"}).get_credentials() == ("token-1",)
    assert server.asked[0].headers["metadata-flavor"] == "Google"


# A real Redis.


def test_redis_takes_the_token_and_a_newer_one(server: TokenServer, tmp_path: Path) -> None:
    """As the nodes' exchange connects, in a thread: the connection is made anew in time, with a new token."""
    tokens = iter([jwt({"oid": "object-1", "n": number}) for number in (1, 2)])
    allowed = [jwt({"oid": "object-1", "n": number}) for number in (1, 2)]
    server.answer = lambda asked: (200, {"access_token": next(tokens), "expires_in": 3600})
    user = ["--user", "object-1", "on", *(f">{token}" for token in allowed), "~*", "+@all"]
    with redis_server(tmp_path, *user, "--user", "default", "off") as redis:
        there = settings({"auth_provider": "azure"}, port=redis.port)
        seen = gevent.get_hub().threadpool.apply(who_am_i, (there,))
        assert seen == "object-1"
        sharing = RedisSharing(lambda: connect(there), renewed=0.05)
        assert not isinstance(sharing._send([]), Exception)
        first = sharing._client
        assert not isinstance(sharing._send([]), Exception)
        assert sharing._client is first
        time.sleep(0.06)
        assert not isinstance(sharing._send([]), Exception)
        assert sharing._client is not first
        assert sharing._client.ping()
        sharing._client.close()


def who_am_i(there: Redis) -> Any:
    with closing(connect(there)) as client:
        return client.execute_command("ACL WHOAMI")


def test_only_clouds_connections_are_renewed() -> None:
    plain, cloud = Redis(port=1), settings({"auth_provider": "gcp"}, port=1)
    try:
        assert shared.sharing_by(plain)._renewed > 1e9
        assert shared.sharing_by(cloud)._renewed == RENEWED
    finally:
        shared._SHARED.clear()
