"""Recorded requests to Gemini and Vertex, put into OpenAI's words and back: what we send must mean the same.

"The same" leaves out what JSON can say in two ways: snake_case or camelCase, null or nothing, the role of the
system instruction, upper or lower case types, and whether a schema stands in `parameters` or
`parametersJsonSchema`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from native_support import make_call
from recordings_support import load_recording, recorded

from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT

DEFAULT_SCHEMA = ({}, {"type": "object"}, {"type": "object", "properties": {}})
SAMPLING = {
    "temperature": "temperature", "topP": "top_p", "topK": "top_k", "candidateCount": "n", "seed": "seed",
    "maxOutputTokens": "max_tokens", "stopSequences": "stop", "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty", "logprobs": "top_logprobs", "responseLogprobs": "logprobs",
}  # fmt: skip


def camel(value: Any, inside_arguments: bool = False) -> Any:
    """The request in one spelling, without nulls; arguments, results and schemas keep their own keys."""
    if isinstance(value, list):
        return [camel(one, inside_arguments) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, one in value.items():
        if inside_arguments:
            made[key] = camel(one, True)
            continue
        if one is None:
            continue
        name = re.sub(r"_([a-z])", lambda match: match[1].upper(), key)
        opaque = (
            name in ("args", "response", "parameters", "parametersJsonSchema", "labels") or "Schema" in name
        )
        made[name] = camel(one, opaque)
    return made


def lower_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [lower_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            made[key] = value.lower()
        elif key == "required" and value == []:
            continue
        else:
            made[key] = lower_types(value)
    return made


def meaning(request: dict[str, Any]) -> dict[str, Any]:
    """The request with everything said in one way."""
    request = camel(request)
    request.pop("model", None)
    system = request.pop("systemInstruction", {}).get("parts", [])
    system = [system] if isinstance(system, dict) else system
    system = [part["text"] for part in system if part.get("text")]
    contents = []
    for content in request["contents"]:
        parts = []
        for part in content["parts"]:
            part = {key: value for key, value in part.items() if not (key == "thought" and value is False)}
            if "functionCall" in part:
                part["functionCall"] = {"args": {}, **part["functionCall"]}
            parts.append(part)
        contents.append({"role": content.get("role", "user"), "parts": parts})
    tools = request.pop("tools", None) or []
    tools = [tools] if isinstance(tools, dict) else tools
    functions = {}
    others = []
    for tool in tools:
        for function in tool.get("functionDeclarations", []):
            schema = lower_types(function.get("parametersJsonSchema") or function.get("parameters") or {})
            schema = {} if schema in DEFAULT_SCHEMA else schema
            functions[function["name"]] = (function.get("description") or "", schema)
        rest = {key: value for key, value in tool.items() if key != "functionDeclarations"}
        if rest:
            others.append(rest)
    config = request.pop("generationConfig", {})
    for name in ("responseSchema", "responseJsonSchema"):
        if name in config:
            config["schema"] = lower_types(config.pop(name))
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    if request.get("safetySettings") == []:
        del request["safetySettings"]
    return {
        **request,
        "contents": contents,
        "system": system,
        "functions": functions,
        "tools": others,
        "config": config,
    }


def openai_message(content: dict[str, Any], calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """One turn in OpenAI's words. Raises NotImplementedError where there is none for it."""
    messages: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": {"model": "assistant", "user": "user"}[content.get("role", "user")]}
    for part in content["parts"]:
        if part.get("thought") is True:
            raise NotImplementedError("thoughts are not sent back")
        if "functionCall" in part:
            call = part["functionCall"]
            identity = call.get("id") or f"made_{len(calls)}"
            calls.append((call["name"], identity))
            made: dict[str, Any] = {
                "id": identity,
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call.get("args", {}))},
            }
            if "thoughtSignature" in part:
                made["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
            message.setdefault("tool_calls", []).append(made)
        elif "functionResponse" in part:
            result = part["functionResponse"]
            found = [one for one in calls if one[1] == result.get("id")] or [
                one for one in calls if one[0] == result["name"]
            ]
            if not found:
                raise NotImplementedError("a result without its call")
            said: list[dict[str, Any]] = [{"type": "text", "text": json.dumps(result["response"])}]
            for inner in result.get("parts", []):
                blob = inner.get("inlineData")
                if blob is None:
                    raise NotImplementedError("a file inside of a result")
                url = f"data:{blob['mimeType']};base64,{blob['data']}"
                said.append({"type": "image_url", "image_url": {"url": url}})
            messages.append({"role": "tool", "tool_call_id": found[0][1], "content": said})
        elif "text" in part:
            parts.append({"type": "text", "text": part["text"]})
            if "thoughtSignature" in part:
                message["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
        elif "inlineData" in part:
            blob = part["inlineData"]
            url = f"data:{blob['mimeType']};base64,{blob['data']}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        elif "fileData" in part:
            file = part["fileData"]
            image = {"url": file["fileUri"]}
            if "mimeType" in file:
                image["format"] = file["mimeType"]
            parts.append({"type": "image_url", "image_url": image})
        else:
            raise NotImplementedError(f"no words for {sorted(part)}")
    if parts or "tool_calls" in message or not messages:
        message["content"] = parts or None
        if messages and parts:
            raise NotImplementedError("results and text in one turn")
        messages.append(message)
    return messages


def to_openai(recording: dict[str, Any]) -> dict[str, Any]:
    asked = camel(recording["request"]["body"])
    body: dict[str, Any] = {"messages": []}
    system = asked.get("systemInstruction", {}).get("parts", [])
    for part in [system] if isinstance(system, dict) else system:
        body["messages"].append({"role": "system", "content": part["text"]})
    calls: list[tuple[str, str]] = []
    for content in asked["contents"]:
        body["messages"].extend(openai_message(content, calls))
    config = dict(asked.get("generationConfig", {}))
    for own, name in SAMPLING.items():
        if own in config:
            body[name] = config.pop(own)
    schema = config.pop("responseJsonSchema", None) or config.pop("responseSchema", None)
    if config.pop("responseMimeType", None):
        body["response_format"] = (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": lower_types(schema)}}
            if schema
            else {"type": "json_object"}
        )
    if config.get("responseModalities") == ["TEXT"]:
        del config["responseModalities"]
        body["modalities"] = ["text"]
    if config:
        body["generationConfig"] = config
    body["tools"] = []
    tools = asked.get("tools") or []
    for tool in [tools] if isinstance(tools, dict) else tools:
        for function in tool.get("functionDeclarations", []):
            schema = function.get("parametersJsonSchema") or function.get("parameters")
            made = {
                "name": function["name"],
                "description": function.get("description"),
                "parameters": schema,
            }
            body["tools"].append({"type": "function", "function": made})
        rest = {key: value for key, value in tool.items() if key != "functionDeclarations"}
        if rest:
            body["tools"].append(rest)
    chosen = asked.get("toolConfig", {}).get("functionCallingConfig", {})
    names = [
        {"type": "function", "function": {"name": name}} for name in chosen.get("allowedFunctionNames", [])
    ]
    if len(names) > 1:
        allowed = {"mode": "required", "tools": names}
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": allowed}
    elif names:
        body["tool_choice"] = names[0]
    elif chosen.get("mode") == "VALIDATED":
        body["toolConfig"] = asked["toolConfig"]
    elif chosen:
        body["tool_choice"] = {"ANY": "required", "AUTO": "auto", "NONE": "none"}[chosen["mode"]]
    for name in ("safetySettings", "cachedContent", "labels", "modelArmorConfig"):
        if name in asked:
            body[name] = asked[name]
    return body


@recorded("gemini/native-generate", "vertex/native-generate")
def test_recorded_request(recording_id: str) -> None:
    recording = load_recording(recording_id)
    if not isinstance(recording["request"]["body"], dict):
        pytest.skip("no JSON request")
    try:
        body = to_openai(recording)
    except (NotImplementedError, KeyError) as reason:
        pytest.skip(f"OpenAI has no words for it: {reason}")
    vertex = recording_id.startswith("vertex/")
    call = make_call("gemini", recording["model"] or "")
    sent: Any = (VERTEX_CHAT if vertex else PUBLIC_CHAT).request(body, call)
    expected = meaning(recording["request"]["body"])
    sent = meaning(sent)
    results_in_one_turn(expected)
    if vertex:
        without_ids(expected)
    else:
        without_made_ids(sent)
    assert sent == expected
    assert not call.dropped


def results_in_one_turn(request: dict[str, Any]) -> None:
    """Results of parallel calls that the recorded client sent in turns of their own."""
    merged: list[dict[str, Any]] = []
    for content in request["contents"]:
        results = all("functionResponse" in part for part in content["parts"])
        if results and merged and all("functionResponse" in part for part in merged[-1]["parts"]):
            merged[-1]["parts"].extend(content["parts"])
        else:
            merged.append(content)
    request["contents"] = merged


def without_ids(request: dict[str, Any]) -> None:
    """Vertex's v1 has no ids; the recorded clients used v1beta1."""
    for content in request["contents"]:
        for part in content["parts"]:
            for name in ("functionCall", "functionResponse"):
                part.get(name, {}).pop("id", None)


def without_made_ids(request: dict[str, Any]) -> None:
    for content in request["contents"]:
        for part in content["parts"]:
            for name in ("functionCall", "functionResponse"):
                if part.get(name, {}).get("id", "").startswith("made_"):
                    del part[name]["id"]
