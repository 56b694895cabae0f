"""Credentials, taken out of what a provider says about them."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote

from ..core.call import Call

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


def redact(body: bytes, call: Call) -> bytes:
    """The body without any credential of this attempt, should the provider repeat one in an error: those of
    the target's configuration, and what was fetched for the request."""
    configured = [getattr(call.target.auth, name) or "" for name in _SECRET_FIELDS]
    for value in (*configured, *call.secrets):
        secret = value.rpartition(" ")[2]
        if len(secret) >= _SHORTEST:
            for form in _forms(secret):
                if form in body:
                    body = body.replace(form, _REDACTED)
    return body


def _forms(secret: str) -> set[bytes]:
    """As it is, as JSON may have it, and as a URL does."""
    plain = secret.encode("utf-8", "surrogatepass")
    forms = {plain, json.dumps(secret)[1:-1].encode(), quote(plain, safe="").encode(), quote(plain).encode()}
    return forms | {form.replace(b"/", b"\\/") for form in forms}


def without_base64(body: bytes) -> bytes:
    """A JSON body, or events, as they may be logged: images and sound have no place there."""
    return _BASE64.sub(_ELIDED, body)
