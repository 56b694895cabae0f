"""Errors a client may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self


class ApiError(Exception):
    """An error to show the client, in whatever format the client speaks.

    `status` is the HTTP status; `type`, `code` and `param` are the fields of OpenAI's error object
    (https://platform.openai.com/docs/guides/error-codes). `headers` are kept from the provider's answer
    (`retry-after`, rate limits). The message must never hold a credential or an internal address.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or default_type(status)
        self.code = code
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})

    def to_keep(self) -> Self:
        """Itself, without the frames that it was raised through: they hold whoever keeps it, and so it would
        be left to the garbage collector with all of them."""
        self.__traceback__ = self.__context__ = None
        return self


class BadRequest(ApiError):
    """The client's request cannot be served as it is: 400 unless said otherwise."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400):
        super().__init__(status, message, param=param, code=code)


class TruncatedStream(Exception):
    """A provider's stream ended before its answer did. The client must not take it for complete."""


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def default_type(status: int) -> str:
    """OpenAI's error type for an HTTP status."""
    if status in _TYPES:
        return _TYPES[status]
    return "server_error" if status >= 500 else "invalid_request_error"
