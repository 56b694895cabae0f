"""AWS: requests signed (Signature Version 4) by botocore, or a Bedrock API key.

Sources: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html,
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from urllib.request import getproxies
from xml.etree import ElementTree

from ..config.models import Auth, BedrockOptions
from ..core.aws import AWS_DOMAINS, aws_domain
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import UpstreamRequest, Url
from ..core.json import dumps_text, loads
from .fetch import fetch
from .tokens import Token, TokenCache, Unavailable, refused

_SERVICE: Final = "bedrock"
"""The signing name of Bedrock's runtime, agent and control APIs alike."""
_S3: Final = "s3"
_HOST_REGION: Final = re.compile(r"(?:^|\.)bedrock[a-z-]*\.([a-z]{2,6}(?:-[a-z]+)+-\d{1,2})\.")
"""In every partition, and behind a VPC endpoint: https://docs.aws.amazon.com/general/latest/gr/bedrock.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/vpc-interface-endpoints.html."""
_SIGNED: Final = ("content-type",)
_FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"
_STS_HOST: Final = re.compile(
    rf"^sts(?:-fips)?\.(?:([a-z0-9-]+)\.)?(?:{'|'.join(map(re.escape, AWS_DOMAINS))})$"
)
_NOT_FOUND: Final = 5.0
"""Seconds for which the default chain is not asked again after it found nothing."""
_SESSION_NAME: Final = "kong-ai-proxy"
_STEP: Final = 5.0
"""Seconds for a connection to STS, and for its answer, where a profile or a web identity has botocore ask."""
_IMDS_V1: Final = "AWS_EC2_METADATA_V1_DISABLED"
"""https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html"""
_METADATA_HOSTS: Final = ("169.254.169.254", "[fd00:ec2::254]")

tokens = TokenCache()
"""Assumed roles' credentials, as JSON text."""


class Keys(NamedTuple):
    access_key: str
    secret_key: str
    token: str | None = None


def sign(request: UpstreamRequest, call: Call) -> None:
    """Sign a request to Bedrock or S3, or give it Bedrock's API key. Raises ApiError (500)."""
    auth = call.target.auth
    options = call.options.bedrock or BedrockOptions()
    service = _S3 if request.service == _S3 else _SERVICE
    bearer = os.environ.get("AWS_BEARER_TOKEN_BEDROCK", "").strip()
    if bearer and service != _S3 and auth.aws_access_key_id is None and not options.aws_assume_role_arn:
        request.headers["authorization"] = f"Bearer {bearer}"
        return
    region = region_of(request.url.host, options)
    try:
        keys = _keys(auth, options, region)
    except Unavailable as error:
        raise refused("AWS credentials", error) from None
    sign_with(request, keys, region, service)


def region_of(host: str, options: BedrockOptions) -> str:
    """The region to sign for. Raises ApiError (500) where nothing names one."""
    match = _HOST_REGION.search(host)
    region = (
        options.aws_region
        or (match[1] if match else None)
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
    )
    if not region:
        raise ApiError(
            500,
            "model.options.bedrock.aws_region must be set for provider bedrock",
            code="invalid_configuration",
        )
    return region


def sign_with(request: UpstreamRequest, keys: Keys, region: str, service: str) -> None:
    """Add Signature Version 4 headers, in place."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = request.url
    headers = {name: request.headers[name] for name in _SIGNED if name in request.headers}
    headers["host"] = url.authority
    # botocore encodes the path once more for the signature, as AWS wants it of a path that is sent encoded.
    signed = AWSRequest(request.method, f"{url.scheme}://{url.authority}{url.target}", headers, request.body)
    # S3 alone wants its path encoded once, and the body's hash as a header.
    method = S3SigV4Auth if service == _S3 else SigV4Auth
    method(Credentials(keys.access_key, keys.secret_key, keys.token), service, region).add_auth(signed)
    for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-SHA256"):
        value = signed.headers.get(name)
        if value is not None:
            request.headers[name.lower()] = value


def _keys(auth: Auth, options: BedrockOptions, region: str) -> Keys:
    base = _base_keys(auth)
    if not options.aws_assume_role_arn:
        return base()
    key = (
        auth.aws_access_key_id,
        auth.aws_secret_access_key,
        options.aws_assume_role_arn,
        options.aws_role_session_name,
        options.aws_sts_endpoint_url,
        region,
    )
    return Keys(*loads(tokens.get(key, lambda: _assume_role(base(), options, region))))


def fresh_keys(auth: Auth, options: BedrockOptions, region: str) -> Keys:
    """The same, without what is kept of assumed roles: may block a thread of its own. Raises Unavailable."""
    keys = _base_keys(auth)()
    if not options.aws_assume_role_arn:
        return keys
    return Keys(*loads(_assume_role(keys, options, region).value))


def presigned(url: str, keys: Keys, region: str, service: str, seconds: int) -> str:
    """A GET of this URL, good for so long, with its signature in the query."""
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("GET", url)
    credentials = Credentials(keys.access_key, keys.secret_key, keys.token)
    SigV4QueryAuth(credentials, service, region, expires=seconds).add_auth(request)
    return str(request.url)


def _base_keys(auth: Auth) -> Callable[[], Keys]:
    access, secret = auth.aws_access_key_id, auth.aws_secret_access_key
    if access is None and secret is None:
        return _chain_keys
    if not access or not secret:
        raise Unavailable("auth.aws_access_key_id and auth.aws_secret_access_key must both have a value")
    return lambda: Keys(access, secret)


def _chain_keys() -> Keys:
    """From botocore's chain: environment, profile, web identity, container, instance. It caches and
    refreshes."""
    try:
        credentials = _chain.credentials()
        if credentials is None:
            raise Unavailable("AWS's default credential chain found none")
        frozen = credentials.get_frozen_credentials()
    except Unavailable:
        raise
    except Exception as error:
        # BotoCoreError, ClientError of a role that STS refuses, OSError of a token's file, …
        raise Unavailable(f"AWS's default credential chain: {type(error).__name__}") from None
    return Keys(frozen.access_key, frozen.secret_key, frozen.token)


class _Chain:
    """The default chain's credentials, looked for once; what is not found is looked for again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None
        self._asked = -_NOT_FOUND

    def credentials(self) -> Any:
        if self._found is None:
            with self._lock:
                if self._found is None and time.monotonic() - self._asked >= _NOT_FOUND:
                    try:
                        self._found = _session().get_credentials()
                    finally:
                        self._asked = time.monotonic()
        return self._found

    def forget(self) -> None:
        """Look anew: the environment has changed."""
        self._found = None
        self._asked = -_NOT_FOUND
        _session.cache_clear()


@cache
def _session() -> Any:
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    session.set_default_client_config(
        Config(connect_timeout=_STEP, read_timeout=_STEP, retries={"total_max_attempts": 2})
    )
    if _IMDS_V1 not in os.environ:
        # Its answers are open to whoever gets a request sent there; with version 2 nobody can who cannot
        # send a PUT and read what comes back.
        session.set_config_variable("ec2_metadata_v1_disabled", True)
    _ask_metadata_directly()
    return session


def _ask_metadata_directly() -> None:
    """No proxy of the environment is to see an instance's credentials, which come in the clear: botocore
    would ask it, where `no_proxy` does not name the metadata service."""
    if not getproxies():
        return
    for name in ("no_proxy", "NO_PROXY"):
        kept = os.environ.get(name, "")
        if kept.strip() != "*":
            own = [host for host in _METADATA_HOSTS if host not in kept]
            os.environ[name] = ",".join([*filter(None, [kept]), *own])


_chain = _Chain()


def _assume_role(base: Keys, options: BedrockOptions, region: str) -> Token:
    form = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": options.aws_assume_role_arn or "",
        "RoleSessionName": options.aws_role_session_name or _SESSION_NAME,
    }
    endpoint = options.aws_sts_endpoint_url or _sts_endpoint(region)
    try:
        url = Url.parse(endpoint)
    except ValueError:
        raise Unavailable("model.options.bedrock.aws_sts_endpoint_url is not an absolute URL") from None
    request = UpstreamRequest("POST", url, {"content-type": _FORM}, urlencode(form).encode())
    sign_with(request, base, _sts_region(url.host, region), "sts")
    answer = fetch("POST", f"{url.scheme}://{url.authority}{url.target}", request.headers, request.body)
    try:
        document = ElementTree.fromstring(answer.body)
    except ElementTree.ParseError:
        raise Unavailable(f"STS answered with status {answer.status}") from None
    if answer.status != 200:
        raise Unavailable(
            f"STS answered with status {answer.status} ({_text(document, 'Code') or 'no code'})"
        )
    values = [_text(document, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    if not all(values):
        raise Unavailable("STS answered without credentials")
    return Token(dumps_text(values), _lifetime(_text(document, "Expiration")))


def _sts_endpoint(region: str) -> str:
    return f"https://sts.{region}.{aws_domain(region)}/"


def _sts_region(host: str, otherwise: str) -> str:
    """The region to sign for: the endpoint's own; the global endpoint is in us-east-1."""
    match = _STS_HOST.match(host)
    if match is None:
        return otherwise
    return match[1] or "us-east-1"


def _text(document: ElementTree.Element, name: str) -> str | None:
    """The text of the first element of this name, in whatever namespace."""
    for element in document.iter():
        if element.tag.rpartition("}")[2] == name:
            return element.text
    return None


def _lifetime(expiration: str | None) -> float:
    """Seconds until STS's time; a minute where it is not to be read."""
    try:
        ends = datetime.fromisoformat(expiration or "")
    except ValueError:
        return 60.0
    if ends.tzinfo is None:
        ends = ends.replace(tzinfo=UTC)
    return max((ends - datetime.now(UTC)).total_seconds(), 1.0)
