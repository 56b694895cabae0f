"""The few HTTP requests that credentials need: token endpoints and metadata servers."""

from __future__ import annotations

import http.client
import math
import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple
from urllib.parse import urlencode

from ..core.http import Url
from ..core.json import Json, JSONDecodeError, loads
from .tokens import Token, Unavailable

_TIMEOUT: Final = 10.0
"""Seconds for each step: connect, send, receive; and for the whole answer."""
_LARGEST: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
_SHORTEST_LIFE: Final = 1.0
_UNKNOWN_LIFE: Final = 60.0
_LONGEST_LIFE: Final = 86_400.0
"""Seconds that a token is kept at least, where nobody says how long it lives, and at most."""


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
        data = _read(answer, time.monotonic() + timeout)
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
    return Token(token, _lifetime(said))


def _lifetime(said: Json) -> float:
    """Seconds, as far as the answer tells: `expires_in`, or App Service's `expires_on`, in Unix seconds
    (https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference). Azure's
    metadata server sends the numbers as text."""
    seconds = _number(said.get("expires_in"))
    if seconds is None and (ends := _number(said.get("expires_on"))) is not None:
        seconds = ends - time.time()
    if seconds is None:
        return _UNKNOWN_LIFE
    return min(max(seconds, _SHORTEST_LIFE), _LONGEST_LIFE)


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body, up to a byte more than is accepted. Raises TimeoutError where it only drips in."""
    pieces: list[bytes] = []
    size = 0
    while size <= _LARGEST and (piece := answer.read1(_PIECE)):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(pieces)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
