"""Signature Version 4, by AWS's published test suite and by botocore's own clients; where keys come from.

The vectors: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-test-suite (the example
credentials are AWS's own, and of no use).
"""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from auth_support import Asked, TokenServer, call, token_server, upstream

from kong_ai_proxy.auth import authenticate, aws
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import UpstreamRequest, Url

SUITE_KEYS = aws.Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmx"
    "fpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0K"
    "PkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZb"
    "qBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
STATIC = {"aws_access_key_id": "AKIDSTATIC", "aws_secret_access_key": "static-secret"}
REGION = {"bedrock": {"aws_region": "eu-west-1"}}
ENDPOINT = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse"


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    aws._chain.forget()
    monkeypatch.setattr(aws, "tokens", aws.TokenCache())
    yield
    aws._chain.forget()


def signed(keys: aws.Keys, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> str:
    request = UpstreamRequest(method, Url.parse(url), headers, body)
    aws.sign_with(request, keys, "us-east-1", "service")
    assert request.headers["x-amz-date"] == "20150830T123600Z"
    match = re.search("Signature=([0-9a-f]{64})", request.headers["authorization"])
    assert match
    return match[1]


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "expected"),
    [
        ("GET", "/", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "POST",
            "/?Param1=value1",
            {},
            b"",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "POST",
            "/",
            {"content-type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "POST",
            "/",
            {"content-type": "application/x-www-form-urlencoded; charset=utf8"},
            b"Param1=value1",
            "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
        ),
        (
            "GET",
            "/?Param1=value2&Param1=value1",
            {},
            b"",
            "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
        ),
        (
            "GET",
            f"/?{UNRESERVED}={UNRESERVED}",
            {},
            b"",
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        (
            "GET",
            "/?%E1%88%B4=bar",
            {},
            b"",
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
    ],
    ids=[
        "get-vanilla",
        "post-vanilla",
        "get-vanilla-query-order-key-case",
        "post-vanilla-query",
        "post-form",
        "post-form-with-a-charset",
        "get-vanilla-query-order-value",
        "get-vanilla-query-unreserved",
        "get-vanilla-utf8-query",
    ],
)
def test_published_vectors(
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _freeze(monkeypatch)
    assert signed(SUITE_KEYS, method, f"https://example.amazonaws.com{url}", headers, body) == expected


def test_the_published_vector_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """post-sts-header-before: the token is signed along, and sent."""
    _freeze(monkeypatch)
    keys = SUITE_KEYS._replace(token=SUITE_TOKEN)
    request = UpstreamRequest("POST", Url.parse("https://example.amazonaws.com/"), {}, b"")
    aws.sign_with(request, keys, "us-east-1", "service")
    assert request.headers["x-amz-security-token"] == SUITE_TOKEN
    assert request.headers["authorization"].endswith(
        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


def _freeze(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.datetime(2015, 8, 30, 12, 36, 0, tzinfo=datetime.UTC)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None)
    )


def test_the_path_of_a_model_arn_is_signed_as_botocores_own_client_signs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import boto3

    _freeze(monkeypatch)
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-x-v1:0"
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        aws_access_key_id="AKIDSTATIC",
        aws_secret_access_key="static-secret",
    )
    seen: dict[str, Any] = {}

    def keep(request: Any, **_: Any) -> Any:
        seen["request"] = request
        raise KeyboardInterrupt

    client.meta.events.register("before-send.bedrock-runtime.Converse", keep)
    with pytest.raises(KeyboardInterrupt):
        client.converse(modelId=arn, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    theirs = seen["request"]
    path = theirs.url.removeprefix("https://bedrock-runtime.eu-west-1.amazonaws.com")
    assert "%3A" in path and "%2F" in path
    ours = upstream(theirs.url, theirs.body)
    authenticate(ours, call("bedrock", STATIC, options=REGION))
    assert ours.url.target == path
    assert ours.headers["authorization"] == theirs.headers["Authorization"].decode()


def test_a_file_in_s3_is_asked_for_as_botocores_own_client_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    _freeze(monkeypatch)
    client = boto3.client(
        "s3",
        region_name="eu-west-1",
        aws_access_key_id="AKIDSTATIC",
        aws_secret_access_key="static-secret",
    )
    seen: dict[str, Any] = {}

    def keep(request: Any, **_: Any) -> Any:
        seen["request"] = request
        raise KeyboardInterrupt

    client.meta.events.register("before-send.s3.GetObject", keep)
    with pytest.raises(KeyboardInterrupt):
        client.get_object(Bucket="videos-of-mine", Key="a b/x+1/output.mp4", ChecksumMode="ENABLED")
    theirs = seen["request"]
    assert "/a%20b/x%2B1/output.mp4" in theirs.url
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "an-api-key-of-bedrock")
    monkeypatch.setattr(aws, "_SIGNED", ("x-amz-checksum-mode",))
    ours = UpstreamRequest("GET", Url.parse(theirs.url), {"x-amz-checksum-mode": "ENABLED"}, service="s3")
    authenticate(ours, call("bedrock", STATIC, options=REGION))
    assert ours.headers["authorization"] == theirs.headers["Authorization"].decode()
    assert ours.headers["x-amz-content-sha256"] == theirs.headers["X-Amz-Content-SHA256"].decode()


def test_static_keys() -> None:
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", STATIC, options=REGION))
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDSTATIC/")
    assert "/eu-west-1/bedrock/aws4_request" in request.headers["authorization"]
    assert "SignedHeaders=content-type;host;x-amz-date" in request.headers["authorization"]
    assert "x-amz-security-token" not in request.headers
    assert "static-secret" not in str(request.headers)


@pytest.mark.parametrize("left_out", list(STATIC))
def test_half_a_key_pair(left_out: str) -> None:
    half = {name: value for name, value in STATIC.items() if name != left_out}
    with pytest.raises(ApiError) as caught:
        authenticate(upstream(ENDPOINT), call("bedrock", {**half, left_out: ""}, options=REGION))
    assert (caught.value.status, caught.value.code) == (500, "credential_unavailable")
    assert not any(value in caught.value.message for value in STATIC.values())


def test_default_chain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-session")
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", options=REGION))
    assert "Credential=AKIDENV/" in request.headers["authorization"]
    assert request.headers["x-amz-security-token"] == "env-session"
    assert "x-amz-security-token" in request.headers["authorization"], "signed"


def test_default_chain_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[team]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = profile-secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "team")
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", options=REGION))
    assert "Credential=AKIDPROFILE/" in request.headers["authorization"]


def test_default_chain_finds_nothing() -> None:
    with pytest.raises(ApiError) as caught:
        authenticate(upstream(ENDPOINT), call("bedrock", options=REGION))
    assert (caught.value.status, caught.value.code) == (500, "credential_unavailable")


@pytest.mark.parametrize("failure", [FileNotFoundError("/secret/path"), ValueError("static-secret")])
def test_default_chain_fails(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, log_lines: io.StringIO
) -> None:
    """Whatever it raises: a web identity's file that is not there, a role that STS refuses, …"""

    class Chain:
        asked = 0

        def set_default_client_config(self, config: Any) -> None:
            assert config.connect_timeout + config.read_timeout <= 10

        def set_config_variable(self, name: str, value: Any) -> None:
            assert (name, value) == ("ec2_metadata_v1_disabled", True)

        def get_credentials(self) -> Any:
            self.asked += 1
            raise failure

    chain = Chain()
    monkeypatch.setattr("botocore.session.get_session", lambda: chain)
    for _ in range(3):
        with pytest.raises(ApiError) as refused:
            authenticate(upstream(ENDPOINT), call("bedrock", options=REGION))
        assert refused.value.status == 500
    assert chain.asked == 1, "asked again at once"
    told = str(refused.value) + log_lines.getvalue()
    assert type(failure).__name__ in told
    assert "secret" not in told


ROLE_PATH = "/latest/meta-data/iam/security-credentials/"


def instance_metadata(asked: Asked, *, tokens: int = 200) -> tuple[int, Any]:
    """An EC2 instance's. `tokens`: the status of what only version 2 has."""
    if asked.method == "PUT":
        return tokens, b"metadata-token"
    if tokens == 200 and asked.headers.get("x-aws-ec2-metadata-token") != "metadata-token":
        return 401, b""
    if asked.path == ROLE_PATH:
        return 200, b"the-role"
    keys = {"AccessKeyId": "AKIDINSTANCE", "SecretAccessKey": "instance-secret", "Token": "t"}
    return 200, {"Code": "Success", "Expiration": "2999-01-01T00:00:00Z", **keys}


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    with token_server() as server:
        server.answer = instance_metadata
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        yield server


def test_default_chain_instance(metadata: TokenServer) -> None:
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", options=REGION))
    assert "Credential=AKIDINSTANCE/" in request.headers["authorization"]
    assert metadata.asked[0].method == "PUT", "a session of version 2"


@pytest.mark.parametrize("status", [403, 404, 405])
def test_version_1_of_the_metadata_service_is_not_asked(
    metadata: TokenServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    metadata.answer = lambda asked: instance_metadata(asked, tokens=status)
    with pytest.raises(ApiError):
        authenticate(upstream(ENDPOINT), call("bedrock", options=REGION))
    assert {asked.method for asked in metadata.asked} == {"PUT"}
    # But for who says so himself.
    monkeypatch.setenv("AWS_EC2_METADATA_V1_DISABLED", "false")
    aws._chain.forget()
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", options=REGION))
    assert "Credential=AKIDINSTANCE/" in request.headers["authorization"]


@pytest.mark.parametrize("known", ["", "internal.example", "*"])
def test_no_proxy_sees_what_the_metadata_service_says(monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    from botocore.utils import get_environ_proxies

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, known)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    aws._session()
    for url in ("http://169.254.169.254/", "http://[fd00:ec2::254]/"):
        assert get_environ_proxies(url) == {}
    if known != "*":
        assert get_environ_proxies("http://elsewhere.example/")["http"] == "http://proxy.example:3128"
        assert bool(get_environ_proxies("http://x.internal.example/")) is not bool(known)


def test_a_role_of_the_profile_that_sts_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    class Credentials:
        def get_frozen_credentials(self) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "arn:…"}}, "AssumeRole")

    chain = aws._Chain()
    chain._found = Credentials()
    monkeypatch.setattr(aws, "_chain", chain)
    with pytest.raises(ApiError) as refused:
        authenticate(upstream(ENDPOINT), call("bedrock", options=REGION))
    assert (refused.value.status, refused.value.code) == (500, "credential_unavailable")


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://sts.eu-west-1.amazonaws.com/"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com/"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
        ("us-isob-east-1", "https://sts.us-isob-east-1.sc2s.sgov.gov/"),
        ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu/"),
    ],
)
def test_where_sts_is(region: str, url: str) -> None:
    assert aws._sts_endpoint(region) == url
    assert aws._sts_region(Url.parse(url).host, "other-1") == region


def test_bedrock_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key")
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", options=REGION))
    assert request.headers["authorization"] == "Bearer bedrock-api-key"
    configured = upstream(ENDPOINT)
    authenticate(configured, call("bedrock", STATIC, options=REGION))
    assert configured.headers["authorization"].startswith("AWS4"), "what is configured here goes first"


def test_a_configured_header_is_an_api_key_too() -> None:
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", {"header_name": "Authorization", "header_value": "Bearer k"}))
    assert request.headers["authorization"] == "Bearer k"


def test_sdks_dummy_signature_is_replaced() -> None:
    dummy = {"authorization": "AWS4-HMAC-SHA256 Credential=dummy/x", "x-amz-security-token": "dummy"}
    for auth in (STATIC, {**STATIC, "allow_override": True}):
        request = upstream(ENDPOINT)
        authenticate(request, call("bedrock", auth, options=REGION, headers=dummy))
        assert "dummy" not in str(request.headers)
        assert "Credential=AKIDSTATIC/" in request.headers["authorization"]


@pytest.mark.parametrize(
    ("url", "options", "environment", "region"),
    [
        (ENDPOINT, {}, {}, "eu-west-1"),
        (ENDPOINT, {"bedrock": {"aws_region": "us-west-2"}}, {}, "us-west-2"),
        ("https://bedrock-agent-runtime.ap-south-1.amazonaws.com/rerank", {}, {}, "ap-south-1"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/x", {}, {}, "cn-north-1"),
        ("https://bedrock-runtime.us-iso-east-1.c2s.ic.gov/x", {}, {}, "us-iso-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/x", {}, {}, "us-gov-west-1"),
        ("https://vpce-1-2.bedrock-runtime.us-east-1.vpce.amazonaws.com/x", {}, {}, "us-east-1"),
        ("https://vpc.internal/x", {}, {"AWS_REGION": "us-east-2"}, "us-east-2"),
        ("https://vpc.internal/x", {}, {"AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
    ],
)
def test_region(
    url: str,
    options: dict[str, Any],
    environment: dict[str, str],
    region: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    request = upstream(url)
    authenticate(request, call("bedrock", STATIC, options=options))
    assert f"/{region}/bedrock/" in request.headers["authorization"]


def test_no_region() -> None:
    with pytest.raises(ApiError, match="aws_region"):
        authenticate(upstream("https://vpc.internal/x"), call("bedrock", STATIC))


# Assumed roles.

STS_ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>assumed-secret</SecretAccessKey>
<SessionToken>assumed-session</SessionToken><Expiration>{expires}</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture
def sts() -> Iterator[TokenServer]:
    with token_server() as server:

        def answer(asked: Asked) -> tuple[int, bytes]:
            expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
            text = STS_ANSWER.format(
                number=len(server.asked), expires=expires.isoformat(timespec="seconds").replace("+00:00", "Z")
            )
            return 200, text.encode()

        server.answer = answer
        yield server


def role(server: TokenServer, **fields: str) -> dict[str, Any]:
    return {
        "bedrock": {
            "aws_region": "eu-west-1",
            "aws_assume_role_arn": "arn:aws:iam::123456789012:role/llm",
            "aws_sts_endpoint_url": server.url,
            **fields,
        }
    }


def test_assumed_role(sts: TokenServer) -> None:
    for _ in range(3):
        request = upstream(ENDPOINT)
        authenticate(request, call("bedrock", STATIC, options=role(sts, aws_role_session_name="gateway")))
    assert "Credential=ASIA1/" in request.headers["authorization"]
    assert request.headers["x-amz-security-token"] == "assumed-session"
    (asked,) = sts.asked
    assert asked.form == {
        "Action": ["AssumeRole"],
        "Version": ["2011-06-15"],
        "RoleArn": ["arn:aws:iam::123456789012:role/llm"],
        "RoleSessionName": ["gateway"],
    }
    assert re.search(
        r"Credential=AKIDSTATIC/\d{8}/eu-west-1/sts/aws4_request", asked.headers["authorization"]
    )


def test_session_has_a_name_by_default(sts: TokenServer) -> None:
    authenticate(upstream(ENDPOINT), call("bedrock", STATIC, options=role(sts)))
    assert sts.asked[0].form["RoleSessionName"] == ["kong-ai-proxy"]


def test_each_role_has_its_own_credentials(sts: TokenServer) -> None:
    for name in ("a", "b", "a"):
        authenticate(
            upstream(ENDPOINT), call("bedrock", STATIC, options=role(sts, aws_role_session_name=name))
        )
    assert len(sts.asked) == 2


def test_role_refused(sts: TokenServer, log_lines: io.StringIO) -> None:
    sts.answer = lambda asked: (
        403,
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>static-secret</Message></Error></ErrorResponse>",
    )
    with pytest.raises(ApiError) as caught:
        authenticate(upstream(ENDPOINT), call("bedrock", STATIC, options=role(sts)))
    assert (caught.value.status, caught.value.code) == (500, "credential_unavailable")
    assert "AccessDenied" in log_lines.getvalue()
    assert "static-secret" not in log_lines.getvalue() + caught.value.message


@pytest.mark.parametrize("body", [b"", b"not xml", b"<x/>", b"{}"])
def test_role_answered_with_nonsense(sts: TokenServer, body: bytes) -> None:
    sts.answer = lambda asked: (200, body)
    with pytest.raises(ApiError) as caught:
        authenticate(upstream(ENDPOINT), call("bedrock", STATIC, options=role(sts)))
    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sts.amazonaws.com", "us-east-1"),
        ("sts.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sts-fips.us-west-2.amazonaws.com", "us-west-2"),
        ("sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-1.sts.internal", "ap-south-1"),
    ],
)
def test_sts_is_signed_for_the_endpoints_region(host: str, region: str) -> None:
    assert aws._sts_region(host, "ap-south-1") == region


def test_sts_is_spoken_to_as_boto3_does(sts: TokenServer) -> None:
    """Our few lines against boto3's client: the same request, the same reading of moto's answer."""
    import boto3
    from moto import mock_aws

    arn, name = "arn:aws:iam::123456789012:role/llm", "gateway"
    seen: dict[str, Any] = {}
    with mock_aws():
        client = boto3.client("sts", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
        client.meta.events.register(
            "before-call.sts.AssumeRole", lambda params, **_: seen.update(form=params["body"])
        )
        client.meta.events.register(
            "before-parse.sts.AssumeRole", lambda response_dict, **_: seen.update(xml=response_dict["body"])
        )
        theirs = client.assume_role(RoleArn=arn, RoleSessionName=name)["Credentials"]
    sts.answer = lambda asked: (200, seen["xml"])
    request = upstream(ENDPOINT)
    authenticate(request, call("bedrock", STATIC, options=role(sts, aws_role_session_name=name)))
    assert sts.asked[0].form == {key: [value] for key, value in seen["form"].items()}
    assert f"Credential={theirs['AccessKeyId']}/" in request.headers["authorization"]
    assert request.headers["x-amz-security-token"] == theirs["SessionToken"]
