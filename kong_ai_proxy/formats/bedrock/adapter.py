"""Converse as a provider's wire form."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder
from .errors import read_error
from .request import build_request
from .response import read_answer
from .stream import ConverseDecoder


class ConverseAdapter:
    """Chat over Converse and ConverseStream."""

    format = "bedrock"

    def request(self, body: Json, call: Call) -> Json:
        return build_request(body, call)

    def response(self, body: Json, call: Call) -> Json:
        return read_answer(body, call)

    def stream(self, call: Call) -> StreamDecoder:
        return ConverseDecoder(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body, call)
