"""Recorded Converse requests against what the adapter makes of the OpenAI request that means the same.

That OpenAI request is written here by a naive inverse (`openai_form`), independent of the code under test.
What may differ, and is levelled before comparing (`meaning`):

- empty members, blank texts, `status: success`, `toolChoice` auto: what holds anyway
- a tool result's `json` and the JSON text of it; document names, which must be unique and of few characters
- JSON schemas, closed as structured outputs demand
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import Any

from recordings_support import load_recording, recorded

from kong_ai_proxy.config.models import BedrockOptions, Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.models import traits
from kong_ai_proxy.formats.anthropic.schema import closed_schema
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.defaults import with_defaults
from kong_ai_proxy.providers import provider

IDS = tuple(
    f"bedrock/converse{kind}/"
    for kind in ("", "-stream", "-tools", "-tools-stream", "-vision", "-vision-stream")
)
MEDIA = {
    "png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv",
    "mp4": "video/mp4",
}  # fmt: skip


def part(block: dict[str, Any]) -> Any:
    """One Converse block as a part of OpenAI's content."""
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    if "json" in block:
        return {"type": "text", "text": json.dumps(block["json"])}
    for kind in ("image", "document", "video"):
        if kind in block:
            source = block[kind]["source"]
            if "s3Location" in source:
                url = source["s3Location"]["uri"]
            elif "text" in source:
                data = base64.b64encode(source["text"].encode()).decode()
                url = f"data:text/plain;base64,{data}"
            else:
                url = f"data:{MEDIA[block[kind]['format']]};base64,{source['bytes']}"
            if kind == "image":
                return {"type": "image_url", "image_url": {"url": url}}
            out = {"type": "file", "file": {"file_data": url, "filename": block[kind].get("name", "video")}}
            if "citations" in block[kind]:
                out["citations"] = block[kind]["citations"]
            return out
    assert "guardContent" in block, block
    return block


def parts(blocks: list[Any]) -> list[Any]:
    made: list[Any] = []
    for block in blocks:
        if "cachePoint" in block:
            made[-1]["cache_control"] = {"type": "ephemeral"}
        else:
            made.append(part(block))
    return made


def openai_messages(body: dict[str, Any]) -> list[Any]:
    messages: list[Any] = []
    if body.get("system"):
        messages.append({"role": "system", "content": parts(body["system"])})
    for turn in body["messages"]:
        blocks = turn["content"]
        if turn["role"] == "assistant":
            message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
            for block in blocks:
                if "toolUse" in block:
                    use = block["toolUse"]
                    function = {"name": use["name"], "arguments": json.dumps(use["input"])}
                    call = {"id": use["toolUseId"], "type": "function", "function": function}
                    message["tool_calls"].append(call)
                elif "reasoningContent" in block:
                    said = block["reasoningContent"]["reasoningText"]
                    thinking = {"type": "thinking", "thinking": said["text"], "signature": said["signature"]}
                    message["thinking_blocks"] = [thinking]
                else:
                    message["content"] = [*(message["content"] or []), part(block)]
            messages.append(message)
            continue
        rest: list[Any] = []
        for block in blocks:
            if "toolResult" in block:
                result = block["toolResult"]
                tool = {
                    "role": "tool",
                    "tool_call_id": result["toolUseId"],
                    "content": parts(result["content"]),
                }
                if result.get("status") == "error":
                    tool["is_error"] = True
                messages.append(tool)
            elif "cachePoint" in block and not rest:
                messages[-1]["cache_control"] = {"type": "ephemeral"}
            elif "cachePoint" in block:
                rest[-1]["cache_control"] = {"type": "ephemeral"}
            else:
                rest.append(part(block))
        if rest:
            messages.append({"role": "user", "content": rest})
    return messages


def openai_form(body: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"messages": openai_messages(body)}
    config = body.get("inferenceConfig") or {}
    for theirs, ours in (
        ("maxTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("stopSequences", "stop"),
    ):
        if config.get(theirs) not in (None, []):
            out[ours] = config[theirs]
    tools: list[Any] = []
    for tool in body.get("toolConfig", {}).get("tools", []):
        if "cachePoint" in tool:
            tools[-1]["cache_control"] = {"type": "ephemeral"}
            continue
        spec = tool["toolSpec"]
        function = {"name": spec["name"], "parameters": spec["inputSchema"]["json"]}
        for name in ("description", "strict"):
            if name in spec:
                function[name] = spec[name]
        tools.append({"type": "function", "function": function})
    if tools:
        out["tools"] = tools
    choice = body.get("toolConfig", {}).get("toolChoice") or {}
    if "any" in choice:
        out["tool_choice"] = "required"
    elif "tool" in choice:
        out["tool_choice"] = {"type": "function", "function": choice["tool"]}
    elif "auto" in choice:
        out["tool_choice"] = "auto"
    extra = dict(body.get("additionalModelRequestFields") or {})
    if "thinking" in extra:
        out["thinking"] = extra.pop("thinking")
    assert not extra
    if "outputConfig" in body:
        definition = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        wanted = {**definition, "schema": json.loads(definition["schema"])}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
    for name in ("guardrailConfig", "performanceConfig"):
        if name in body:
            out[name] = body[name]
    return out


def level(value: Any) -> Any:
    """Nested members on one level of meaning."""
    if isinstance(value, list):
        blank = [{"text": one} for one in ("\n", "")]
        return [level(one) for one in value if one not in blank]
    if not isinstance(value, dict):
        return value
    out = {name: level(one) for name, one in value.items() if one not in (None, [], "", {})}
    if value.get("status") == "success":
        del out["status"]
    for kind in ("document", "video"):
        if isinstance(out.get(kind), dict):
            out[kind].pop("name", None)
            source = out[kind]["source"]
            if isinstance(source.get("text"), str):
                out[kind]["source"] = {"bytes": base64.b64encode(source["text"].encode()).decode()}
    if set(value) == {"json"}:
        return {"text": value["json"]}
    if set(value) == {"text"} and isinstance(value["text"], str):
        try:
            return {"text": json.loads(value["text"])}
        except ValueError:
            return out
    return out


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    out = {name: one for name, one in level(body).items() if one not in ({}, [])}
    config = out.get("toolConfig", {})
    if body.get("toolConfig", {}).get("toolChoice") in (None, {"auto": {}}):
        config.pop("toolChoice", None)
    for tool in config.get("tools", []):
        spec = tool.get("toolSpec", {})
        if spec.get("strict"):
            spec["inputSchema"] = {
                "json": closed_schema({"type": "object", **spec["inputSchema"].get("json", {})})
            }
        elif "strict" in spec:
            del spec["strict"]
        schema = spec.get("inputSchema", {}).get("json", {})
        if schema.get("properties") in ({}, None):
            schema.pop("properties", None)
    if "textFormat" in out.get("outputConfig", {}):
        definition = out["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        definition["schema"] = closed_schema(json.loads(definition["schema"]))
    return out


@recorded(*IDS)
def test_recorded_converse_request_means_the_same(recording_id: str) -> None:
    request = load_recording(recording_id)["request"]
    body = request["body"]
    model, action = urllib.parse.unquote(request["url"].split("/model/")[1]).rsplit("/", 1)
    target = Target(model=Model(provider="bedrock", name=model), route_type="llm/v1/chat")
    options = Options(bedrock=BedrockOptions(aws_region="us-east-1"))
    client = ClientRequest("POST", "/", "", {}, b"")
    made = Call(target, options, model, "chat", client, stream=action == "converse-stream")
    pivot = with_defaults(openai_form(body), made)
    ours = meaning(ConverseAdapter().request(pivot, made))
    theirs = meaning(body)
    claude = "claude" in model and traits(model)
    if claude and not claude.temperature_and_top_p and "temperature" in theirs.get("inferenceConfig", {}):
        theirs["inferenceConfig"].pop("topP", None)
    assert ours == theirs
    assert made.dropped == []
    path = provider("bedrock").url(made).path
    assert path.endswith(f"/{action}")
    assert urllib.parse.unquote(path) == urllib.parse.unquote(urllib.parse.urlsplit(request["url"]).path)
