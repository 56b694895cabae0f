"""Logins to a cloud's managed Redis with the cloud's identities (`redis.cloud_authentication`).

AWS
    ElastiCache takes a presigned request for the action `connect` as the password, good for 15 minutes:
    https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html.
Google Cloud
    Memorystore takes an access token: https://cloud.google.com/memorystore/docs/cluster/about-iam-auth.
Azure
    Azure Managed Redis takes a token for its own scope as the password of the identity's object id:
    https://learn.microsoft.com/azure/redis/entra-for-authentication.

Which field means what: https://developer.konghq.com/plugins/ai-proxy-advanced/, "Using cloud authentication
with Redis".
"""

from __future__ import annotations

import base64
import os
import threading
import time
from typing import Final
from urllib.parse import urlencode

from ..config.models import Auth, BedrockOptions, Redis, RedisCloudAuthentication
from ..core.json import JSONDecodeError, loads
from . import aws, azure, google
from .tokens import Token, Unavailable

RENEWED: Final = 240.0
"""Seconds after which a connection should be made anew: every cloud's tokens live longer than that."""
_AWS_LIFETIME: Final = 900
"""Seconds; the longest that ElastiCache takes."""
_AZURE_RESOURCE: Final = "https://redis.azure.com"
_MEMORISED: Final = 60.0
"""Seconds for which a token is used again: a cluster's connections come at the same time."""


class RedisLogin:
    """A credential provider as redis-py wants it. It blocks its thread for as long as a token takes."""

    @classmethod
    def of(cls, settings: Redis) -> RedisLogin | None:
        """None where username and password are all there is."""
        cloud = settings.cloud_authentication
        if cloud is None or cloud.auth_provider is None:
            return None
        return cls(cloud, settings.username)

    def __init__(self, cloud: RedisCloudAuthentication, username: str | None) -> None:
        self._cloud = cloud
        self._username = username
        self._auth = Auth(
            aws_access_key_id=cloud.aws_access_key_id,
            aws_secret_access_key=cloud.aws_secret_access_key,
            azure_client_id=cloud.azure_client_id,
            azure_client_secret=cloud.azure_client_secret,
            azure_tenant_id=cloud.azure_tenant_id,
            gcp_service_account_json=cloud.gcp_service_account_json,
        )
        self._token: str = ""
        self._good_until = 0.0
        self._lock = threading.Lock()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Username and password, or a password alone. Raises Unavailable, whose text holds no secret."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                token = self._fetch()
                self._token = token.value
                self._good_until = time.monotonic() + min(_MEMORISED, token.lifetime / 2)
            token_text = self._token
        username = self._username
        if not username and self._cloud.auth_provider == "azure":
            username = _object_id(token_text)
        return (username, token_text) if username else (token_text,)

    def _fetch(self) -> Token:
        match self._cloud.auth_provider:
            case "aws":
                return self._aws()
            case "azure":
                return azure.fetch_for(self._auth, _AZURE_RESOURCE)
            case _:
                return google.fetch_for(self._auth)

    def _aws(self) -> Token:
        cloud = self._cloud
        region = (
            cloud.aws_region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
        )
        if not region:
            raise Unavailable("cloud_authentication.aws_region has no value, nor has AWS_REGION")
        if not cloud.aws_cache_name or not self._username:
            raise Unavailable("cloud_authentication.aws_cache_name and username must have values")
        role = BedrockOptions(
            aws_assume_role_arn=cloud.aws_assume_role_arn,
            aws_role_session_name=cloud.aws_role_session_name,
        )
        keys = aws.fresh_keys(self._auth, role, region)
        parameters = {"Action": "connect", "User": self._username}
        if cloud.aws_is_serverless:
            parameters["ResourceType"] = "ServerlessCache"
        url = f"https://{cloud.aws_cache_name}/?{urlencode(parameters)}"
        signed = aws.presigned(url, keys, region, "elasticache", _AWS_LIFETIME)
        return Token(signed.removeprefix("https://"), _AWS_LIFETIME)


def _object_id(token: str) -> str | None:
    """The identity's object id, which is its name at Azure's Redis: the token's claim `oid`
    (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference)."""
    parts = token.split(".")
    try:
        claims = loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError, JSONDecodeError):
        return None
    found = claims.get("oid") if isinstance(claims, dict) else None
    return found if isinstance(found, str) else None
