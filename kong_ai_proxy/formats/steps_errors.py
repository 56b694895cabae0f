"""Errors of a provider's other services (storage above all), whose form is not that of its models' API."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Headers
from .bedrock.errors import read_error as read_aws_error
from .openai.errors import read_error
from .pivot import kept_headers

_CODE: Final = re.compile(rb"<Code>([^<]{1,200})</Code>")
_MESSAGE: Final = re.compile(rb"<Message>([^<]{1,2000})</Message>")


def read_step_error(status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
    """S3's errors are XML (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html); AWS's others
    have their name in a header; the rest is read as OpenAI-like errors are."""
    if body.lstrip()[:1] == b"<" and (code := _CODE.search(body)):
        message = _MESSAGE.search(body)
        said = unescape(message[1].decode("utf-8", "replace")) if message else ""
        return ApiError(
            status,
            f"storage: {said}" if said else f"{call.provider}'s storage answered with status {status}",
            code=code[1].decode("utf-8", "replace"),
            headers=kept_headers(headers),
        )
    if "x-amzn-errortype" in headers or call.provider == "bedrock":
        return read_aws_error(status, headers, body, call)
    return read_error(status, headers, body, call)
