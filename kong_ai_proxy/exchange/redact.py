"""Configured credentials, taken out of what a provider says about them."""

from __future__ import annotations

import re
from typing import Final

from ..config.models import Auth

_REDACTED: Final = b"[redacted]"
_SHORTEST: Final = 8
"""Characters below which a value is no credential worth looking for (and might be an everyday word)."""
_BASE64: Final = re.compile(
    rb'"(?:[A-Za-z0-9+/]{1024,}={0,2}|data:[^",]{1,100},[A-Za-z0-9+/=]{1024,})(?:"|\Z)'
)
"""A text of nothing else, also where the body was cut off within it."""
_ELIDED: Final = b'"[base64 not logged]"'
_SECRET_FIELDS: Final = (
    "header_value",
    "param_value",
    "aws_access_key_id",
    "aws_secret_access_key",
    "azure_client_secret",
)


def redact(body: bytes, auth: Auth) -> bytes:
    """The body without any credential of this target, should the provider repeat one in an error."""
    for name in _SECRET_FIELDS:
        value = getattr(auth, name)
        if not value:
            continue
        secret = value.rpartition(" ")[2].encode()
        if len(secret) >= _SHORTEST and secret in body:
            body = body.replace(secret, _REDACTED)
    return body


def without_base64(body: bytes) -> bytes:
    """A JSON body, or events, as they may be logged: images and sound have no place there."""
    return _BASE64.sub(_ELIDED, body)
