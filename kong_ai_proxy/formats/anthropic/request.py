"""An OpenAI chat request as a Messages request.

Every field of the request is passed, translated, or noted on the call as dropped. Source of the fields:
https://platform.claude.com/docs/en/api/messages/create.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..json_mode import (
    JSON_OBJECT_INSTRUCTION,
    JSON_TOOL,
    described_schema,
    is_object_schema,
    tool_description,
    wanted_schema,
    wants_json_object,
)
from ..pivot import merged_body, text
from .flavor import CLOUD_NAMES, Flavor, takes_sampling
from .messages import convert_messages
from .models import Traits, traits
from .schema import closed_schema
from .thinking import Conditions, plan_thinking, sampling
from .web_search import search_tool

_NATIVE = (
    "top_k", "container", "context_management", "mcp_servers", "inference_geo", "speed", "cache_control",
    "fallbacks", "fallback_credit_token", "compaction", "diagnostics", "billing_policy", "thread",
    "user_profile_id",
)  # fmt: skip
"""Anthropic's own fields, given at the top level of an OpenAI request: passed as they are."""

_HANDLED = frozenset(
    {
        "messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature",
        "top_p", "stop", "stop_sequences", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call", "response_format", "reasoning_effort", "thinking", "output_config", "user",
        "safety_identifier", "metadata", "service_tier", "web_search_options", *_NATIVE,
    }
)  # fmt: skip

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "store": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "verbosity": ("medium",),
}
"""Values that ask for what is done anyway: not worth a note when left out."""

_TOOL_CHOICES = {"auto": "auto", "none": "none", "required": "any"}
_TOOL_EXTRAS = (
    "cache_control", "defer_loading", "allowed_callers", "eager_input_streaming", "input_examples",
)  # fmt: skip
_SERVICE_TIERS = {
    "auto": "auto",
    "priority": "auto",  # Anthropic's "auto" takes priority capacity where the account has it
    "default": "standard_only",
    "standard_only": "standard_only",
}

_THINKING_TYPES = ("thinking", "redacted_thinking")


def build_request(body: Json, call: Call, flavor: Flavor) -> Json:
    """The Messages body. `body` is not changed. Raises BadRequest for what Claude cannot do."""
    body = merged_body(body)
    model = call.model or text(body.get("model"))
    traits_of = traits(model)
    version = call.options.anthropic_version or flavor.version
    if not takes_sampling(version):
        traits_of = replace(traits_of, sampling=False)
    out: Json = {}
    if flavor.model_in_body:
        out["model"] = model
    else:
        out["anthropic_version"] = version
    limit = first(body, "max_completion_tokens", "max_tokens")
    out["max_tokens"] = traits_of.max_tokens if limit is None else limit
    system, out["messages"] = convert_messages(body.get("messages"), call)
    if wants_json_object(body.get("response_format")):
        system.append({"type": "text", "text": JSON_OBJECT_INSTRUCTION})
    if system:
        plain = len(system) == 1 and "cache_control" not in system[0] and "citations" not in system[0]
        out["system"] = system[0]["text"] if plain else system
    _tools(body, out, traits_of, call)
    _web_search(body, out, flavor, call)
    _response_format(body, out, traits_of, flavor, call)
    _thinking(body, out, traits_of, flavor, call)
    out.update(sampling(body, traits_of, out.get("thinking"), call))
    _stop(body, out, call)
    _identity(body, out, call)
    for field in _NATIVE:
        if field != "top_k" and body.get(field) is not None:
            out[field] = body[field]
    for field in flavor.refused & out.keys():
        del out[field]
        call.drop(field)
    if flavor.stream_in_body and call.stream:
        out["stream"] = True
    if flavor.betas_in_body and (flags := betas(call, flavor)):
        out["anthropic_beta"] = flags
    for field, value in body.items():
        if field not in _HANDLED and value is not None and value not in _NEUTRAL.get(field, ()):
            call.drop(field)
    return out


def _tools(body: Json, out: Json, model: Traits, call: Call) -> None:
    tools = body.get("tools")
    if not tools and isinstance(body.get("functions"), list):
        tools = [{"type": "function", "function": function} for function in body["functions"]]
    choice = body.get("tool_choice")
    if choice is None and not body.get("tools"):
        choice = legacy_choice(body.get("function_call"))
    if tools is not None and not isinstance(tools, list):
        raise BadRequest("tools must be an array", param="tools")
    converted = []
    for index, tool in enumerate(tools or []):
        if (block := _tool(tool, index, model, call)) is not None:
            converted.append(block)
    if not converted:
        if choice not in (None, "auto", "none"):
            call.drop("tool_choice")
        return
    mapped, converted = _tool_choice(choice, converted, model, call)
    if body.get("parallel_tool_calls") is False and (mapped or {}).get("type") != "none":
        mapped = {**(mapped or {"type": "auto"}), "disable_parallel_tool_use": True}
    out["tools"] = converted
    if mapped:
        out["tool_choice"] = mapped


def _web_search(body: Json, out: Json, flavor: Flavor, call: Call) -> None:
    options = body.get("web_search_options")
    if options is None:
        return
    if not flavor.web_search:
        call.drop("web_search_options")
        return
    tools = out.get("tools", [])
    search = search_tool(options, tools, call)
    if search is not None:
        out["tools"] = [*tools, search]
        if flavor.web_search_beta:
            call.betas.append(flavor.web_search_beta)


def _tool(tool: Any, index: int, model: Traits, call: Call) -> Json | None:
    if not isinstance(tool, dict):
        raise BadRequest(f"tools[{index}] must be an object", param=f"tools[{index}]")
    function = tool.get("function")
    if not isinstance(function, dict):
        if isinstance(tool.get("custom"), dict) or tool.get("type") == "function":
            call.drop(f"tools[{index}]")  # free-form tools: no counterpart
            return None
        return tool  # Anthropic's own tool object
    if not isinstance(function.get("name"), str):
        raise BadRequest(f"tools[{index}] has no name", param=f"tools[{index}].function.name")
    schema = function.get("parameters")
    if not isinstance(schema, dict) or not schema:
        schema = {"type": "object", "properties": {}}
    elif schema.get("type") != "object":
        schema = {**schema, "type": "object"}
    block: Json = {"name": function["name"], "input_schema": schema}
    if isinstance(function.get("description"), str) and function["description"]:
        block["description"] = function["description"]
    if function.get("strict") is True:
        if model.json_schema:
            block["strict"] = True
            block["input_schema"] = closed_schema(schema)
        else:
            call.drop(f"tools[{index}].function.strict")
    for field in _TOOL_EXTRAS:
        value = tool.get(field, function.get(field))
        if value is not None:
            block[field] = value
    return block


def legacy_choice(choice: Any) -> Any:
    """OpenAI's former `function_call` as a `tool_choice`."""
    if isinstance(choice, dict):
        return {"type": "function", "function": choice}
    return choice


def _tool_choice(choice: Any, tools: list[Json], model: Traits, call: Call) -> tuple[Json | None, list[Json]]:
    mapped: Json | None = None
    if isinstance(choice, str):
        if choice not in _TOOL_CHOICES:
            raise BadRequest(f"tool_choice {choice!r} is unknown", param="tool_choice")
        mapped = {"type": _TOOL_CHOICES[choice]}
    elif isinstance(choice, dict):
        kind = choice.get("type")
        if kind == "function" and isinstance(choice.get("function"), dict):
            mapped = {"type": "tool", "name": choice["function"].get("name")}
        elif kind == "allowed_tools" and isinstance(choice.get("allowed_tools"), dict):
            allowed = choice["allowed_tools"]
            listed = allowed.get("tools")
            names = {_allowed_name(item) for item in listed} if isinstance(listed, list) else set()
            tools = [tool for tool in tools if str(tool.get("name")) in names] or tools
            mapped = {"type": _TOOL_CHOICES.get(str(allowed.get("mode")), "auto")}
        elif kind in ("auto", "any", "tool", "none"):
            mapped = dict(choice)
        else:
            raise BadRequest("tool_choice is not understood", param="tool_choice")
    if mapped and mapped["type"] in ("any", "tool") and not model.forced_tools:
        call.drop("tool_choice")
        mapped = {"type": "auto"}
    return mapped, tools


def _allowed_name(item: Any) -> Any:
    function = item.get("function") if isinstance(item, dict) else None
    return str(function.get("name")) if isinstance(function, dict) else None


def _response_format(body: Json, out: Json, model: Traits, flavor: Flavor, call: Call) -> None:
    config = body.get("output_config")
    if isinstance(config, dict) and config:
        if flavor.output_config:
            out["output_config"] = dict(config)
        else:
            call.drop("output_config")
    wanted = wanted_schema(body.get("response_format"))
    if wanted is None:
        return
    schema = wanted["schema"]
    if model.json_schema and flavor.output_config:
        wish = {"type": "json_schema", "schema": closed_schema(described_schema(wanted))}
        out.setdefault("output_config", {})["format"] = wish
        return
    choice = out.get("tool_choice", {}).get("type")
    if choice == "tool" or not model.forced_tools or not is_object_schema(schema):
        call.drop("response_format")
        return
    # "none" means: no tool of the client's. Theirs stay declared, because earlier turns may have used them.
    tools = out.get("tools", [])
    out["tools"] = [
        *tools,
        {"name": JSON_TOOL, "description": tool_description(wanted), "input_schema": schema},
    ]
    if not tools or choice == "none":
        out["tool_choice"] = {"type": "tool", "name": JSON_TOOL}
    else:
        out["tool_choice"] = {**out.get("tool_choice", {}), "type": "any"}


def _thinking(body: Json, out: Json, model: Traits, flavor: Flavor, call: Call) -> None:
    limit = first(body, "max_completion_tokens", "max_tokens")
    conditions = Conditions(limit, _forced(out), _unsigned_loop(out["messages"]), flavor.output_config)
    thought = plan_thinking(body, model, conditions, call)
    if thought.thinking is not None:
        out["thinking"] = thought.thinking
    if thought.effort is not None:
        out.setdefault("output_config", {}).setdefault("effort", thought.effort)
    if thought.max_tokens is not None:
        out["max_tokens"] = max(out["max_tokens"], thought.max_tokens)


def _forced(out: Json) -> bool:
    return out.get("tool_choice", {}).get("type") in ("any", "tool")


def _unsigned_loop(turns: list[Json]) -> bool:
    """Tool results answer a turn that does not begin with its thinking."""
    last = turns[-1]
    if last["role"] != "user" or not isinstance(last["content"], list):
        return False
    if not any(block.get("type") == "tool_result" for block in last["content"]):
        return False
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            content = turn["content"]
            return isinstance(content, str) or content[0].get("type") not in _THINKING_TYPES
    return False


def _stop(body: Json, out: Json, call: Call) -> None:
    stop = first(body, "stop", "stop_sequences")
    if stop is None:
        return
    given = [stop] if isinstance(stop, str) else stop
    if not isinstance(given, list):
        raise BadRequest("stop must be text or an array of texts", param="stop")
    kept = [item for item in given if text(item).strip()]
    if len(kept) < len(given):
        call.drop("stop")  # the API refuses stop sequences of white space
    if kept:
        out["stop_sequences"] = kept


def _identity(body: Json, out: Json, call: Call) -> None:
    metadata = body.get("metadata")
    user = first(body, "user", "safety_identifier")
    if isinstance(metadata, dict):
        user = metadata.get("user_id") or user
        if metadata.keys() - {"user_id"}:
            call.drop("metadata")
    elif metadata is not None:
        call.drop("metadata")
    if isinstance(user, str) and user:
        out["metadata"] = {"user_id": user}
    tier = body.get("service_tier")
    if tier is not None:
        if isinstance(tier, str) and tier in _SERVICE_TIERS:
            out["service_tier"] = _SERVICE_TIERS[tier]
        else:
            call.drop("service_tier")


def betas(call: Call, flavor: Flavor) -> list[str]:
    """The beta features of the client's `anthropic-beta` header that this host knows, and those that the
    translation needs; others are noted."""
    kept: list[str] = []
    for part in (*call.request.headers.get("anthropic-beta", "").split(","), *call.betas):
        name = part.strip()
        if flavor.betas is not None and name not in flavor.betas:
            known = CLOUD_NAMES.get(name)
            if known is None:
                if name:
                    call.drop(f"anthropic-beta.{name}")
                continue
            name = known
        if name and name not in kept:
            kept.append(name)
    return kept


def first(body: Json, *names: str) -> Any:
    """The first of these members that is not null."""
    for name in names:
        if body.get(name) is not None:
            return body[name]
    return None
