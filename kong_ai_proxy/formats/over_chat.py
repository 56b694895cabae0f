"""Text completions by a chat model: the prompt is a user's message, the answer's text the completion.

For providers that have chat only. Source of the form: https://platform.openai.com/docs/api-reference/completions.
"""

from __future__ import annotations

from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Headers
from ..core.json import Json
from .base import Adapter, StreamDecoder, StreamItem
from .pivot import items, merged_body, obj, objects, text

_NO_COUNTERPART = frozenset({"best_of", "echo", "suffix", "logprobs"})


class CompletionsOverChat:
    """The completions operation through a chat adapter."""

    def __init__(self, chat: Adapter) -> None:
        self._chat = chat
        self.format = chat.format

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        messages = [{"role": "user", "content": single_prompt(body)}]
        rest = {key: value for key, value in body.items() if key != "prompt" and key not in _NO_COUNTERPART}
        for key in _NO_COUNTERPART:
            if body.get(key) not in (None, False):
                call.drop(key)
        return self._chat.request({**rest, "messages": messages}, call)

    def response(self, body: Json, call: Call) -> Json:
        answer = self._chat.response(body, call)
        return {**answer, "object": "text_completion", "choices": [_choice(one) for one in answer["choices"]]}

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(self._chat.stream(call))

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return self._chat.error(status, headers, body, call)


class _Stream:
    def __init__(self, chat: StreamDecoder) -> None:
        self._chat = chat

    def feed(self, data: bytes) -> list[StreamItem]:
        return [_chunk(item) for item in self._chat.feed(data)]

    def finish(self) -> list[StreamItem]:
        return [_chunk(item) for item in self._chat.finish()]


def single_prompt(body: Json) -> str:
    """The one prompt of a completions request. Raises BadRequest for several, and for tokens."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    prompts = items(prompt)
    if len(prompts) == 1 and isinstance(prompts[0], str):
        return prompts[0]
    raise BadRequest("prompt must be one text for this provider", param="prompt")


def _choice(choice: Json) -> Json:
    said = text(obj(choice.get("message")).get("content")) or text(obj(choice.get("delta")).get("content"))
    reason = choice.get("finish_reason")
    return {"index": choice.get("index", 0), "text": said, "logprobs": None, "finish_reason": reason}


def _chunk(item: StreamItem) -> StreamItem:
    if isinstance(item, ApiError):
        return item
    return {
        **item,
        "object": "text_completion",
        "choices": [_choice(one) for one in objects(item.get("choices"))],
    }
