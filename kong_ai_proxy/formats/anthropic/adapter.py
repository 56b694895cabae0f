"""The Messages API as a provider's wire form."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder
from .errors import read_error
from .flavor import ANTHROPIC, Flavor
from .request import build_request
from .response import read_answer
from .stream import MessagesDecoder


class MessagesAdapter:
    """Chat over the Messages API: Anthropic itself, or one of its other hosts (`flavor`)."""

    format = "anthropic"

    def __init__(self, flavor: Flavor = ANTHROPIC) -> None:
        self._flavor = flavor

    def request(self, body: Json, call: Call) -> Json:
        return build_request(body, call, self._flavor)

    def response(self, body: Json, call: Call) -> Json:
        return read_answer(body, call)

    def stream(self, call: Call) -> StreamDecoder:
        return MessagesDecoder(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body, call)
