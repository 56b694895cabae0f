"""An OpenAI chat request as a Converse request. Every field is passed, translated, or noted as dropped."""

from __future__ import annotations

import re
from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json, dumps_text
from ..anthropic.request import first, legacy_choice
from ..anthropic.schema import closed_schema
from ..anthropic.thinking import Conditions, plan_thinking, sampling
from ..json_mode import (
    JSON_OBJECT_INSTRUCTION,
    JSON_TOOL,
    is_object_schema,
    tool_description,
    wanted_schema,
    wants_json_object,
)
from ..pivot import items, merged_body, number, obj, text
from .messages import Conversation, cache_point
from .models import Family, family

_NATIVE = (
    "guardrailConfig", "performanceConfig", "promptVariables", "additionalModelResponseFieldPaths",
    "serviceTier", "requestMetadata",
)  # fmt: skip
"""Converse's own fields, given at the top level of an OpenAI request: passed as they are."""

_HANDLED = frozenset(
    {
        "messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature",
        "top_p", "top_k", "stop", "stop_sequences", "tools", "tool_choice", "parallel_tool_calls",
        "functions", "function_call", "response_format", "reasoning_effort", "thinking", "metadata",
        "service_tier",
        "additionalModelRequestFields", "inferenceConfig", "outputConfig", *_NATIVE,
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

_SERVICE_TIERS = {"default": "default", "flex": "flex", "priority": "priority", "reserved": "reserved"}
_THREE_EFFORTS = {
    "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high",
}  # fmt: skip
"""Nova 2's (https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html), and gpt-oss'."""
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")


def build_request(body: Json, call: Call) -> Json:
    """The Converse body. `body` is not changed. Raises BadRequest for what Bedrock cannot do."""
    body = merged_body(body)
    model = family(call.model or text(body.get("model")))
    talk = Conversation(
        call,
        cache_points=model.cache_points,
        signed_thinking=model.vendor in ("", "anthropic", "amazon"),
    )
    talk.read(body.get("messages"))
    out: Json = {"messages": talk.turns}
    extra: Json = dict(obj(body.get("additionalModelRequestFields")))
    config: Json = dict(obj(body.get("inferenceConfig")))
    output: Json = dict(obj(body.get("outputConfig")))
    if wants_json_object(body.get("response_format")):
        talk.system.append({"text": JSON_OBJECT_INSTRUCTION})
    tools = _tools(body, talk, model, call)
    tools = _response_format(body, talk, tools, output, model, call)
    if talk.system:
        out["system"] = talk.system
    limit = first(body, "max_completion_tokens", "max_tokens")
    if limit is not None:
        config["maxTokens"] = limit
    _reasoning(body, talk, tools, config, extra, output, model, call)
    _sampling(body, config, extra, model, call)
    _stop(body, config, model, call)
    if config:
        out["inferenceConfig"] = config
    if tools:
        out["toolConfig"] = tools
    if extra:
        out["additionalModelRequestFields"] = extra
    if output:
        out["outputConfig"] = output
    for field in _NATIVE:
        if body.get(field) is not None:
            out[field] = body[field]
    _options(body, out, call)
    for field, value in body.items():
        if field not in _HANDLED and value is not None and value not in _NEUTRAL.get(field, ()):
            call.drop(field)
    return out


def _tools(body: Json, talk: Conversation, model: Family, call: Call) -> Json:
    given, choice = body.get("tools"), body.get("tool_choice")
    if not given and isinstance(body.get("functions"), list):
        given = [{"type": "function", "function": function} for function in body["functions"]]
        choice = legacy_choice(body.get("function_call"))
    if given is not None and not isinstance(given, list):
        raise BadRequest("tools must be an array", param="tools")
    if choice == "none" and not talk.has_tools:
        return {}
    specs: list[Json] = []
    for index, tool in enumerate(given or []):
        specs += _tool(tool, index, model, call)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = obj(choice.get("allowed_tools"))
        names = {text(obj(obj(item).get("function")).get("name")) for item in items(allowed.get("tools"))}
        specs = [spec for spec in specs if text(obj(spec.get("toolSpec")).get("name")) in names] or specs
        choice = text(allowed.get("mode")) or "auto"
    if not specs and talk.has_tools:
        # Converse refuses turns with tool blocks where no tool is declared.
        specs = [
            {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}
            for name in talk.tool_names or ["tool"]
        ]
    if not specs:
        if choice not in (None, "auto", "none"):
            call.drop("tool_choice")
        return {}
    config: Json = {"tools": specs}
    mapped = _tool_choice(choice, model, call)
    if mapped:
        config["toolChoice"] = mapped
    if body.get("parallel_tool_calls") is False:
        call.drop("parallel_tool_calls")
    return config


def _tool(tool: Any, index: int, model: Family, call: Call) -> list[Json]:
    if not isinstance(tool, dict):
        raise BadRequest(f"tools[{index}] must be an object", param=f"tools[{index}]")
    if tool.keys() & {"toolSpec", "systemTool", "cachePoint"}:
        return [tool]
    function = tool.get("function")
    if not isinstance(function, dict) or not text(function.get("name")):
        if isinstance(function, dict):
            raise BadRequest(f"tools[{index}] has no name", param=f"tools[{index}].function.name")
        call.drop(f"tools[{index}]")
        return []
    schema = function.get("parameters")
    if not isinstance(schema, dict) or not schema:
        schema = {"type": "object", "properties": {}}
    elif schema.get("type") != "object":
        schema = {**schema, "type": "object"}
    spec: Json = {"name": function["name"]}
    if text(function.get("description")):
        spec["description"] = function["description"]
    if function.get("strict") is True:
        if model.json_schema:
            spec["strict"] = True
            schema = closed_schema(schema)
        else:
            call.drop(f"tools[{index}].function.strict")
    spec["inputSchema"] = {"json": schema}
    mark = tool.get("cache_control", function.get("cache_control"))
    if not isinstance(mark, dict):
        return [{"toolSpec": spec}]
    if not model.cache_points:
        call.drop("cache_control")
        return [{"toolSpec": spec}]
    return [{"toolSpec": spec}, cache_point(mark)]


def _tool_choice(choice: Any, model: Family, call: Call) -> Json | None:
    if choice is None:
        return None
    if choice == "auto":
        return {"auto": {}}
    if choice == "none":
        # Converse has no such choice, and tools must stay declared for the turns that used them.
        call.drop("tool_choice")
        return None
    if choice == "required":
        wanted: Json = {"any": {}}
    elif isinstance(choice, dict) and choice.get("type") == "function":
        wanted = {"tool": {"name": obj(choice.get("function")).get("name")}}
    elif isinstance(choice, dict) and choice.keys() & {"auto", "any", "tool"}:
        wanted = choice
    else:
        raise BadRequest("tool_choice is not understood", param="tool_choice")
    if ("tool" in wanted and model.forced_tools != "named") or (
        "any" in wanted and model.forced_tools == "none"
    ):
        call.drop("tool_choice")
        return {"auto": {}} if model.claude else None
    return wanted


def _response_format(
    body: Json, talk: Conversation, tools: Json, output: Json, model: Family, call: Call
) -> Json:
    wanted = wanted_schema(body.get("response_format"))
    if wanted is None:
        return tools
    schema = wanted["schema"]
    if model.json_schema:
        definition: Json = {"schema": dumps_text(closed_schema(schema))}
        for name in ("name", "description"):
            if text(wanted.get(name)):
                definition[name] = wanted[name]
        output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": definition}}
        return tools
    choice = tools.get("toolChoice") or {}
    if model.forced_tools == "named" and "tool" not in choice and is_object_schema(schema):
        spec = {"name": JSON_TOOL, "description": tool_description(wanted), "inputSchema": {"json": schema}}
        others = items(tools.get("tools"))
        free = others and body.get("tool_choice") != "none" and body.get("tools")
        return {
            "tools": [*others, {"toolSpec": spec}],
            "toolChoice": {"any": {}} if free else {"tool": {"name": JSON_TOOL}},
        }
    # Nothing can hold this model to a schema: it is told.
    talk.system.append({"text": f"{JSON_OBJECT_INSTRUCTION} Its JSON schema: {dumps_text(schema)}"})
    return tools


def _reasoning(
    body: Json,
    talk: Conversation,
    tools: Json,
    config: Json,
    extra: Json,
    output: Json,
    model: Family,
    call: Call,
) -> None:
    effort = body.get("reasoning_effort")
    if model.claude is not None:
        choice = tools.get("toolChoice") or {}
        limit = config.get("maxTokens")
        forced = "any" in choice or "tool" in choice
        conditions = Conditions(limit, forced, _unsigned_loop(talk.turns))
        thought = plan_thinking(body, model.claude, conditions, call)
        if thought.thinking is not None:
            extra["thinking"] = thought.thinking
        if thought.effort is not None:
            output.setdefault("effort", thought.effort)
        # Room for a budget need not be made: without a limit, Converse allows what the model can.
        return
    if isinstance(body.get("thinking"), dict):
        if model.vendor:
            call.drop("thinking")
        else:
            extra["thinking"] = body["thinking"]
    if effort is None:
        return
    effort = str(effort)
    if model.effort == "nova" and effort in _THREE_EFFORTS:
        level = _THREE_EFFORTS[effort]
        extra["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
        # At high effort Nova takes neither a limit nor sampling parameters.
        if level == "high" and config.pop("maxTokens", None) is not None:
            call.drop("max_tokens")
    elif model.effort == "nova" and effort == "none":
        extra["reasoningConfig"] = {"type": "disabled"}
    elif model.effort == "field" and effort in _THREE_EFFORTS:
        extra["reasoning_effort"] = _THREE_EFFORTS[effort]
    else:
        call.drop("reasoning_effort")


def _unsigned_loop(turns: list[Json]) -> bool:
    """Tool results answer a turn that does not begin with its thinking."""
    if not any("toolResult" in block for block in turns[-1]["content"]):
        return False
    for turn in reversed(turns):
        if turn["role"] == "assistant":
            return "reasoningContent" not in turn["content"][0]
    return False


def _sampling(body: Json, config: Json, extra: Json, model: Family, call: Call) -> None:
    if model.claude is not None:
        given = sampling(body, model.claude, obj(extra.get("thinking")), call)
    else:
        given = {name: body[name] for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
        if (number(given.get("temperature")) or 0) > 1:
            given["temperature"] = 1  # Converse's range ends at 1, OpenAI's at 2
    high = obj(extra.get("reasoningConfig")).get("maxReasoningEffort") == "high"
    for name, target in (("temperature", "temperature"), ("top_p", "topP")):
        if name in given:
            if high:
                call.drop(name)
            else:
                config[target] = given[name]
    if "top_k" in given:
        if not model.top_k:
            call.drop("top_k")
            return
        *path, last = model.top_k
        place = extra
        for step in path:
            place = place.setdefault(step, {})
        place[last] = given["top_k"]


def _stop(body: Json, config: Json, model: Family, call: Call) -> None:
    stop = first(body, "stop", "stop_sequences")
    if stop is None:
        return
    given = [stop] if isinstance(stop, str) else stop
    if not isinstance(given, list):
        raise BadRequest("stop must be text or an array of texts", param="stop")
    kept = [item for item in given if text(item) and (item.strip() or model.claude is None)]
    if len(kept) < len(given):
        call.drop("stop")  # Claude refuses stop sequences of white space, Converse empty ones
    if kept:
        config["stopSequences"] = kept


def _options(body: Json, out: Json, call: Call) -> None:
    """Service tier, metadata, and what the configuration forces."""
    tier = body.get("service_tier")
    if tier is not None and "serviceTier" not in out:
        if isinstance(tier, str) and tier in _SERVICE_TIERS:
            out["serviceTier"] = {"type": _SERVICE_TIERS[tier]}
        elif tier != "auto":
            call.drop("service_tier")
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata and "requestMetadata" not in out:
        kept = {key: value for key, value in metadata.items() if key and _plain(key) and _plain(value)}
        if len(kept) < len(metadata):
            call.drop("metadata")
        if kept:
            out["requestMetadata"] = dict(list(kept.items())[:16])
    elif metadata:
        call.drop("metadata")
    bedrock = call.options.bedrock
    if bedrock is not None and bedrock.performance_config_latency:
        out["performanceConfig"] = {"latency": bedrock.performance_config_latency}


def _plain(value: Any) -> bool:
    return isinstance(value, str) and _METADATA.fullmatch(value) is not None
