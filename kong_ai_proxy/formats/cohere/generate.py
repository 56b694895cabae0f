"""Cohere's generate: text completions. Source: https://docs.cohere.com/v1/reference/generate."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import UsageSource
from ..base import StreamDecoder, StreamItem
from ..over_chat import single_prompt
from ..pivot import (
    completion,
    integer,
    merged_body,
    not_an_answer,
    obj,
    objects,
    text,
    utf8_size,
)
from ..streams import NDJSONStream
from .common import drop_unknown, finish_reason, read_error, read_usage, sampling, stream_error

_SAME = ("temperature", "seed", "frequency_penalty", "presence_penalty", "stream")
_RENAMED = {"top_p": "p", "top_k": "k", "n": "num_generations"}
_OWN = ("truncate", "preset", "raw_prompting", "return_likelihoods", "p", "k", "num_generations")
_HANDLED = frozenset(
    {
        *_SAME,
        *_RENAMED,
        *_OWN,
        "model",
        "prompt",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "stream_options",
    }
)


class Generate:
    """The completions operation by POST /v1/generate."""

    format = "cohere"
    lines = True
    """Its streams are lines of JSON."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        request: Json = {"model": call.model, "prompt": single_prompt(body)}
        # `stop_sequences` are kept in the text; OpenAI's `stop` and Cohere's `end_sequences` are cut off.
        request |= sampling(body, (*_SAME, *_OWN), _RENAMED, stops="end_sequences")
        drop_unknown(body, _HANDLED, call)
        return request

    def response(self, body: Json, call: Call) -> Json:
        generations = body.get("generations") if isinstance(body, dict) else None
        if not isinstance(generations, list):
            raise not_an_answer("Cohere")
        call.usage = read_usage(body.get("meta"))
        choices = []
        for index, one in enumerate(objects(generations)):
            said = text(one.get("text"))
            call.output_bytes += utf8_size(said)
            reason = finish_reason(one.get("finish_reason"), 0)
            choices.append({"index": index, "text": said, "logprobs": None, "finish_reason": reason})
        return {**completion(call, choices, id=text(body.get("id"))), "object": "text_completion"}

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


class _Stream(NDJSONStream):
    provider = "Cohere"

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._id = ""

    def take(self, body: Json, made: list[StreamItem]) -> None:
        kind = body.get("event_type")
        if kind == "stream-end":
            self._end(body, made)
        elif kind == "stream-error" or (kind is None and "message" in body):
            self.fail(stream_error(text(body.get("err")) or text(body.get("message"))), made)
        elif kind is None and "generations" in body:
            # A whole answer, from who does not stream.
            for index, one in enumerate(objects(body["generations"])):
                self._say(one, index, made)
            self._end({"response": body}, made)
        else:
            self._say(body, integer(body.get("index")) or 0, made)

    def _say(self, one: Json, index: int, made: list[StreamItem]) -> None:
        if said := text(one.get("text")):
            self.call.output_bytes += utf8_size(said)
            choice = {"index": index, "text": said}
            made.append(self._chunk([{**choice, "logprobs": None, "finish_reason": None}]))

    def _end(self, body: Json, made: list[StreamItem]) -> None:
        self.ended = True
        whole = obj(body.get("response"))
        self.call.usage = read_usage(whole.get("meta"))
        generations = objects(whole.get("generations")) or [body]
        reasons = [
            finish_reason(one.get("finish_reason") or body.get("finish_reason"), 0) for one in generations
        ]
        self.call.finish_reasons = reasons
        choices = [
            {"index": index, "text": "", "logprobs": None, "finish_reason": reason}
            for index, reason in enumerate(reasons)
        ]
        made.append(self._chunk(choices))
        if self.call.usage.source is not UsageSource.NONE:
            made.append({**self._chunk([]), "usage": self.call.usage.to_openai()})

    def _chunk(self, choices: list[Json]) -> Json:
        call = self.call
        if not self._id:
            self._id = call.response_id = call.new_id("cmpl-")
        return {
            "id": self._id,
            "object": "text_completion",
            "created": call.created,
            "model": call.model,
            "choices": choices,
        }


GENERATE = Generate()
