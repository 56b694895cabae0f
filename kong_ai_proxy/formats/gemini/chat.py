"""The chat adapter for generateContent."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder
from .errors import google_error
from .request import generate_content
from .response import chat_completion
from .stream import ChatStream


class GeminiChat:
    """Chat over generateContent and streamGenerateContent. Public API and Vertex differ in details only."""

    format = "gemini"

    def __init__(self, vertex: bool) -> None:
        self._vertex = vertex

    def request(self, body: Json, call: Call) -> Json | bytes:
        return generate_content(body, call, self._vertex)

    def response(self, body: Json, call: Call) -> Json:
        return chat_completion(body, call, self._vertex)

    def stream(self, call: Call) -> StreamDecoder:
        return ChatStream(call, self._vertex)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return google_error(status, headers, body)


PUBLIC_CHAT = GeminiChat(vertex=False)
VERTEX_CHAT = GeminiChat(vertex=True)
