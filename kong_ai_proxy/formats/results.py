"""What a batch's requests used, summed up from its results as a client of a native format reads them.

Sources: https://platform.claude.com/docs/en/api/messages/batches/results,
https://ai.google.dev/gemini-api/docs/batch-api (results inline or as a file), recordings anthropic/batches,
gemini/batches.
"""

from __future__ import annotations

from typing import Any, Final

from ..core.json import Json
from .anthropic.usage import read_usage
from .gemini.usage import UsageReader
from .openai.rest import add_usage
from .passing import PassingObserver, Reader
from .pivot import obj, objects, text


class MessageResults(Reader):
    """Lines of `{"custom_id", "result": {"type", "message"}}`. A batch itself tells no usage."""

    def event(self, body: Any) -> None:
        message = obj(obj(obj(body).get("result")).get("message"))
        used = read_usage(message.get("usage"))
        if message.get("usage"):
            self.call.response_model = text(message.get("model")) or self.call.response_model
            add_usage(self.call.usage, used)


class GenerateResults(Reader):
    """Lines of `{"key", "response"}`, or a batch that has ended, with its responses in it."""

    def whole(self, body: Any) -> None:
        batch = obj(body)
        for place in (batch.get("response"), obj(batch.get("metadata")).get("output")):
            inlined = obj(obj(place).get("inlinedResponses")).get("inlinedResponses")
            if inlined:
                for one in objects(inlined):
                    self.event(one)
                return

    def event(self, body: Any) -> None:
        answer: Json = obj(obj(body).get("response"))
        if answer.get("usageMetadata"):
            reader = UsageReader()
            reader.take(answer["usageMetadata"])
            self.call.response_model = text(answer.get("modelVersion")) or self.call.response_model
            add_usage(self.call.usage, reader.usage())


MESSAGE_RESULTS: Final = PassingObserver(MessageResults)
GENERATE_RESULTS: Final = PassingObserver(GenerateResults)
