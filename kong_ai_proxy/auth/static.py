"""Credentials that are there as they are: configured headers and parameters, and the client's own."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote

from ..config.models import Auth
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import UpstreamRequest
from ..core.json import JSONDecodeError, dumps, loads

_OWN_HEADERS: Final = {
    "anthropic": ("authorization", "x-api-key"),
    "azure": ("authorization", "api-key"),
    "gemini": ("authorization", "x-goog-api-key"),
}
"""Where clients of a provider's own SDK put their key; everybody else: `authorization`."""
_GOOGLE_KEY: Final = "x-goog-api-key"


def has_configured(auth: Auth) -> bool:
    """Whether a header or parameter is configured, if only by a vault reference that has no value yet."""
    return bool((auth.header_name and auth.header_value is not None) or _has_param(auth))


def _has_param(auth: Auth) -> bool:
    return bool(auth.param_name and auth.param_value is not None)


def add_configured(request: UpstreamRequest, call: Call) -> None:
    """The configured header and parameter; both where both are configured."""
    auth = call.target.auth
    if auth.header_name and auth.header_value is not None:
        request.headers[auth.header_name.lower()] = _value(auth.header_value, call)
    if auth.param_name and auth.param_value is not None:
        value = _value(auth.param_value, call)
        if auth.param_location == "body":
            _add_to_body(request, auth.param_name, value)
        else:
            _add_to_query(request, auth.param_name, value)


def overridden(request: UpstreamRequest, call: Call) -> bool:
    """Use the client's own credential in the place of the configured one, if it sent one; whether it did."""
    auth, client = call.target.auth, call.request
    if auth.header_name:
        name = auth.header_name.lower()
        if client.headers.get(name):
            request.headers[name] = client.headers[name]
            return True
    elif not auth.param_name:
        return _add_own_header(request, call)
    if auth.param_name:
        if auth.param_location == "body":
            return _body_has(request, auth.param_name)
        value = _query_value(client.query, auth.param_name)
        if value:
            _add_to_query(request, auth.param_name, value)
            return True
    return False


def add_own(request: UpstreamRequest, call: Call) -> None:
    """The target has no credential configured: the client's own goes along, where it sent one."""
    if not _add_own_header(request, call) and call.provider == "gemini":
        key = _query_value(call.request.query, "key")
        if key:
            request.headers[_GOOGLE_KEY] = key


def _add_own_header(request: UpstreamRequest, call: Call) -> bool:
    found = False
    for name in _OWN_HEADERS.get(call.provider, ("authorization",)):
        value = call.request.headers.get(name)
        if value and not value.startswith("AWS4-HMAC-SHA256"):
            # A signature is for the host the client called, which is not the provider's.
            request.headers[name] = value
            found = True
    return found


def _value(value: str, call: Call) -> str:
    if not value or not value.isprintable():
        raise ApiError(
            500,
            f"the credential configured for {call.provider} has no usable value",
            code="credential_unavailable",
        )
    return value


def _add_to_query(request: UpstreamRequest, name: str, value: str) -> None:
    if name == "key" and request.url.host.endswith(".googleapis.com"):
        # Google takes the same key as a header (https://ai.google.dev/api#authentication), and headers are
        # in no URL that anybody logs.
        request.headers[_GOOGLE_KEY] = value
        return
    request.url = request.url.with_query(quote(name, safe=""), quote(value, safe=""))


def _add_to_body(request: UpstreamRequest, name: str, value: str) -> None:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pair = f"{quote(name, safe='')}={quote(value, safe='')}".encode()
        request.body = request.body + b"&" + pair if request.body else pair
        return
    body = _json_object(request.body)
    if body is None:
        raise ApiError(
            500,
            "auth.param_location is body, but this request has no JSON body",
            code="credential_unavailable",
        )
    body[name] = value
    request.body = dumps(body)


def _body_has(request: UpstreamRequest, name: str) -> bool:
    body = _json_object(request.body)
    return body is not None and isinstance(body.get(name), str) and bool(body[name])


def _json_object(data: bytes) -> dict[str, object] | None:
    try:
        body = loads(data)
    except JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _query_value(query: str, name: str) -> str | None:
    for found, value in parse_qsl(query):
        if found == name:
            return value
    return None
