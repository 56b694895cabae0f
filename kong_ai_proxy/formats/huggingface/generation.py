"""Text generation: `{"inputs", "parameters"}` → `generated_text`, streamed as tokens.

Sources: https://huggingface.co/docs/api-inference/tasks/text-generation and
https://huggingface.github.io/text-generation-inference; recordings huggingface/native-inference.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..base import StreamDecoder, StreamItem
from ..json_mode import drop_description
from ..llama2.prompt import chat_prompt, model_answer, template_for
from ..over_chat import single_prompt
from ..pivot import (
    chosen_functions,
    completion,
    count,
    items,
    merged_body,
    not_an_answer,
    note_unsaid,
    number,
    obj,
    objects,
    stop_list,
    text,
    token_limit,
    utf8_size,
)
from ..streams import SSEStream
from .errors import error_in_stream, error_message, read_error

FINISH_REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop", "stop": "stop"}

_PARAMETERS = (
    "temperature", "top_k", "top_p", "seed", "frequency_penalty", "repetition_penalty", "typical_p",
    "truncate", "watermark", "do_sample", "best_of", "top_n_tokens", "grammar", "adapter_id",
    "max_new_tokens", "return_full_text", "max_time", "num_return_sequences",
)  # fmt: skip
_HANDLED = frozenset(
    {
        *_PARAMETERS, "model", "messages", "prompt", "stream", "stream_options", "max_tokens",
        "max_completion_tokens", "stop", "response_format", "parameters", "options", "n",
    }
)  # fmt: skip

_MESSAGE_KEYS = frozenset(
    {"role", "content", "refusal", "tool_call_id", "annotations", "provider_specific_fields"}
)


class TextGeneration:
    """Chat (through a prompt template) or completions on a text generation endpoint."""

    format = "huggingface"
    lists = True
    """Whole answers may be lists."""

    def __init__(self, chat: bool, *, details: bool = True) -> None:
        self._chat = chat
        self._details = details
        """Ask for TGI's `details`: finish reason and token counts."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        prompt = self.prompt(body, call)
        parameters = self._parameters(body, call)
        request: Json = {"inputs": prompt, "parameters": parameters}
        if call.stream:
            request["stream"] = True
        options = _options(body, call)
        if options:
            request["options"] = options
        for key, value in body.items():
            if key not in _HANDLED and value is not None:
                call.drop(key)
        for message in objects(body.get("messages")):
            note_unsaid(message, _MESSAGE_KEYS, call)
        for tool in objects(body.get("tools")):
            if "function" not in tool:
                call.drop(f"tools.{text(tool.get('type')) or 'unknown'}")
        if any(function.get("strict") for function in chosen_functions(body)):
            call.drop("tools.function.strict")
        return request

    def prompt(self, body: Json, call: Call) -> str:
        """The text to go on from."""
        return chat_prompt(body.get("messages"), call.model) if self._chat else single_prompt(body)

    def _parameters(self, body: Json, call: Call) -> Json:
        parameters: Json = {name: body[name] for name in _PARAMETERS if body.get(name) is not None}
        limit = token_limit(body)
        if limit is not None:
            parameters["max_new_tokens"] = limit
        if not number(parameters.get("temperature", 1)):
            # Zero is refused; it means: no sampling.
            del parameters["temperature"]
            parameters.setdefault("do_sample", False)
        if number(parameters.get("top_p")) == 1:
            # Refused too, and the same as none.
            del parameters["top_p"]
        stops = stop_list(body)
        if self._chat:
            stops = [*stops, *template_for(call.model).stop]
        if stops:
            parameters["stop"] = stops
        _set_grammar(parameters, body, call)
        if body.get("n") not in (None, 1):
            call.drop("n")
        if self._details:
            parameters.setdefault("return_full_text", False)
            parameters["details"] = True
        parameters.update(obj(body.get("parameters")))
        return parameters

    def response(self, body: Any, call: Call) -> Json:
        found = generations(body)
        if not found:
            message = error_message(obj(body))
            raise ApiError(502, message, code="upstream_error") if message else not_an_answer("Hugging Face")
        texts = [text(one.get("generated_text")) for one in found]
        if self._chat:
            texts = [model_answer(said, call.model) for said in texts]
        call.output_bytes += sum(utf8_size(said) for said in texts)
        call.usage = details_usage(found)
        usage = obj(obj(body).get("usage"))
        if usage:
            call.usage = Usage.from_openai(usage)
        choices = []
        for index, (one, said) in enumerate(zip(found, texts, strict=True)):
            reason = FINISH_REASONS.get(text(obj(one.get("details")).get("finish_reason")), "stop")
            choice: Json = {"index": index, "logprobs": None, "finish_reason": reason}
            if self._chat:
                choice["message"] = {"role": "assistant", "content": said, "refusal": None}
            else:
                choice["text"] = said
            choices.append(choice)
        answer = completion(call, choices)
        return answer if self._chat else {**answer, "object": "text_completion"}

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(call, self._chat)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


class _Stream(SSEStream):
    provider = "Hugging Face"

    def __init__(self, call: Call, chat: bool) -> None:
        super().__init__(call)
        self._chat = chat
        self._stops = template_for(call.model).stop if chat else ()
        self._tokens = 0

    def take(self, body: Json, made: list[StreamItem]) -> None:
        error = error_in_stream(body)
        if error is not None:
            self.fail(error, made)
            return
        token = obj(body.get("token"))
        whole = body.get("generated_text")
        said = text(token.get("text"))
        if token:
            self._tokens += 1
        elif isinstance(whole, str) and not self._tokens:
            # A server that does not stream for real.
            said = model_answer(whole, self.call.model) if self._chat else whole
        if self._chat and not self.call.output_bytes:
            said = said.lstrip()  # as of a whole answer: the template ends before a blank
        if said and token.get("special") is not True and said not in self._stops:
            self.call.output_bytes += utf8_size(said)
            made.append(self._chunk(said, None))
        if isinstance(whole, str):
            self._end(obj(body.get("details")), made)

    def _end(self, details: Json, made: list[StreamItem]) -> None:
        self.ended = True
        self.call.usage = details_usage([{"details": {"generated_tokens": self._tokens, **details}}])
        reason = FINISH_REASONS.get(text(details.get("finish_reason")), "stop")
        self.call.finish_reasons = [reason]
        made.append(self._chunk("", reason))
        if self.call.usage.source is not UsageSource.NONE:
            chunk = self.chunks.usage(self.call.usage)
            made.append(chunk if self._chat else {**chunk, "object": "text_completion"})

    def _chunk(self, said: str, reason: str | None) -> Json:
        if self._chat:
            return self.chunks.delta(0, {"content": said} if said else {}, reason)
        choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": reason}
        return {**self.chunks.delta(0, {}), "object": "text_completion", "choices": [choice]}


def generations(body: Any) -> list[Json]:
    """The generations in an answer: a list, one object, or a list under `data` (raw Llama servers)."""
    if isinstance(body, dict):
        body = body["data"] if isinstance(body.get("data"), list) else [body]
    found: list[Json] = []
    for one in items(body):
        found.extend(one_generation for one_generation in objects(one if isinstance(one, list) else [one]))
    return [one for one in found if isinstance(one.get("generated_text"), str)]


def details_usage(found: list[Json]) -> Usage:
    """From `details`. Where the prompt's length is not told, the counts stay marked as incomplete (NONE)."""
    usage = Usage()
    for one in found:
        details = obj(one.get("details"))
        usage.completion_tokens += count(details.get("generated_tokens")) or 0
        prompt = count(details.get("input_length"))
        if prompt is None and items(details.get("prefill")):
            prompt = len(details["prefill"])
        if prompt is not None:
            usage.prompt_tokens = prompt
            usage.source = UsageSource.REPORTED
    return usage


def _set_grammar(parameters: Json, body: Json, call: Call) -> None:
    """JSON schema as TGI's guidance: https://huggingface.co/docs/text-generation-inference/conceptual/guidance."""
    wanted = obj(body.get("response_format"))
    kind = wanted.get("type")
    schema = obj(wanted.get("json_schema")).get("schema")
    if kind == "json_schema" and isinstance(schema, dict):
        parameters["grammar"] = {"type": "json", "value": schema}
        drop_description(wanted, call)
    elif kind not in (None, "text"):
        call.drop("response_format")


def _options(body: Json, call: Call) -> Json:
    """`options` of the Inference API, only where configured or asked for: dedicated endpoints refuse them."""
    options: Json = {}
    configured = call.options.huggingface
    if configured is not None:
        if configured.use_cache is not None:
            options["use_cache"] = configured.use_cache
        if configured.wait_for_model is not None:
            options["wait_for_model"] = configured.wait_for_model
    options.update(obj(body.get("options")))
    return options


TEXT_CHAT = TextGeneration(chat=True)
TEXT_COMPLETIONS = TextGeneration(chat=False)
