"""The few HTTP requests that credentials need: token endpoints and metadata servers."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple
from urllib.parse import urlencode

from ..core.http import Url
from ..core.json import Json, JSONDecodeError, loads
from .tokens import Token, Unavailable

_TIMEOUT: Final = 10.0
"""Seconds for each step: connect, send, receive."""
_LARGEST: Final = 1024 * 1024
_SHORTEST_LIFE: Final = 1.0


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def fetch(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    timeout: float = _TIMEOUT,
) -> Answer:
    """One request, no redirects, TLS verified. Raises Unavailable where no answer comes."""
    try:
        target = Url.parse(url)
    except ValueError:
        raise Unavailable("the token endpoint's URL is not an absolute http(s) URL") from None
    connection: http.client.HTTPConnection
    if target.tls:
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=timeout, context=_tls())
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    try:
        connection.request(method, target.target, body, dict(headers))
        answer = connection.getresponse()
        data = answer.read(_LARGEST + 1)
        kept = {name.lower(): value for name, value in answer.getheaders()}
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{target.host}: {type(error).__name__}") from None
    finally:
        connection.close()
    if len(data) > _LARGEST:
        raise Unavailable(f"{target.host} answered with more than {_LARGEST} bytes")
    return Answer(answer.status, kept, data)


def fetch_token(
    method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
) -> Token:
    """An OAuth 2.0 access token (RFC 6749 section 5) from its endpoint. Raises Unavailable."""
    body = None
    if form is not None:
        body = urlencode(form).encode()
        headers = {**headers, "content-type": "application/x-www-form-urlencoded"}
    answer = fetch(method, url, headers, body)
    try:
        parsed = loads(answer.body)
    except JSONDecodeError:
        parsed = None
    said: Json = parsed if isinstance(parsed, dict) else {}
    if answer.status != 200:
        code = said.get("error")
        raise Unavailable(
            f"{Url.parse(url).host} answered with status {answer.status}"
            + (f" ({code[:80]})" if isinstance(code, str) and code.isprintable() else "")
        )
    token = said.get("access_token")
    if not isinstance(token, str) or not token.strip() or not token.isprintable():
        raise Unavailable(f"{Url.parse(url).host} answered without an access token")
    # Azure's metadata server sends the number as text.
    try:
        lifetime = float(said.get("expires_in") or 0)
    except (TypeError, ValueError):
        lifetime = 0.0
    return Token(token, max(lifetime, _SHORTEST_LIFE))


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
