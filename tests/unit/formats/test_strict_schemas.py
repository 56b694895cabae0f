"""Schemas that Claude and Bedrock follow strictly, and OpenAI refuses to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import first_attempt, proxy

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.openai.strict import fits_strict

TEXT = {"type": "string"}
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"a": TEXT, "b": {"anyOf": [TEXT, {"type": "null"}]}, "c": {"$ref": "#/$defs/d"}},
    "required": ["c", "b", "a"],
    "additionalProperties": False,
    "$defs": {"d": {"type": "array", "items": TEXT}},
}
OPTIONAL = {**CLOSED, "required": ["a"]}


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = dict(TEXT)
    for _ in range(levels):
        made = {"type": "array", "items": made}
    return {**CLOSED, "properties": {"a": made}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (CLOSED, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        (nested(60), True),
        (OPTIONAL, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({name: value for name, value in CLOSED.items() if name != "additionalProperties"}, False),
        ({**CLOSED, "required": "a"}, False),
        ({**CLOSED, "required": ["a", "b", "c", 7, {}]}, True),
        ({**CLOSED, "properties": []}, False),
        ({**CLOSED, "$defs": {"d": {"type": "object"}}}, False),
        ({**CLOSED, "$defs": {"d": {"type": ["object", "null"]}}}, False),
        ({**CLOSED, "$defs": {"d": {"properties": {"e": TEXT}}}}, False),
        ({**CLOSED, "$defs": {"d": {"oneOf": [TEXT]}}}, False),
        ({**CLOSED, "$defs": {"d": True}}, False),
        ({**CLOSED, "$defs": {"d": {"anyOf": 7}}}, True),
        ({"anyOf": [CLOSED]}, False),
        ({"type": "array", "items": CLOSED}, False),
        (nested(90), False),
        (7, False),
    ],
)
def test_what_fits(schema: Any, fits: bool) -> None:
    """https://platform.openai.com/docs/guides/structured-outputs#supported-schemas."""
    assert fits_strict(schema) is fits


def sent(llm_format: str, body: Any, path: str, provider: str = "openai") -> tuple[Any, list[str]]:
    request = ClientRequest("POST", path, "", {"content-type": "application/json"}, json.dumps(body).encode())
    model = "claude-sonnet-4-5" if provider == "anthropic" else "gpt-5"
    attempt = first_attempt(proxy(provider, model, llm_format=llm_format), request)[1]
    return json.loads(attempt.translation.request().body), attempt.call.dropped


@pytest.mark.parametrize(("schema", "strict"), [(CLOSED, True), (OPTIONAL, False)])
def test_messages(schema: Any, strict: bool) -> None:
    tool = {"name": "f", "input_schema": schema, "strict": True}
    form = {"type": "json_schema", "schema": schema}
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    made, dropped = sent("anthropic", {**body, "output_config": {"format": form}}, "/v1/messages")
    assert made["response_format"]["json_schema"]["strict"] is strict
    assert made["response_format"]["json_schema"]["schema"] == schema
    assert made["tools"][0]["function"].get("strict", False) is strict
    assert dropped == ([] if strict else ["tools.strict"])


@pytest.mark.parametrize(("schema", "strict"), [(CLOSED, True), (OPTIONAL, False)])
def test_converse(schema: Any, strict: bool) -> None:
    spec = {"name": "f", "inputSchema": {"json": schema}, "strict": True}
    structure = {"jsonSchema": {"schema": json.dumps(schema), "name": "n"}}
    body = {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "toolConfig": {"tools": [{"toolSpec": spec}]},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}},
    }
    made, dropped = sent("bedrock", body, "/model/gpt-5/converse")
    assert made["response_format"]["json_schema"]["strict"] is strict
    assert made["tools"][0]["function"].get("strict", False) is strict
    assert dropped == ([] if strict else ["toolConfig.tools.toolSpec.strict"])
