"""Gemini's answers for clients that speak Gemini themselves: read on the way, never changed.

Sources: https://ai.google.dev/api/generate-content, …/embeddings, …/tokens;
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api (`predict`).
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..anthropic.observer import MessagesReader, note_message
from ..base import StreamObserver
from ..passing import PassingObserver, Reader
from ..pivot import integer, number, obj, objects, text, utf8_size
from .errors import api_error, error_object
from .response import Candidate, identity
from .usage import UsageReader


class GenerateReader(Reader):
    """generateContent, whole or streamed."""

    def __init__(self, call: Call, vertex: bool = False) -> None:
        super().__init__(call)
        self._vertex = vertex
        self._usage = UsageReader()
        self._candidates: dict[int, Candidate] = {}
        self._blocked = False

    @property
    def complete(self) -> bool:
        if not self._candidates:
            return self._blocked
        return all(candidate.reason for candidate in self._candidates.values())

    def whole(self, body: Any) -> None:
        self.event(body)
        self.end()

    def event(self, body: Any) -> None:
        error = error_object(body)
        if error is not None:
            self.failed = api_error(error)
            return
        body, call = obj(body), self.call
        known = identity(body)
        call.response_id = known["id"] or call.response_id
        call.response_model = known["model"] or call.response_model
        self._usage.take(body.get("usageMetadata"))
        self._blocked = self._blocked or obj(body.get("promptFeedback")).get("blockReason") is not None
        for position, piece in enumerate(objects(body.get("candidates"))):
            index = integer(piece.get("index"))
            index = position if index is None else index
            candidate = self._candidates.get(index)
            if candidate is None:
                candidate = self._candidates[index] = Candidate(call, index, self._vertex)
            candidate.take(piece)

    def end(self) -> None:
        call = self.call
        found = self._usage.usage()
        if found.source is not UsageSource.NONE or found.service_tier:
            call.usage = found
        call.finish_reasons = [
            candidate.finish_reason() for candidate in self._candidates.values() if candidate.reason
        ]
        if self._blocked and not self._candidates:
            call.finish_reasons = ["content_filter"]


class EmbeddingsReader(Reader):
    """embedContent, batchEmbedContents, and Vertex's predict."""

    def whole(self, body: Any) -> None:
        body, call = obj(body), self.call
        reader = UsageReader()
        reader.take(body.get("usageMetadata"))
        call.usage = reader.usage()
        if call.usage.source is not UsageSource.NONE:
            return
        counts = [
            number(obj(obj(prediction.get("embeddings")).get("statistics")).get("token_count"))
            for prediction in objects(body.get("predictions"))
        ]
        known = [int(count) for count in counts if count is not None]
        if known:
            tokens = sum(known)
            call.usage = Usage(prompt_tokens=tokens, total_tokens=tokens, source=UsageSource.REPORTED)


class RawReader(Reader):
    """Vertex's rawPredict: the form of the model's publisher, Anthropic's Messages or OpenAI's."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._messages: MessagesReader | None = None
        self._stopped = False

    @property
    def complete(self) -> bool:
        return self._stopped if self._messages is None else self._messages.stopped

    def whole(self, body: Any) -> None:
        body = obj(body)
        if body.get("type") == "message":
            note_message(body, self.call)
        else:
            self._openai(body)

    def event(self, body: Any) -> None:
        body = obj(body)
        if self._messages is None and body.get("type") == "message_start":
            self._messages = MessagesReader(self.call)
        if self._messages is not None:
            self._messages.note(body)
            self.failed = self._messages.failed
        else:
            self._openai(body)

    def end(self) -> None:
        if self._messages is not None:
            self._messages.end()

    def _openai(self, body: Json) -> None:
        call = self.call
        for choice in objects(body.get("choices")):
            said = obj(choice.get("delta")) or obj(choice.get("message"))
            call.output_bytes += utf8_size(text(said.get("content")))
            if text(choice.get("finish_reason")):
                self._stopped = True
                call.finish_reasons = [choice["finish_reason"]]
        call.response_model = text(body.get("model")) or call.response_model
        found = Usage.from_openai(body.get("usage"))
        if found.source is not UsageSource.NONE:
            call.usage = found


class GenerateObserver(PassingObserver):
    """generateContent for a client that speaks it; the stream in the framing that the client asked for."""

    def __init__(self, vertex: bool) -> None:
        super().__init__(lambda call: GenerateReader(call, vertex))

    def stream(self, call: Call) -> StreamObserver:
        array = call.native is not None and call.native.json_array
        return self.array(call) if array else super().stream(call)


PUBLIC_OBSERVER: Final = GenerateObserver(vertex=False)
VERTEX_OBSERVER: Final = GenerateObserver(vertex=True)
EMBEDDINGS_OBSERVER: Final = PassingObserver(EmbeddingsReader)
RAW_OBSERVER: Final = PassingObserver(RawReader)
