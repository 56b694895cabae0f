"""Bedrock's errors: `message` in the body, the exception's name in a header; inside streams, a frame.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html; recordings
bedrock/converse/002, 003, 016, 018.
"""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError, default_type
from ...core.http import Headers
from ...wire.eventstream import Frame
from ..pivot import decoded, error_text, integer, kept_headers, obj, text

_STATUS = {
    "internalServerException": 500,
    "modelStreamErrorException": 502,
    "modelTimeoutException": 504,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
"""Exceptions inside a stream → HTTP status. AWS's own 424 for a failing model is a bad gateway here."""

_TYPES = {
    "ThrottlingException": "rate_limit_error",
    "ServiceQuotaExceededException": "rate_limit_error",
    "ModelNotReadyException": "rate_limit_error",
    "UnrecognizedClientException": "authentication_error",
    "InvalidSignatureException": "authentication_error",
    "IncompleteSignatureException": "authentication_error",
    "ExpiredTokenException": "authentication_error",
    "MissingAuthenticationTokenException": "authentication_error",
    "ModelErrorException": "server_error",
    "ModelTimeoutException": "server_error",
}


def read_error(status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
    """A whole error answer. Its status is kept; the exception's name becomes the code."""
    parsed = decoded(body)
    found = obj(parsed)
    name = headers.get("x-amzn-errortype", "") or text(found.get("__type"))
    name = name.partition(":")[0].rpartition("#")[2]
    message = text(found.get("message")) or text(found.get("Message"))
    if not message:
        message = error_text(body) if parsed is None else ""
    kept = kept_headers(headers)
    if identity := headers.get("x-amzn-requestid"):
        kept["x-amzn-requestid"] = identity
    return ApiError(
        status,
        message or f"{call.provider} answered with status {status}",
        type=_TYPES.get(name) or default_type(status),
        code=name or None,
        headers=kept,
    )


def read_frame_error(frame: Frame) -> ApiError:
    """An exception or error frame inside a stream that began with status 200."""
    found = obj(decoded(frame.payload))
    name = frame.name
    status = integer(found.get("originalStatusCode")) or _STATUS.get(name[:1].lower() + name[1:], 502)
    message = text(found.get("message")) or text(found.get("originalMessage"))
    message = message or text(frame.headers.get(":error-message")) or "the provider's stream failed"
    name = name[:1].upper() + name[1:]
    return ApiError(
        status if 400 <= status < 600 else 502,
        message,
        type=_TYPES.get(name) or default_type(status),
        code=name or None,
    )
