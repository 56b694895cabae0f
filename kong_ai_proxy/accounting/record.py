"""The `ai.proxy` record that Kong's logging plugins write.

Keys, types and units: https://developer.konghq.com/ai-gateway/ai-audit-log-reference/. Beyond Kong's keys:
`usage.source`, "estimated" or "partial", where the numbers are not the provider's own count of a whole
answer; `usage.images`, `.seconds` and `.characters`, where that is what is billed; `usage.other_models`, what
models used that had a part in the answer at prices of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..core.call import Call
from ..core.http import Url
from ..core.json import Json
from ..core.usage import Usage, UsageSource
from .cost import cost

_REALTIME: Final = "realtime"
_MEDIA: Final = ("audio.", "image.", "video.")
_BILLED_OTHERWISE: Final = ("images", "seconds", "characters")
"""Fields of `Usage` that are no tokens; an extension, Kong's record has no keys for them."""
_SOURCES_TOLD: Final = frozenset({UsageSource.ESTIMATED, UsageSource.PARTIAL})


@dataclass(slots=True)
class Timing:
    """Milliseconds; None where it did not come to that."""

    latency: float | None = None
    """From the attempt's start to the end of the answer."""
    first_token: float | None = None


def tried_target(call: Call, url: Url, ip: str | None) -> Json:
    """One entry of `tried_targets`. The URL must be without credentials."""
    entry: Json = {"provider": call.provider}
    if call.target.model.name:
        entry["model"] = call.model
    entry["route_type"] = call.target.route_type
    entry["upstream_scheme"] = url.scheme
    entry["host"] = url.host
    entry["port"] = url.port
    entry["upstream_uri"] = url.target
    if ip:
        entry["ip"] = ip
    return entry


def attempt_usage(call: Call) -> Json:
    """`usage` of an entry of `tried_targets`: what an attempt cost that failed and was followed by another.
    An extension: Kong's record has the last attempt's usage only, and so would miss these tokens."""
    usage = call.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total,
        "cost": cost(usage, call.options),
        **_other_models(usage),
    }


def log_record(
    call: Call,
    *,
    plugin_id: str,
    timing: Timing,
    tried: Sequence[Json],
    request: bytes | None,
    response: bytes | None,
) -> Json | None:
    """What happened, as the last tried target's `logging` wants it; None where it wants nothing.

    `request` and `response` are the bodies on the provider's side, without credentials.
    """
    record: Json = {}
    wanted = call.target.logging
    if wanted.log_payloads:
        payload = _payload(request, response)
        if payload:
            record["payload"] = payload
    if wanted.log_statistics:
        record["meta"] = _meta(call, plugin_id, timing)
        if call.usage.source is not UsageSource.NONE:
            record["usage"] = usage_record(call.usage, call, timing)
            if call.operation == _REALTIME:
                record["usage"].update(_input_and_output(call.usage))
        if tried:
            record["tried_targets"] = list(tried)
    return record or None


def usage_record(usage: Usage, call: Call, timing: Timing) -> Json:
    """`ai.proxy.usage`: prompt and completion tokens; of what is not text also input and output tokens, as
    Kong names them there. The prometheus plugin of Kong 3.9 reads no other than the first."""
    record = _text_tokens(usage)
    if call.operation.startswith(_MEDIA):
        record.update(_media_tokens(usage))
    for name in _BILLED_OTHERWISE:
        amount = getattr(usage, name)
        if amount is not None:
            record[name] = amount
    record["total_tokens"] = usage.total
    record["cost"] = cost(usage, call.options)
    record.update(_other_models(usage))
    if timing.latency is not None and usage.completion_tokens > 0:
        record["time_per_token"] = int(timing.latency) / usage.completion_tokens
    if timing.first_token is not None:
        record["time_to_first_token"] = int(timing.first_token)
    if usage.source in _SOURCES_TOLD:
        record["source"] = str(usage.source)
    return record


def _other_models(usage: Usage) -> Json:
    """Tokens that are in none of the other counts, nor in the cost: what they cost is not configured."""
    if not usage.other_models:
        return {}
    return {
        "other_models": [
            {
                "model": other.model,
                "prompt_tokens": other.prompt_tokens,
                "completion_tokens": other.completion_tokens,
            }
            for other in usage.other_models
        ]
    }


def _input_and_output(usage: Usage) -> Json:
    """The names that Kong has for tokens of operations that are not text alone, realtime sessions among them.
    The others stay beside them: the prometheus plugin of Kong 3.9 reads no other."""
    told = usage.to_openai()
    record: Json = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": told.get("prompt_tokens_details", {}),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": told.get("completion_tokens_details", {}),
    }
    if usage.reasoning_tokens is not None:
        record["output_tokens_reasoning_tokens_count"] = usage.reasoning_tokens
    return record


def _text_tokens(usage: Usage) -> Json:
    told = usage.to_openai()
    return {
        "prompt_tokens": usage.prompt_tokens,
        "prompt_tokens_details": told.get("prompt_tokens_details", {}),
        "completion_tokens": usage.completion_tokens,
        "completion_tokens_details": told.get("completion_tokens_details", {}),
    }


def _media_tokens(usage: Usage) -> Json:
    """By the names of Kong's reference, which calls the input's audio tokens otherwise than the output's."""
    inputs = {
        "text_tokens": usage.text_prompt_tokens,
        "image_tokens": usage.image_prompt_tokens,
        "audio_tokens_count": usage.audio_prompt_tokens,
        "cached_tokens": usage.cached_tokens,
    }
    outputs = {
        "text_tokens": usage.text_completion_tokens,
        "image_tokens": usage.image_completion_tokens,
        "audio_tokens": usage.audio_completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {name: value for name, value in inputs.items() if value is not None},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {name: value for name, value in outputs.items() if value is not None},
    }


def _meta(call: Call, plugin_id: str, timing: Timing) -> Json:
    meta: Json = {
        "provider_name": call.provider,
        "plugin_id": plugin_id,
        "request_mode": _REALTIME if call.operation == _REALTIME else "stream" if call.stream else "oneshot",
    }
    if call.model:
        meta["request_model"] = call.model
    response_model = call.response_model or call.model
    if response_model:
        meta["response_model"] = response_model
    if timing.latency is not None:
        meta["llm_latency"] = int(timing.latency)
    if call.provider == "azure":
        _put(meta, "azure_instance_id", call.options.azure_instance)
        _put(meta, "azure_deployment_id", call.options.azure_deployment_id)
        _put(meta, "azure_api_version", call.options.azure_api_version)
    return meta


def _put(record: Json, name: str, value: str | None) -> None:
    if value:
        record[name] = value


def _payload(request: bytes | None, response: bytes | None) -> Json:
    payload: Json = {}
    for name, body in (("request", request), ("response", response)):
        text = _text(body)
        if text is not None:
            payload[name] = text
    return payload


def _text(body: bytes | None) -> str | None:
    """A body that is text; None for a binary one, which has no place in a log."""
    if not body or b"\x00" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        # A stream's captured part may end within a character.
        return body[: error.start].decode() if error.start > len(body) - 4 and error.start else None
