"""The Responses API as a client's format."""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json
from ..base import StreamEncoder
from ..openai.client import CLIENT as OPENAI
from .answer import response_of
from .request import chat_request
from .stream import ResponsesEncoder


class ResponsesClient:
    """See `formats.base.ClientFormat`."""

    name = "responses"

    def request(self, body: Json, call: Call) -> Json:
        return chat_request(body, call)

    def response(self, answer: Json, call: Call) -> Json:
        return response_of(answer, call)

    def stream(self, call: Call) -> StreamEncoder:
        return ResponsesEncoder(call)

    def error(self, error: ApiError) -> Json:
        return OPENAI.error(error)


CLIENT: Final = ResponsesClient()
