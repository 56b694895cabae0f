"""Tokens counted for clients of one format by the provider of another: the same questions as recorded
(bedrock/count-tokens, gemini/count-tokens, vertex/count-tokens), and estimates where nobody counts."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from exchange_support import advanced, open_exchange, proxy, target_config
from openai.types.responses import InputTokenCountParams
from pydantic import TypeAdapter

from kong_ai_proxy.core.http import ClientRequest, ClientResponse, UpstreamRequest
from kong_ai_proxy.exchange.exchange import Exchange
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.formats.responses.counting import input_tokens_request

AWS = {"bedrock": {"aws_region": "us-east-1"}}
VERTEX = {"gemini": {"api_endpoint": "h.test", "project_id": "p", "location_id": "l"}}
FOUNDRY = {"upstream_url": "https://r.services.ai.azure.com/anthropic/v1/messages"}
SONNET = "anthropic.claude-sonnet-4-20250514-v1:0"

TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
CLAUDE = {"system": "Be terse.", "messages": [{"role": "user", "content": "Hello, world!"}], "tools": [TOOL]}
GOOGLE = {
    "generateContentRequest": {
        "contents": [{"role": "user", "parts": [{"text": "Hello, world!"}]}],
        "systemInstruction": {"parts": [{"text": "Be terse."}]},
    }
}
CONVERSE = {
    "input": {
        "converse": {
            "messages": [{"role": "user", "content": [{"text": "Hello, world!"}]}],
            "system": [{"text": "Be terse."}],
        }
    }
}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": ("/v1/messages/count_tokens", CLAUDE),
    "gemini": ("/v1beta/models/m:countTokens", GOOGLE),
    "bedrock": ("/model/m/count-tokens", CONVERSE),
}
NAMES = {"anthropic": "input_tokens", "gemini": "totalTokens", "bedrock": "inputTokens"}


def ask(instance: Instance, body: dict[str, Any] | None = None, model: str = "") -> Exchange:
    path, usual = ASKED[instance.llm_format]
    asked = dict(usual if body is None else body)
    if model and instance.llm_format == "anthropic":
        asked["model"] = model
    data = json.dumps(asked).encode()
    named = quote(model or instance.targets[0].model.name or "m", safe="")
    path = path.replace("/m:", f"/{named}:").replace("/m/", f"/{named}/")
    return open_exchange(
        instance, ClientRequest("POST", path, "beta=true", {"content-type": "application/json"}, data)
    )


def sent(instance: Instance, **asked: Any) -> tuple[UpstreamRequest, dict[str, Any]]:
    attempt = ask(instance, **asked).next_attempt()
    assert attempt is not None
    upstream = attempt.translation.request()
    return upstream, json.loads(upstream.body)


def answered(instance: Instance, status: int, body: Any, **asked: Any) -> ClientResponse:
    attempt = ask(instance, **asked).next_attempt()
    assert attempt is not None
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = attempt.translation.response(
        status, {"content-type": "application/json", "x-request-id": "r"}, data
    )
    attempt.ended()
    assert "usage" not in (attempt._exchange.record() or {})
    return answer


class TestAsked:
    def test_bedrocks_claude_gets_the_messages_as_they_are(self) -> None:
        instance = proxy("bedrock", f"us.{SONNET}", llm_format="anthropic", options=AWS)
        upstream, body = sent(instance)
        assert upstream.url.host == "bedrock-runtime.us-east-1.amazonaws.com"
        assert upstream.url.target == f"/model/{SONNET.replace(':', '%3A')}/count-tokens"
        inner = json.loads(base64.b64decode(body["input"]["invokeModel"]["body"]))
        assert inner == {**CLAUDE, "anthropic_version": "bedrock-2023-05-31", "max_tokens": 16_384}

    def test_a_budget_leaves_room(self) -> None:
        instance = proxy("bedrock", SONNET, llm_format="anthropic", options=AWS)
        thinking = {"type": "enabled", "budget_tokens": 20_000}
        _, body = sent(instance, body={**CLAUDE, "thinking": thinking})
        inner = json.loads(base64.b64decode(body["input"]["invokeModel"]["body"]))
        assert inner["thinking"] == thinking
        assert inner["max_tokens"] == 20_001

    @pytest.mark.parametrize("llm_format", ["anthropic", "gemini"])
    def test_bedrocks_other_models_get_a_conversation(self, llm_format: str) -> None:
        instance = proxy("bedrock", "amazon.nova-pro-v1:0", llm_format=llm_format, options=AWS)
        upstream, body = sent(instance)
        assert upstream.url.path == "/model/amazon.nova-pro-v1%3A0/count-tokens"
        asked = body["input"]["converse"]
        assert asked["messages"] == [{"role": "user", "content": [{"text": "Hello, world!"}]}]
        assert asked["system"] == [{"text": "Be terse."}]
        assert asked.keys() <= {"messages", "system", "toolConfig", "additionalModelRequestFields"}
        assert ("toolConfig" in asked) is (llm_format == "anthropic")

    @pytest.mark.parametrize("llm_format", ["anthropic", "bedrock"])
    def test_gemini(self, llm_format: str) -> None:
        upstream, body = sent(proxy("gemini", "gemini-2.5-flash", llm_format=llm_format))
        assert upstream.url.host == "generativelanguage.googleapis.com"
        assert upstream.url.target == "/v1beta/models/gemini-2.5-flash:countTokens"
        asked = body["generateContentRequest"]
        assert asked["model"] == "models/gemini-2.5-flash"
        assert asked["contents"] == [{"role": "user", "parts": [{"text": "Hello, world!"}]}]
        assert asked["systemInstruction"] == {"parts": [{"text": "Be terse."}]}

    def test_vertex(self) -> None:
        upstream, body = sent(proxy("gemini", "gemini-2.5-flash", llm_format="anthropic", options=VERTEX))
        assert upstream.url.target == (
            "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:countTokens"
        )
        assert body.keys() == {"contents", "systemInstruction", "tools"}

    @pytest.mark.parametrize("llm_format", ["anthropic", "bedrock"])
    def test_claude_on_vertex(self, llm_format: str) -> None:
        upstream, body = sent(
            proxy("gemini", "claude-sonnet-4@20250514", llm_format=llm_format, options=VERTEX)
        )
        assert upstream.url.target == (
            "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict"
        )
        assert body["model"] == "claude-sonnet-4@20250514"
        assert body["anthropic_version"] == "vertex-2023-10-16"
        assert body.keys() <= {"model", "anthropic_version", "messages", "system", "tools"}

    @pytest.mark.parametrize("llm_format", ["gemini", "bedrock"])
    def test_anthropic(self, llm_format: str) -> None:
        upstream, body = sent(proxy("anthropic", "claude-sonnet-4-5", llm_format=llm_format))
        assert upstream.url.target == "/v1/messages/count_tokens"
        assert upstream.headers["anthropic-version"] == "2023-06-01"
        assert body.keys() == {"model", "messages", "system"}

    def test_claude_at_foundry(self) -> None:
        upstream, _ = sent(proxy("azure", "claude-sonnet-4-5", llm_format="gemini", options={
            **FOUNDRY, "azure_instance": "i", "azure_deployment_id": "d"
        }))  # fmt: skip
        assert upstream.url.path == "/anthropic/v1/messages/count_tokens"


class TestAskedOfOpenAI:
    def body(self, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        upstream, body = sent(
            proxy("openai", "gpt-5.4", llm_format="anthropic"), body={"messages": messages, **more}
        )
        assert upstream.url.target == "/v1/responses/input_tokens"
        TypeAdapter(InputTokenCountParams).validate_python(body)
        return body

    def test_as_recorded(self) -> None:
        body = self.body(CLAUDE["messages"], system="Be terse.", tools=[TOOL])
        assert body == {
            "model": "gpt-5.4",
            "input": [
                {"role": "system", "content": [{"type": "input_text", "text": "Be terse."}]},
                {"role": "user", "content": [{"type": "input_text", "text": "Hello, world!"}]},
            ],
            "tools": [
                {
                    "type": "function", "name": "look", "description": "Looks.",
                    "parameters": {"type": "object", "properties": {}}, "strict": False,
                }
            ],
        }  # fmt: skip

    def test_a_tool_loop_with_an_image(self) -> None:
        image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
        body = self.body(
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "image", "source": image}],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "b"},
                        {"type": "tool_use", "id": "c1", "name": "look", "input": {"x": 1}},
                    ],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "d"}]},
            ],
            tools=[TOOL],
            tool_choice={"type": "tool", "name": "look"},
            thinking={"type": "enabled", "budget_tokens": 2000},
        )
        asked, said, called, result = body["input"]
        assert asked["content"][1] == {
            "type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"
        }  # fmt: skip
        assert said == {"role": "assistant", "content": "b"}
        assert called == {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"x":1}'}
        assert result == {"type": "function_call_output", "call_id": "c1", "output": "d"}
        assert body["tool_choice"] == {"type": "function", "name": "look"}
        assert body["reasoning"] == {"effort": "low"}

    def test_the_shape_of_the_answer(self) -> None:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        body = self.body(
            CLAUDE["messages"],
            output_config={"format": {"type": "json_schema", "schema": schema}},
            tools=[TOOL],
            tool_choice={"type": "any"},
        )
        assert body["text"]["format"]["schema"] == schema
        assert body["tool_choice"] == "required"

    def test_what_chat_can_say_besides(self) -> None:
        made = input_tokens_request(
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "file", "file": {"file_id": "f"}}, {"type": "input_audio"}],
                    },
                    {"role": "assistant", "content": None, "refusal": "No."},
                    {"role": "assistant", "content": None},
                    "odd",
                ],
                "response_format": {"type": "json_object"},
                "tools": [{"type": "custom"}],
                "tool_choice": "auto",
            }
        )
        TypeAdapter(InputTokenCountParams).validate_python(made)
        assert made == {
            "input": [
                {"role": "user", "content": [{"type": "input_file", "file_id": "f"}]},
                {"role": "assistant", "content": "No."},
            ],
            "text": {"format": {"type": "json_object"}},
        }

    def test_not_of_whoever_is_called_as_openai(self) -> None:
        options = {"upstream_url": "https://compatible.example/v1/chat/completions"}
        assert ask(proxy("openai", "m", llm_format="anthropic", options=options)).itself() is not None


COUNTING = [
    ("anthropic", "openai", "gpt-5.4", {}, "input_tokens"),
    ("anthropic", "bedrock", "amazon.nova-pro-v1:0", AWS, "inputTokens"),
    ("anthropic", "gemini", "gemini-2.5-flash", {}, "totalTokens"),
    ("gemini", "anthropic", "claude-sonnet-4-5", {}, "input_tokens"),
    ("gemini", "bedrock", SONNET, AWS, "inputTokens"),
    ("bedrock", "gemini", "gemini-2.5-flash", VERTEX, "totalTokens"),
    ("bedrock", "anthropic", "claude-sonnet-4-5", {}, "input_tokens"),
]


@pytest.mark.parametrize(("llm_format", "provider", "model", "options", "total"), COUNTING)
class TestAnswered:
    def test_in_the_clients_words(
        self, llm_format: str, provider: str, model: str, options: dict[str, Any], total: str
    ) -> None:
        instance = proxy(provider, model, llm_format=llm_format, options=options)
        answer = answered(instance, 200, {total: 42, "promptTokensDetails": []})
        assert json.loads(answer.body) == {NAMES[llm_format]: 42}
        assert "x-kong-ai-estimated" not in answer.headers
        assert answer.headers["x-request-id"] == "r"

    @pytest.mark.parametrize("status", [400, 404, 501])
    def test_an_estimate_where_the_provider_cannot(
        self, llm_format: str, provider: str, model: str, options: dict[str, Any], total: str, status: int
    ) -> None:
        instance = proxy(provider, model, llm_format=llm_format, options=options)
        answer = answered(
            instance, status, {"message": "The provided model doesn't support counting tokens."}
        )
        assert answer.status == 200
        assert answer.headers["x-kong-ai-estimated"] == "true"
        assert json.loads(answer.body)[NAMES[llm_format]] > 4

    @pytest.mark.parametrize("body", [b"", b"[]", {"inputTokens": -1, "x": 1}])
    def test_an_estimate_where_there_is_no_count(
        self, llm_format: str, provider: str, model: str, options: dict[str, Any], total: str, body: Any
    ) -> None:
        answer = answered(proxy(provider, model, llm_format=llm_format, options=options), 200, body)
        assert (answer.status, answer.headers["x-kong-ai-estimated"]) == (200, "true")

    @pytest.mark.parametrize("status", [401, 429, 503])
    def test_what_is_no_answer_is_an_error(
        self, llm_format: str, provider: str, model: str, options: dict[str, Any], total: str, status: int
    ) -> None:
        answer = answered(
            proxy(provider, model, llm_format=llm_format, options=options), status, {"message": "no"}
        )
        assert answer.status == status
        assert "x-kong-ai-estimated" not in answer.headers


def test_an_invoke_model_request_is_estimated_elsewhere() -> None:
    body = {"input": {"invokeModel": {"body": base64.b64encode(b'{"prompt":"x"}').decode()}}}
    exchange = ask(proxy("gemini", "m", llm_format="bedrock"), body)
    attempt = exchange.next_attempt()
    assert attempt is not None
    with pytest.raises(Exception) as refused:
        attempt.translation.request()
    answer = exchange.refuse(refused.value)  # type: ignore[arg-type]
    assert (answer.status, answer.headers["x-kong-ai-estimated"]) == (200, "true")


def test_an_open_model_on_vertex_is_estimated() -> None:
    exchange = ask(proxy("gemini", "llama-4-maas", llm_format="anthropic", options=VERTEX))
    attempt = exchange.next_attempt()
    assert attempt is not None
    with pytest.raises(Exception) as refused:
        attempt.translation.request()
    assert exchange.refuse(refused.value).headers["x-kong-ai-estimated"] == "true"  # type: ignore[arg-type]


class TestOfSeveralTargets:
    def instance(self) -> Instance:
        return advanced(
            target_config("cohere", "command-a-03-2025", alias="plain"),
            target_config("gemini", "gemini-2.5-flash", alias="counts"),
            target_config("anthropic", "claude-sonnet-4-5", alias="own"),
            llm_format="anthropic",
        )

    def test_the_one_that_serves_the_model_counts(self) -> None:
        assert sent(self.instance(), model="counts")[0].url.path.endswith(":countTokens")
        assert sent(self.instance(), model="own")[0].url.path == "/v1/messages/count_tokens"

    def test_or_nobody(self) -> None:
        own = ask(self.instance(), model="plain").itself()
        assert own is not None
        assert own.headers["x-kong-ai-estimated"] == "true"
