"""What Ollama's chat and generate have in common.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md and api/types.go there.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..json_mode import drop_description
from ..pivot import (
    count,
    decoded,
    error_text,
    items,
    kept_headers,
    number,
    obj,
    objects,
    stop_list,
    text,
    token_limit,
)

FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "load": "stop",
    "unload": "stop",
    "tool_calls": "tool_calls",
}

_SAMPLING = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
_OPTIONS = (
    "num_ctx", "num_keep", "num_predict", "num_batch", "num_gpu", "num_thread", "main_gpu", "use_mmap",
    "min_p", "typical_p", "repeat_last_n", "repeat_penalty", "mirostat", "mirostat_eta", "mirostat_tau",
    "tfs_z",
)  # fmt: skip
"""Ollama's own options, understood at the top level too."""

_OWN = ("keep_alive", "truncate", "shift", "logprobs", "top_logprobs")

HANDLED = frozenset(
    {
        *_SAMPLING, *_OPTIONS, *_OWN, "model", "stream", "stream_options", "options", "format", "think",
        "max_tokens", "max_completion_tokens", "stop", "response_format", "reasoning_effort", "thinking", "n",
    }
)  # fmt: skip

_EFFORTS: dict[str, bool | str] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max",
    "ultra": "max", "max": "max",
}  # fmt: skip
"""`reasoning_effort` → `think`, as Ollama's own OpenAI-compatible API maps it (openai/openai.go)."""


def common_request(body: Json, call: Call) -> Json:
    """All but messages and prompt. Notes what is dropped, except fields that only one of the two knows."""
    request: Json = {"model": call.model, "stream": call.stream}
    options: Json = {}
    for name in (*_SAMPLING, *_OPTIONS):
        if body.get(name) is not None:
            options[name] = body[name]
    limit = token_limit(body)
    if limit is not None:
        options["num_predict"] = limit
    stops = stop_list(body)
    if stops:
        options["stop"] = stops
    options.update(obj(body.get("options")))
    if options:
        request["options"] = options
    form = _format(body, call)
    if form is not None:
        request["format"] = form
    think = _think(body)
    if think is not None:
        request["think"] = think
    elif body.get("reasoning_effort") is not None:
        call.drop("reasoning_effort")
    for name in _OWN:
        if body.get(name) is not None:
            request[name] = body[name]
    if body.get("n") not in (None, 1):
        call.drop("n")
    return request


def _format(body: Json, call: Call) -> Any:
    """ "json", or a JSON schema."""
    if body.get("format"):
        return body["format"]
    wanted = obj(body.get("response_format"))
    kind = wanted.get("type")
    if kind == "json_schema":
        schema = obj(wanted.get("json_schema")).get("schema")
        drop_description(wanted, call)
        return schema if isinstance(schema, dict) else "json"
    if kind == "json_object":
        return "json"
    if kind not in (None, "text"):
        call.drop("response_format")
    return None


def _think(body: Json) -> Any:
    if body.get("think") is not None:
        return body["think"]
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        return thinking.get("type") != "disabled"
    effort = body.get("reasoning_effort")
    return _EFFORTS.get(effort) if isinstance(effort, str) else None


def read_usage(body: Json) -> Usage:
    """From the last object. A prompt that was in the cache whole has no `prompt_eval_count` (recorded)."""
    prompt, answer = count(body.get("prompt_eval_count")), count(body.get("eval_count"))
    if prompt is None and answer is None:
        return Usage()
    return Usage(prompt_tokens=prompt or 0, completion_tokens=answer or 0, source=UsageSource.REPORTED)


def finish_reason(body: Json, calls: int = 0) -> str:
    """OpenAI's word. Ollama says "stop" for a turn that calls tools."""
    reason = FINISH_REASONS.get(text(body.get("done_reason")), "stop")
    return "tool_calls" if calls and reason == "stop" else reason


def read_logprobs(found: Any) -> Json | None:
    """Ollama's log probabilities are in OpenAI's form already, one entry a token."""
    entries = objects(found)
    if not entries:
        return None
    content = [
        {**_token(entry), "top_logprobs": [_token(other) for other in objects(entry.get("top_logprobs"))]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def _token(entry: Json) -> Json:
    token = text(entry.get("token"))
    raw = items(entry.get("bytes"))
    if not raw or not all(isinstance(byte, int) for byte in raw):
        raw = list(token.encode("utf-8", "replace"))
    return {"token": token, "logprob": number(entry.get("logprob")) or 0.0, "bytes": raw}


def read_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """`{"error": "text"}`."""
    value = decoded(body)
    found = obj(value).get("error")
    message = text(found) or text(obj(found).get("message"))
    if not message and value is None:
        message = error_text(body)
    return ApiError(status, message or f"Ollama answered with status {status}", headers=kept_headers(headers))
