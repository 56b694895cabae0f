"""The provider side for everyone who speaks OpenAI's form, each with a dialect."""

from __future__ import annotations

from functools import cache

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder
from .answer import chat_answer, embeddings_answer, text_answer
from .dialect import Dialect
from .errors import read_error
from .request import request_body
from .stream import OpenAIStream

_ANSWERS = {"chat": chat_answer, "completions": text_answer, "embeddings": embeddings_answer}
_STREAMS = {"chat": "chat.completion.chunk", "completions": "text_completion"}


class OpenAIAdapter:
    """See `formats.base.Adapter`. One for each operation and dialect (`openai_adapter`)."""

    format = "openai"

    def __init__(self, operation: str, dialect: Dialect) -> None:
        self.operation = operation
        self.dialect = dialect
        self._answer = _ANSWERS[operation]

    def request(self, body: Json, call: Call) -> Json | bytes:
        return request_body(body, call, self.dialect)

    def response(self, body: Json, call: Call) -> Json:
        return self._answer(body, call, self.dialect)

    def stream(self, call: Call) -> StreamDecoder:
        return OpenAIStream(call, self.dialect, _STREAMS.get(self.operation, "chat.completion.chunk"))

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body, call)


@cache
def openai_adapter(operation: str, dialect: Dialect) -> OpenAIAdapter:
    """The adapter of "chat", "completions" or "embeddings" in a dialect. KeyError for other operations."""
    return OpenAIAdapter(operation, dialect)
