"""Ollama's /api/generate. Source: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-completion."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import UsageSource
from ..base import StreamDecoder, StreamItem
from ..over_chat import single_prompt
from ..pivot import completion, merged_body, not_an_answer, text, unix_time, utf8_size
from ..streams import NDJSONStream
from .common import HANDLED, common_request, finish_reason, read_error, read_usage

_OWN = ("suffix", "system", "template", "context", "raw", "images")
_HANDLED = HANDLED | {"prompt", *_OWN}


class OllamaGenerate:
    """The completions operation."""

    format = "ollama"
    lines = True
    """Its streams are lines of JSON."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        request = common_request(body, call)
        # OpenAI's `logprobs` is a number here, Ollama's is yes or no.
        top = body.get("logprobs")
        if isinstance(top, int) and not isinstance(top, bool):
            del request["logprobs"]
            call.drop("logprobs")
        request["prompt"] = single_prompt(body)
        for name in _OWN:
            if body.get(name) is not None:
                request[name] = body[name]
        for key, value in body.items():
            if key not in _HANDLED and value is not None:
                call.drop(key)
        return request

    def response(self, body: Json, call: Call) -> Json:
        said = body.get("response") if isinstance(body, dict) else None
        if not isinstance(said, str):
            raise not_an_answer("Ollama")
        call.usage = read_usage(body)
        call.output_bytes += utf8_size(said)
        choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": finish_reason(body)}
        created = unix_time(body.get("created_at"))
        answer = completion(call, [choice], model=text(body.get("model")), created=created)
        return {**answer, "object": "text_completion"}

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


class _Stream(NDJSONStream):
    provider = "Ollama"

    def take(self, body: Json, made: list[StreamItem]) -> None:
        if body.get("error"):
            self.fail(ApiError(502, text(body["error"]) or "Ollama broke off", code="upstream_error"), made)
            return
        self.chunks.identify(model=text(body.get("model")), created=unix_time(body.get("created_at")))
        said = text(body.get("response"))
        if said:
            self.call.output_bytes += utf8_size(said)
            made.append(self._chunk(said, None))
        if body.get("done") is True:
            self.ended = True
            self.call.usage = read_usage(body)
            reason = finish_reason(body)
            self.call.finish_reasons = [reason]
            made.append(self._chunk("", reason))
            if self.call.usage.source is not UsageSource.NONE:
                made.append({**self.chunks.usage(self.call.usage), "object": "text_completion"})

    def _chunk(self, said: str, reason: str | None) -> Json:
        chunk = self.chunks.delta(0, {})
        choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": reason}
        return {**chunk, "object": "text_completion", "choices": [choice]}


GENERATE = OllamaGenerate()
