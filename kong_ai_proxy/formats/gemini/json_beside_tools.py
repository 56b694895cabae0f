"""JSON answers beside tools, for models before generation 3, which refuse the two together
(https://ai.google.dev/gemini-api/docs/structured-output: with tools from Gemini 3 on).

Emulated as for models that have no JSON mode at all: the schema becomes the parameters of one more function,
and the model must call one. A call of that function is the answer (`response.Candidate`).
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.json import Json, dumps_text
from ..json_mode import (
    JSON_OBJECT_INSTRUCTION,
    JSON_TOOL,
    is_object_schema,
    tool_description,
    wanted_schema,
)
from ..pivot import items, obj
from .models import answers_json_beside_tools

_JSON_FIELDS = ("responseMimeType", "responseJsonSchema", "responseSchema")


def emulate_json(response_format: Any, request: Json, config: Json, call: Call) -> None:
    """Changes what was made of `response_format`, where the model would refuse it for the tools beside it."""
    tools = items(request.get("tools"))
    if not tools or "responseMimeType" not in config or answers_json_beside_tools(call.model):
        return
    functions = tools[0].get("functionDeclarations")
    mode = obj(obj(request.get("toolConfig")).get("functionCallingConfig")).get("mode", "AUTO")
    if mode == "NONE" and functions and len(tools) == 1:
        # No function may be called: they might as well not be there.
        del request["tools"], request["toolConfig"]
        return
    for field in _JSON_FIELDS:
        config.pop(field, None)
    if mode == "ANY":
        # The answer is a call, not a text.
        return
    wanted = wanted_schema(response_format)
    if wanted is not None and functions and len(tools) == 1 and is_object_schema(wanted["schema"]):
        extra = {
            "name": JSON_TOOL,
            "description": tool_description(wanted),
            "parametersJsonSchema": wanted["schema"],
        }
        request["tools"] = [{"functionDeclarations": [*functions, extra]}]
        request["toolConfig"] = {"functionCallingConfig": {"mode": "ANY"}}
        return
    instruction = JSON_OBJECT_INSTRUCTION
    if wanted is not None:
        instruction += f" It must fit this JSON schema: {dumps_text(wanted['schema'])}"
        call.drop("response_format.json_schema")
    parts = items(obj(request.get("systemInstruction")).get("parts"))
    request["systemInstruction"] = {"parts": [*parts, {"text": instruction}]}
