"""OpenAI chat → generateContent. Sources are those of `kong_ai_proxy.formats.gemini`."""

from __future__ import annotations

from typing import Any

import pytest
from native_support import make_call

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT
from kong_ai_proxy.formats.gemini.contents import UNSIGNED
from kong_ai_proxy.formats.json_mode import JSON_TOOL

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def send(
    body: dict[str, Any], model: str = "gemini-2.5-flash", vertex: bool = False
) -> tuple[dict[str, Any], Call]:
    call = make_call("gemini", model)
    sent: Any = (VERTEX_CHAT if vertex else PUBLIC_CHAT).request({"messages": HELLO, **body}, call)
    return sent, call


def refused(body: dict[str, Any], vertex: bool = False) -> ApiError:
    with pytest.raises(ApiError) as caught:
        send(body, vertex=vertex)
    assert caught.value.status == 400
    return caught.value


def test_plain_request_is_only_contents() -> None:
    sent, call = send(
        {"model": "gemini-2.5-flash", "stream": True, "stream_options": {"include_usage": True}}
    )
    assert sent == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    assert call.dropped == []


def test_system_and_developer_wherever_they_stand() -> None:
    """Kong's bugs 3.14.0.10: developer was not a system prompt, and a content array was sent as it was."""
    messages = [
        {"role": "system", "content": "One."},
        {"role": "user", "content": "Hi"},
        {
            "role": "developer",
            "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": "Three."}],
        },
    ]
    sent, _ = send({"messages": messages})
    assert sent["systemInstruction"] == {"parts": [{"text": "One."}, {"text": "Two."}, {"text": "Three."}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]


def test_instructions_alone_become_a_user_turn() -> None:
    sent, _ = send({"messages": [{"role": "system", "content": "Say hi."}]})
    assert sent == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


def test_instructions_that_are_no_text_are_reported() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}
    sent, call = send({"messages": [{"role": "system", "content": ["One.", part]}, *HELLO]})
    assert sent["systemInstruction"] == {"parts": [{"text": "One."}]}
    assert call.dropped == ["messages.content.image_url"]


def parallel_loop(signatures: tuple[str | None, str | None] = (None, None)) -> list[dict[str, Any]]:
    calls = []
    for number, signature in enumerate(signatures):
        call: dict[str, Any] = {
            "id": f"c{number}",
            "type": "function",
            "function": {"name": f"f{number}", "arguments": f'{{"x":{number}}}'},
        }
        if signature:
            call["extra_content"] = {"google": {"thought_signature": signature}}
        calls.append(call)
    return [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "plain words"},
        {"role": "tool", "tool_call_id": "c0", "content": [{"type": "text", "text": '{"found": [1, 2]}'}]},
        {"role": "user", "content": "And?"},
    ]


def test_parallel_results_share_a_turn() -> None:
    """Kong's bug 3.12: tool calls of several turns. Names come from the ids; an object is a result by itself.
    """
    sent, _ = send({"messages": parallel_loop()})
    assert [content["role"] for content in sent["contents"]] == ["user", "model", "user", "user"]
    assert sent["contents"][1]["parts"] == [
        {"functionCall": {"name": "f0", "args": {"x": 0}, "id": "c0"}},
        {"functionCall": {"name": "f1", "args": {"x": 1}, "id": "c1"}},
    ]
    assert sent["contents"][2]["parts"] == [
        {"functionResponse": {"name": "f1", "response": {"output": "plain words"}, "id": "c1"}},
        {"functionResponse": {"name": "f0", "response": {"found": [1, 2]}, "id": "c0"}},
    ]


def test_vertex_gets_no_ids() -> None:
    sent, _ = send({"messages": parallel_loop()}, vertex=True)
    parts = sent["contents"][1]["parts"] + sent["contents"][2]["parts"]
    assert not any("id" in inner for part in parts for inner in part.values())


def test_signatures_go_back_where_they_came_from() -> None:
    sent, _ = send({"messages": parallel_loop(("c2ln+/=", None))}, "gemini-3-pro-preview")
    first, second = sent["contents"][1]["parts"]
    assert first["thoughtSignature"] == "c2ln+/="
    assert "thoughtSignature" not in second


@pytest.mark.parametrize(("model", "marked"), [("gemini-3-flash", True), ("gemini-2.5-pro", False)])
def test_lost_signatures_are_excused(model: str, marked: bool) -> None:
    """Generation 3 refuses unsigned calls; Google documents a value for histories from elsewhere."""
    sent, _ = send({"messages": parallel_loop()}, model)
    first, second = sent["contents"][1]["parts"]
    assert first.get("thoughtSignature") == (UNSIGNED if marked else None)
    assert "thoughtSignature" not in second


def test_result_without_its_call() -> None:
    error = refused({"messages": [*HELLO, {"role": "tool", "tool_call_id": "nope", "content": "x"}]})
    assert error.param == "messages.1.tool_call_id"


@pytest.mark.parametrize("arguments", ["", "  ", None, "{}", "null"])
def test_empty_arguments(arguments: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    sent, _ = send({"messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}]})
    args = sent["contents"][1]["parts"][0]["functionCall"]["args"]
    assert args == ({"arguments": "null"} if arguments == "null" else {})


def test_arguments_that_are_no_json_are_not_lost() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    sent, _ = send({"messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}]})
    assert sent["contents"][1]["parts"][0]["functionCall"]["args"] == {"arguments": '{"a": '}


def image(url: str, **more: Any) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url, **more}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]}


@pytest.mark.parametrize(
    ("url", "vertex", "expected"),
    [
        ("data:image/png;base64,QUJD", False, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}),
        ("DATA:image/webp;x=y;base64,QQ==", True, {"inlineData": {"mimeType": "image/webp", "data": "QQ=="}}),
        ("gs://b/x.jpeg", True, {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/x.jpeg"}}),
        (
            "https://e.test/a.png?s=1",
            True,
            {"fileData": {"mimeType": "image/png", "fileUri": "https://e.test/a.png?s=1"}},
        ),
        ("https://e.test/a", False, {"fileData": {"fileUri": "https://e.test/a"}}),
        (
            "https://youtu.be/x",
            True,
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}},
        ),
    ],
)
def test_images(url: str, vertex: bool, expected: dict[str, Any]) -> None:
    sent, _ = send(image(url), vertex=vertex)
    assert sent["contents"][0]["parts"] == [{"text": "What?"}, expected]


def test_media_type_beside_the_url() -> None:
    sent, _ = send(image("https://e.test/a", format="image/heic"), vertex=True)
    assert sent["contents"][0]["parts"][1]["fileData"]["mimeType"] == "image/heic"


@pytest.mark.parametrize(
    "url", ["data:image/png,raw", "file:///etc/passwd", "ftp://h/x.png", "", "https://e.test/a"]
)
def test_images_that_cannot_go(url: str) -> None:
    assert refused(image(url), vertex=True).param == "messages.0.content.1"


def test_audio_and_files() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.csv", "file_data": "QQ=="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ=="}},
        {"type": "file", "file": {"file_id": "files/abc", "filename": "x.pdf"}},
    ]
    sent, _ = send({"messages": [{"role": "user", "content": parts}]})
    uri = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    assert sent["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "audio/mp3", "data": "QQ=="}},
        {"inlineData": {"mimeType": "text/csv", "data": "QQ=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": uri}},
    ]
    error = refused(
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}
    )
    assert "file" in error.message


def test_sampling_fields() -> None:
    sent, call = send(
        {
            "temperature": 0, "top_p": 0.5, "top_k": 3, "n": 2, "seed": 7, "presence_penalty": 1,
            "frequency_penalty": -1, "max_tokens": 5, "max_completion_tokens": 9, "stop": "x",
            "logprobs": True, "top_logprobs": 3,
        }
    )  # fmt: skip
    assert sent["generationConfig"] == {
        "temperature": 0, "topP": 0.5, "topK": 3, "candidateCount": 2, "seed": 7, "presencePenalty": 1,
        "frequencyPenalty": -1, "maxOutputTokens": 9, "stopSequences": ["x"], "responseLogprobs": True,
        "logprobs": 3,
    }  # fmt: skip
    assert call.dropped == []


SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"], "const": "x"},
        "b": {"$ref": "#/$defs/B"},
        "c": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        "d": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]},
        "e": {"allOf": [{"properties": {"x": {"type": "string"}}}, {"required": ["x"]}], "type": "object"},
        "f": {"enum": [1, None, "two"]},
        "g": {"type": "string", "contentEncoding": "base64"},
    },
    "required": [],
    "additionalProperties": False,
    "$defs": {"B": {"type": "object", "properties": {"again": {"$ref": "#/$defs/B"}}}},
}


def json_schema(schema: Any) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "strict": True, "schema": schema},
        }
    }


def test_json_schema_goes_as_it_is_where_it_can() -> None:
    sent, call = send(json_schema(SCHEMA), "gemini-2.5-flash")
    assert sent["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    assert call.dropped == []


def test_json_schema_for_older_models() -> None:
    """Recordings vertex/native-generate/012 and 021: 2.5 takes responseJsonSchema, 2.0 responseSchema."""
    sent, call = send(json_schema(SCHEMA), "gemini-2.0-flash")
    schema = sent["generationConfig"]["responseSchema"]
    properties = schema["properties"]
    assert schema["required"] == []
    assert "additionalProperties" not in schema
    assert properties["a"] == {"type": "string", "nullable": True, "enum": ["x"]}
    assert properties["b"]["properties"]["again"]["type"] == "object"
    assert properties["c"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert properties["d"]["nullable"] is True
    assert properties["d"]["type"] == "object"
    assert properties["e"] == {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    assert properties["f"] == {"type": "string", "enum": ["1", "two"]}
    assert "$ref" not in str(schema)
    assert call.dropped == ["response_format.json_schema.schema.contentEncoding"]


def test_self_referring_schemas_end() -> None:
    schema: dict[str, Any] = {"$ref": "#/$defs/A", "$defs": {}}
    schema["$defs"]["A"] = {"anyOf": [{"$ref": "#/$defs/A"}, {"allOf": [{"$ref": "#/$defs/A"}] * 3}] * 4}
    sent, _ = send(json_schema(schema), "gemini-1.5-pro")
    assert sent["generationConfig"]["responseSchema"]


def test_json_beside_tools_is_emulated_where_it_is_refused() -> None:
    """Before generation 3; the extra function's parameters are the schema, and one must be called."""
    wanted = {**json_schema(SCHEMA), "tools": [TOOL]}
    sent, call = send(wanted)
    names = [one["name"] for one in sent["tools"][0]["functionDeclarations"]]
    assert names == ["look", JSON_TOOL]
    assert sent["tools"][0]["functionDeclarations"][1]["parametersJsonSchema"] == SCHEMA
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert "generationConfig" not in sent
    assert call.dropped == []
    sent, _ = send(wanted, "gemini-3-flash-preview")
    assert sent["generationConfig"]["responseJsonSchema"] == SCHEMA
    assert "toolConfig" not in sent
    sent, _ = send({**wanted, "tool_choice": "none"})
    assert sent["generationConfig"]["responseJsonSchema"] == SCHEMA
    assert "tools" not in sent
    sent, _ = send({**wanted, "tool_choice": "required"})
    assert [one["name"] for one in sent["tools"][0]["functionDeclarations"]] == ["look"]
    assert "generationConfig" not in sent


@pytest.mark.parametrize("schema", [None, {"type": "array"}])
def test_json_that_no_function_can_have(schema: Any) -> None:
    wanted = json_schema(schema) if schema else {"response_format": {"type": "json_object"}}
    sent, call = send({**wanted, "tools": [TOOL], "messages": [{"role": "system", "content": "S"}, *HELLO]})
    instruction = sent["systemInstruction"]["parts"][1]["text"]
    assert "JSON" in instruction
    assert ("array" in instruction) == bool(schema)
    assert call.dropped == (["response_format.json_schema"] if schema else [])
    assert "generationConfig" not in sent


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "look"}},
            {"mode": "ANY", "allowedFunctionNames": ["look"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["look"]},
        ),
    ],
)
def test_tool_choice(choice: Any, expected: dict[str, Any]) -> None:
    """Kong's bug 3.12: tool_choice was not converted."""
    sent, _ = send({"tools": [TOOL], "tool_choice": choice})
    assert sent["toolConfig"] == {"functionCallingConfig": expected}


@pytest.mark.parametrize("choice", ["maybe", {}, {"type": "function"}, 3])
def test_bad_tool_choice(choice: Any) -> None:
    assert refused({"tools": [TOOL], "tool_choice": choice}).param == "tool_choice"


def test_tools() -> None:
    schema = {
        "type": "object",
        "properties": {"q": {"$ref": "#/$defs/Q"}},
        "required": [],
        "$defs": {"Q": {}},
    }
    tools = [
        {
            "type": "function",
            "function": {"name": "a", "description": "A", "parameters": schema, "strict": True},
        },
        {"type": "function", "function": {"name": "b"}},
        {"googleSearch": {}},
        {"type": "custom", "custom": {"name": "c"}},
    ]
    sent, call = send({"tools": tools, "parallel_tool_calls": False, "web_search_options": {}})
    assert sent["tools"] == [
        {
            "functionDeclarations": [
                {"name": "a", "description": "A", "parametersJsonSchema": schema},
                {"name": "b", "description": ""},
            ]
        },
        {"googleSearch": {}},
        {"googleSearch": {}},
    ]
    assert set(call.dropped) == {"tools.function.strict", "tools.custom", "parallel_tool_calls"}


def test_former_functions() -> None:
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "ok"},
    ]
    functions = [{"name": "f", "parameters": {}}]
    sent, _ = send({"messages": messages, "functions": functions, "function_call": {"name": "f"}})
    assert sent["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]
    assert sent["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "ok"}}}]
    assert sent["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["f"]


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}),
        ("gemini-2.5-flash", "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "minimal"}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "low"}),
        ("gemini-3-pro-preview", "medium", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3-flash", "low", {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash", "max", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-2.5-pro", "max", {"thinkingBudget": 24576, "includeThoughts": True}),
    ],
)
def test_reasoning_effort(model: str, effort: str, expected: dict[str, Any]) -> None:
    """Google's own table: https://ai.google.dev/gemini-api/docs/openai#thinking."""
    sent, _ = send({"reasoning_effort": effort}, model)
    assert sent["generationConfig"]["thinkingConfig"] == expected


def test_effort_for_a_model_that_does_not_think() -> None:
    sent, call = send({"reasoning_effort": "high"}, "gemini-2.0-flash")
    assert "generationConfig" not in sent
    assert call.dropped == ["reasoning_effort"]


def test_thinking_budget_of_anthropic_clients() -> None:
    sent, _ = send({"thinking": {"type": "enabled", "budget_tokens": 2000}})
    assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 2000, "includeThoughts": True}
    sent, _ = send({"thinking": {"type": "disabled"}})
    assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0}


def test_own_fields_are_kept() -> None:
    """Kong's bug 3.15: Gemini's own fields were dropped. The client's generationConfig wins, member by
    member.
    """
    own = {
        "generationConfig": {
            "thinkingConfig": {"includeThoughts": True},
            "temperature": 1,
            "imageConfig": {"a": 1},
        },
        "safetySettings": [{"category": "X", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1",
        "labels": {"team": "a"},
        "temperature": 0.5,
        "reasoning_effort": "low",
    }
    sent, call = send(own, vertex=True)
    assert sent["generationConfig"] == {
        "temperature": 1,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        "imageConfig": {"a": 1},
    }
    assert sent["safetySettings"] == own["safetySettings"]
    assert sent["cachedContent"] == "cachedContents/1"
    assert sent["labels"] == {"team": "a"}
    assert call.dropped == []
    _, call = send({"labels": {"team": "a"}})
    assert call.dropped == ["labels"], "the public API has none"


def test_extra_body_as_a_literal_key() -> None:
    extra = {"generationConfig": {"topK": 4}, "google": {"thinking_config": {"thinking_budget": 7}}}
    sent, call = send({"extra_body": extra})
    assert sent["generationConfig"] == {"topK": 4, "thinkingConfig": {"thinkingBudget": 7}}
    assert call.dropped == []


def test_what_cannot_be_carried_is_reported() -> None:
    body = {
        "user": "u", "metadata": {"a": "b"}, "store": True, "logit_bias": {"1": 2}, "prediction": {"type":
        "content"}, "service_tier": "flex", "something_new": 1, "safety_identifier": None,
    }  # fmt: skip
    messages = [{"role": "user", "name": "ann", "content": "x"}]
    _, call = send({**body, "messages": messages}, vertex=True)
    expected = {"user", "metadata", "store", "logit_bias", "prediction", "service_tier", "something_new"}
    assert set(call.dropped) == expected | {"messages.name"}
    sent, _ = send({"service_tier": "flex"})
    assert sent["serviceTier"] == "flex"


def test_audio_answers() -> None:
    sent, call = send({"modalities": ["text", "audio"], "audio": {"voice": "Kore", "format": "wav"}})
    assert sent["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }
    assert call.dropped == ["audio.format"]


@pytest.mark.parametrize(
    "messages",
    [["hello"], [{"role": "wizard", "content": "x"}], [{"content": "x"}], [{"role": "user", "content": [3]}]],
)
def test_bad_messages(messages: Any) -> None:
    assert refused({"messages": messages}).param


def test_body_is_not_changed() -> None:
    body = {
        "messages": parallel_loop(("s", None)),
        "generationConfig": {"thinkingConfig": {"a": 1}},
        "tools": [TOOL],
    }
    before = repr(body)
    send({**body, "reasoning_effort": "low"})
    assert repr(body) == before


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
@pytest.mark.parametrize("beside", [{}, {"tools": []}, {"web_search_options": {}}])
def test_a_choice_without_functions_stays_behind(choice: str, beside: dict[str, Any]) -> None:
    """Gemini refuses it: https://github.com/pydantic/pydantic-ai/pull/5791."""
    sent, call = send({"tool_choice": choice, **beside})
    assert "toolConfig" not in sent
    assert call.dropped == (["tool_choice"] if choice == "required" else [])


@pytest.mark.parametrize("empty", ["", None, [], [{"type": "text", "text": ""}]])
def test_empty_texts_stay_behind(empty: Any) -> None:
    """Vertex refuses them: https://github.com/Portkey-AI/gateway/issues/462."""
    said = {"role": "user", "content": "hi"}
    sent, call = send({"messages": [{"role": "system", "content": empty}, said, {**said, "content": empty}]})
    assert sent == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert call.dropped == []
    sent, _ = send({"messages": [{"role": "system", "content": "S"}, {**said, "content": empty}]})
    assert sent["contents"] == [{"role": "user", "parts": [{"text": ""}]}], "gemini/native-generate-tools/001"
    assert sent["systemInstruction"] == {"parts": [{"text": "S"}]}


def test_an_empty_text_beside_an_image() -> None:
    content = [
        {"type": "text", "text": ""},
        {"type": "image_url", "image_url": {"url": "data:IMAGE/JPG;base64,AAAA"}},
    ]
    sent, _ = send({"messages": [{"role": "user", "content": content}]})
    assert sent["contents"][0]["parts"] == [{"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}}]


def test_an_earlier_answer_in_audio_is_reported() -> None:
    answer = {"role": "assistant", "audio": {"id": "audio_1"}}
    _, call = send({"messages": [*HELLO, answer, *HELLO]})
    assert call.dropped == ["messages.audio"]
