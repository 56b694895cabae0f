"""OpenAI's chat completion request → Gemini's generateContent request.

Sources: https://ai.google.dev/api/generate-content (public) and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (Vertex).
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..json_mode import described_schema, wanted_schema
from ..pivot import integer, items, merged_body, obj, text
from .contents import ContentsBuilder
from .json_beside_tools import emulate_json
from .models import takes_json_schema, takes_thinking_level, thinking_for_effort
from .schema import openapi_schema

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
"""OpenAI field → `generationConfig` field of the same meaning."""

_OWN_FIELDS = {
    "generationConfig": "generationConfig", "generation_config": "generationConfig",
    "safetySettings": "safetySettings", "safety_settings": "safetySettings",
    "cachedContent": "cachedContent", "cached_content": "cachedContent",
    "toolConfig": "toolConfig", "tool_config": "toolConfig",
    "labels": "labels", "modelArmorConfig": "modelArmorConfig", "model_armor_config": "modelArmorConfig",
    "serviceTier": "serviceTier",
    "continuationToken": "continuationToken", "continuation_token": "continuationToken",
}  # fmt: skip
"""Gemini's own request fields, kept where a client puts them at the top level."""

_VERTEX_ONLY = frozenset({"labels", "modelArmorConfig"})
_PUBLIC_ONLY = frozenset({"serviceTier"})

_HANDLED = frozenset(
    {
        "messages", "tools", "tool_choice", "functions", "function_call", "parallel_tool_calls",
        "response_format", "stop", "max_tokens", "max_completion_tokens", "reasoning_effort", "reasoning",
        "thinking", "logprobs", "top_logprobs", "modalities", "audio", "service_tier", "web_search_options",
        "google",
        # Said in the URL, or the stream's own business.
        "model", "stream", "stream_options",
    }
)  # fmt: skip

_CHOICES = {"none": "NONE", "auto": "AUTO", "required": "ANY", "any": "ANY"}

_SERVICE_TIERS = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}
"""Source: https://ai.google.dev/api/generate-content (serviceTier); "auto" is what it does by itself."""

_MODALITIES = {"text": "TEXT", "image": "IMAGE", "audio": "AUDIO"}


def generate_content(body: Json, call: Call, vertex: bool) -> Json:
    """Gemini's body. Raises BadRequest; fields without a counterpart are noted on the call."""
    body = merged_body(body)
    builder = ContentsBuilder(call, vertex)
    builder.add(body.get("messages"))
    request: Json = {"contents": builder.contents}
    if builder.system:
        request["systemInstruction"] = {"parts": builder.system}
    config = _generation_config(body, call)
    tools = _tools(body, call)
    if tools:
        request["tools"] = tools
    tool_config = _tool_config(body)
    if tool_config and any("functionDeclarations" in tool for tool in tools):
        request["toolConfig"] = tool_config
    elif tool_config and tool_config["functionCallingConfig"]["mode"] == "ANY":
        # Refused where there are no functions, as beside nothing but Google's own tools
        # (https://github.com/pydantic/pydantic-ai/pull/5791).
        call.drop("tool_choice")
    emulate_json(body.get("response_format"), request, config, call)
    tier = _SERVICE_TIERS.get(text(body.get("service_tier")))
    if tier and not vertex:
        request["serviceTier"] = tier
    elif body.get("service_tier") not in (None, "auto", "default"):
        call.drop("service_tier")
    _google_extension(body, request, config)
    for key, value in body.items():
        if key in _HANDLED or key in _SAMPLING or value is None:
            continue
        own = _OWN_FIELDS.get(key)
        if own is None or own in (_PUBLIC_ONLY if vertex else _VERTEX_ONLY):
            call.drop(key)
        elif own == "generationConfig":
            config = _merged(config, obj(value))
        elif own == "toolConfig":
            request[own] = {**obj(request.get(own)), **obj(value)}
        else:
            request[own] = value
    if config:
        request["generationConfig"] = config
    return request


def _generation_config(body: Json, call: Call) -> Json:
    config = {own: body[name] for name, own in _SAMPLING.items() if body.get(name) is not None}
    limit = body.get("max_completion_tokens")
    if limit is None:
        limit = body.get("max_tokens")
    if limit is not None:
        config["maxOutputTokens"] = limit
    stop = body.get("stop")
    if stop:
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if body.get("logprobs"):
        config["responseLogprobs"] = True
    if body.get("top_logprobs"):
        config["logprobs"] = body["top_logprobs"]
    _response_format(body.get("response_format"), config, call)
    _modalities(body, config, call)
    thinking = _thinking(body, call)
    if thinking:
        config["thinkingConfig"] = thinking
    return config


def _response_format(wanted: Any, config: Json, call: Call) -> None:
    kind = obj(wanted).get("type")
    if kind == "json_object":
        config["responseMimeType"] = "application/json"
    elif kind == "json_schema":
        config["responseMimeType"] = "application/json"
        asked = wanted_schema(wanted)
        if asked is None:
            return
        schema = described_schema(asked)
        if takes_json_schema(call.model):
            config["responseJsonSchema"] = schema
            return
        lost: list[str] = []
        config["responseSchema"] = openapi_schema(schema, lost)
        for key in lost:
            call.drop(f"response_format.json_schema.schema.{key}")
    elif kind not in (None, "text"):
        call.drop("response_format")


def _modalities(body: Json, config: Json, call: Call) -> None:
    asked = [text(name) for name in items(body.get("modalities"))]
    wanted = [_MODALITIES[name] for name in asked if name in _MODALITIES]
    if "AUDIO" in wanted:
        # Gemini's models answer in either text or audio.
        wanted = ["AUDIO"]
    if wanted:
        config["responseModalities"] = wanted
    audio = obj(body.get("audio"))
    voice = audio.get("voice")
    if isinstance(voice, dict):
        voice = voice.get("id")
    if isinstance(voice, str) and voice:
        config["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
    if audio.get("format") not in (None, "pcm16"):
        # Gemini's audio is PCM, always.
        call.drop("audio.format")


def _thinking(body: Json, call: Call) -> Json | None:
    """From `thinking` (Anthropic's), `reasoning` (OpenRouter's, OpenAI's Responses) or `reasoning_effort`."""
    thinking = obj(body.get("thinking"))
    reasoning = obj(body.get("reasoning"))
    budget = integer(thinking.get("budget_tokens"))
    if budget is None:
        budget = integer(reasoning.get("max_tokens"))
    if thinking.get("type") == "disabled":
        return thinking_for_effort("none", call.model)
    effort = body.get("reasoning_effort")
    if effort is None:
        effort = reasoning.get("effort")
    if budget is not None and not (effort is not None and takes_thinking_level(call.model)):
        return {"thinkingBudget": budget, "includeThoughts": True}
    if effort is None:
        return {"includeThoughts": True} if thinking.get("type") in ("enabled", "adaptive") else None
    config = thinking_for_effort(effort, call.model)
    if config is None:
        call.drop("reasoning_effort")
    return config


def _tools(body: Json, call: Call) -> list[Json]:
    declarations: list[Json] = []
    tools: list[Json] = []
    for tool in items(body.get("tools")):
        if not isinstance(tool, dict):
            raise BadRequest("a tool must be an object", param="tools")
        kind = tool.get("type")
        if isinstance(tool.get("function"), dict):
            declarations.append(_declaration(tool["function"], call))
        elif kind is None:
            # Gemini's own: {"googleSearch": {}}, {"codeExecution": {}}, {"functionDeclarations": […]}, …
            tools.append(tool)
        else:
            call.drop(f"tools.{kind}")
        if tool.get("cache_control") is not None:
            call.drop("tools.cache_control")
    declarations.extend(_declaration(obj(function), call) for function in items(body.get("functions")))
    if declarations:
        tools.insert(0, {"functionDeclarations": declarations})
    search = body.get("web_search_options")
    if isinstance(search, dict):
        tools.append({"googleSearch": {}})
        for key in search:
            call.drop(f"web_search_options.{key}")
    if body.get("parallel_tool_calls") is False:
        call.drop("parallel_tool_calls")
    return tools


def _declaration(function: Json, call: Call) -> Json:
    """A function as Gemini declares it: JSON Schema goes as it is, into the field made for it."""
    declaration: Json = {"name": text(function.get("name")), "description": text(function.get("description"))}
    parameters = function.get("parameters")
    if isinstance(parameters, dict) and parameters:
        declaration["parametersJsonSchema"] = parameters
    if function.get("strict"):
        call.drop("tools.function.strict")
    return declaration


def _tool_config(body: Json) -> Json | None:
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
    if choice is None:
        return None
    config: Json
    if isinstance(choice, str):
        mode = _CHOICES.get(choice)
        if mode is None:
            raise BadRequest("tool_choice must be none, auto, required or an object", param="tool_choice")
        config = {"mode": mode}
    else:
        config = _named_choice(obj(choice))
    return {"functionCallingConfig": config}


def _named_choice(choice: Json) -> Json:
    allowed = obj(choice.get("allowed_tools"))
    if choice.get("type") == "allowed_tools":
        names = [name for tool in items(allowed.get("tools")) if (name := _tool_name(obj(tool)))]
        # VALIDATED is AUTO with a say in which functions: AUTO takes no names.
        mode = "ANY" if allowed.get("mode") == "required" else "VALIDATED"
        return {"mode": mode, "allowedFunctionNames": names}
    name = _tool_name(choice)
    if not name:
        raise BadRequest("tool_choice names no function", param="tool_choice")
    return {"mode": "ANY", "allowedFunctionNames": [name]}


def _tool_name(tool: Json) -> str:
    return text(obj(tool.get("function")).get("name")) or text(tool.get("name"))


def _google_extension(body: Json, request: Json, config: Json) -> None:
    """The `google` object that Google's own OpenAI-compatible API takes in `extra_body`.

    Source: https://ai.google.dev/gemini-api/docs/openai#extra-body.
    """
    google = obj(body.get("google"))
    cached = google.get("cached_content")
    if isinstance(cached, str):
        request["cachedContent"] = cached
    thinking = obj(google.get("thinking_config"))
    if thinking:
        names = {"include_thoughts": "includeThoughts", "thinking_budget": "thinkingBudget"}
        names["thinking_level"] = "thinkingLevel"
        config["thinkingConfig"] = {names.get(key, key): value for key, value in thinking.items()}


def _merged(config: Json, given: Json) -> Json:
    """The client's own generationConfig wins over what was made of OpenAI's fields; objects are merged."""
    merged = dict(config)
    for key, value in given.items():
        before = merged.get(key)
        merged[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
