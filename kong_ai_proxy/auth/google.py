"""Google's tokens: from a service account's key, or of the identity this machine runs as.

The order is Kong's: `auth.gcp_service_account_json`, the environment's GCP_SERVICE_ACCOUNT, the metadata
server; with GCP_AUTH_METHOD_ORDER=adc, application default credentials first
(https://cloud.google.com/docs/authentication/application-default-credentials). The metadata server is asked
only where no key is configured.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ..config.models import Auth
from ..core.call import Call
from ..core.http import UpstreamRequest, Url
from ..core.json import Json, JSONDecodeError, loads
from .fetch import Answer, fetch, fetch_token
from .tokens import Token, TokenCache, Unavailable, refused

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_METADATA: Final = "http://metadata.google.internal"
_METADATA_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"
_ROOT: Final = "/computeMetadata/v1"
_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"

tokens = TokenCache()


def add_google_token(request: UpstreamRequest, call: Call) -> None:
    """Raises ApiError (500)."""
    auth = call.target.auth
    try:
        key = _key_text(auth)
        name = hashlib.sha256(key.encode()).digest() if key is not None else None
        token = tokens.get((name, auth.gcp_oauth_token_url, auth.gcp_metadata_url), lambda: _fetch(key, auth))
    except Unavailable as error:
        raise refused("Google token", error) from None
    request.headers["authorization"] = f"Bearer {token}"


def fetch_for(auth: Auth) -> Token:
    """A token that nobody keeps: may block a thread of its own. Raises Unavailable."""
    return _fetch(_key_text(auth), auth)


def _key_text(auth: Auth) -> str | None:
    """The key to use as JSON text; None for the metadata server. Raises Unavailable."""
    environ = os.environ
    file = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if environ.get("GCP_AUTH_METHOD_ORDER", "").lower().startswith("adc"):
        return _read(file) if file else None
    if auth.gcp_service_account_json is not None:
        if not auth.gcp_service_account_json:
            raise Unavailable("auth.gcp_service_account_json has no value")
        return auth.gcp_service_account_json
    if text := environ.get("GCP_SERVICE_ACCOUNT"):
        return text
    return _read(file) if file else None


def _read(file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"GOOGLE_APPLICATION_CREDENTIALS: {type(error).__name__}") from None


def _fetch(key: str | None, auth: Auth) -> Token:
    if key is None:
        return fetch_token("GET", _metadata_url(auth.gcp_metadata_url), {"metadata-flavor": "Google"})
    try:
        info = loads(key)
    except JSONDecodeError:
        raise Unavailable("the service account's key is not JSON") from None
    if not isinstance(info, dict):
        raise Unavailable("the service account's key is not a JSON object")
    return _exchange(info, auth.gcp_oauth_token_url)


def _metadata_url(configured: str | None) -> str:
    """The token's address at a metadata server: `gcp_metadata_url` may be its host, its root, or all of
    it."""
    url = configured or _METADATA
    if "://" not in url:
        url = f"http://{url}"
    try:
        path = Url.parse(url).path.rstrip("/")
    except ValueError:
        raise Unavailable("auth.gcp_metadata_url is not a URL") from None
    if path in ("", _ROOT):
        return url.rstrip("/").removesuffix(_ROOT) + _METADATA_PATH
    return url


def _exchange(info: Json, token_url: str | None) -> Token:
    """A token for a key, by google-auth."""
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import credentials, service_account

    if token_url:
        info = {**info, "token_uri": token_url}
    kind = info.get("type")
    made: Any
    try:
        if kind == "service_account":
            made = _untyped(service_account.Credentials).from_service_account_info(info, scopes=[SCOPE])
        elif kind == "authorized_user":
            made = _untyped(credentials.Credentials)(
                None,
                refresh_token=info["refresh_token"],
                token_uri=info.get("token_uri") or _TOKEN_URL,
                client_id=info["client_id"],
                client_secret=info["client_secret"],
            )
        else:
            raise Unavailable("the key's type is neither service_account nor authorized_user")
    except (ValueError, KeyError, GoogleAuthError) as error:
        raise Unavailable(f"the service account's key is unusable: {type(error).__name__}") from None
    try:
        made.refresh(_transport)
    except GoogleAuthError as error:
        raise Unavailable(_reason(error)) from None
    lifetime = (made.expiry - datetime.now(UTC).replace(tzinfo=None)).total_seconds() if made.expiry else 0
    return Token(made.token, max(lifetime, 1.0))


def _untyped(library: Any) -> Any:
    """google-auth's functions have no types."""
    return library


def _reason(error: Exception) -> str:
    """google-auth's summary and OAuth's error code; never the whole answer."""
    details = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
    code = details.get("error")
    if not isinstance(code, str) or not code.isprintable():
        return type(error).__name__
    return f"{type(error).__name__} ({code[:80]})"


class _Response:
    """google.auth.transport.Response"""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.data = answer.body


def _transport(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: object,
) -> _Response:
    """google.auth.transport.Request: how google-auth talks to the token endpoint."""
    return _Response(fetch(method, url, headers or {}, body))
