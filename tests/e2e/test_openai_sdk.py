"""The OpenAI SDK as a client of the gateway, against each provider's own wire format."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_support import COMPATIBLE, NATIVE, Gateway
from http_support import MARK
from openai import OpenAI

from kong_ai_proxy.mockllm import Answer, Gate, MockLLM

PROVIDERS = [*NATIVE, *COMPATIBLE]
BY_MODEL = [provider for provider in PROVIDERS if provider != "gemini"]
"""Where the request, not the configuration, tells the mock the model."""
BOTH = ["", "bare/"]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
            "required": ["city", "unit"],
        },
    },
}
TIME: Any = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def streaming(provider: str) -> str:
    """The route that streams: Gemini has another URL for that."""
    return "gemini-stream" if provider == "gemini" else provider


_clients: list[OpenAI] = []


def client(gateway: Gateway, route: str) -> OpenAI:
    sdk = OpenAI(
        base_url=f"{gateway.url}/{route}",
        api_key="client-key",
        max_retries=0,
        timeout=10,
        default_headers=MARK,
    )
    _clients.append(sdk)
    return sdk


@pytest.fixture(autouse=True)
def _closed_clients() -> Iterator[None]:
    yield
    while _clients:
        _clients.pop().close()


def ask(text: str) -> Any:
    return [{"role": "system", "content": "Be short."}, {"role": "user", "content": text}]


def usage_of(gateway: Gateway) -> dict[str, Any]:
    """The `ai.proxy` part of the next record."""
    return gateway.log.wait(1)[0]["ai"]["proxy"]


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat(gateway: Gateway, provider: str, prefix: str) -> None:
    answer = client(gateway, f"{prefix}{provider}").chat.completions.create(
        model="some-model", messages=ask("Hello Paris"), max_tokens=50
    )
    assert answer.choices[0].message.content == "You said: Hello Paris"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 4)
    proxy = usage_of(gateway)
    assert proxy["usage"]["prompt_tokens"] == 7
    assert proxy["usage"]["completion_tokens"] == 4
    assert proxy["usage"]["total_tokens"] == 11
    assert proxy["usage"]["cost"] == pytest.approx((7 * 1.0 + 4 * 10.0) / 1e6)
    assert proxy["meta"]["provider_name"] == provider
    assert proxy["meta"]["request_model"] == "some-model"
    assert proxy["meta"]["request_mode"] == "oneshot"
    assert proxy["tried_targets"][0]["port"] == gateway.mock.port


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_tools_loop(gateway: Gateway, provider: str, prefix: str) -> None:
    sdk = client(gateway, f"{prefix}{provider}")
    messages = ask("What are weather and time in Paris?")
    first = sdk.chat.completions.create(
        model="some-model", messages=messages, tools=[WEATHER, TIME], max_tokens=200
    )
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert calls is not None and [call.function.name for call in calls] == ["get_weather", "get_time"]  # type: ignore[union-attr]
    assert json.loads(calls[0].function.arguments) == {"city": "Paris", "unit": "C"}  # type: ignore[union-attr]
    messages.append(choice.message.model_dump(exclude_none=True))
    for call, result in zip(calls, ("sunny", "noon"), strict=True):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    second = sdk.chat.completions.create(
        model="some-model", messages=messages, tools=[WEATHER, TIME], max_tokens=200
    )
    assert second.choices[0].message.content == "The tools said: sunny; noon"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_json_mode(gateway: Gateway, provider: str) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["city", "count"],
        "additionalProperties": False,
    }
    answer = client(gateway, provider).chat.completions.create(
        model="some-model",
        messages=ask("Tell me of Paris"),
        max_tokens=100,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "strict": True, "schema": schema},
        },
    )
    assert json.loads(answer.choices[0].message.content or "") == {"city": "Paris", "count": 7}


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream(gateway: Gateway, provider: str, prefix: str) -> None:
    stream = client(gateway, f"{prefix}{streaming(provider)}").chat.completions.create(
        model="some-model",
        messages=ask("Hello Paris"),
        max_tokens=50,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "You said: Hello Paris"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 11
    record = gateway.log.wait(1)[0]
    if prefix:
        assert "ai" not in record, "without the filter a stream's usage cannot reach this record"
        return
    assert record["ai"]["proxy"]["usage"]["total_tokens"] == 11
    assert record["ai"]["proxy"]["meta"]["request_mode"] == "stream"
    assert record["ai"]["proxy"]["usage"]["time_to_first_token"] >= 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream_without_asking_for_usage(gateway: Gateway, provider: str) -> None:
    stream = client(gateway, streaming(provider)).chat.completions.create(
        model="some-model", messages=ask("Hello Paris"), max_tokens=50, stream=True
    )
    assert all(chunk.usage is None for chunk in stream)
    assert usage_of(gateway)["usage"]["total_tokens"] == 11


@pytest.mark.parametrize("provider", PROVIDERS)
def test_streamed_parallel_tools(gateway: Gateway, provider: str) -> None:
    stream = client(gateway, streaming(provider)).chat.completions.create(
        model="some-model",
        messages=ask("What are weather and time in Paris?"),
        tools=[WEATHER, TIME],
        max_tokens=200,
        stream=True,
    )
    names: dict[int, str] = {}
    ids: dict[int, str] = {}
    arguments: dict[int, str] = {}
    finish = None
    for chunk in stream:
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                if call.function.name:
                    names[call.index] = call.function.name
                if call.id:
                    ids[call.index] = call.id
                arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert names == {0: "get_weather", 1: "get_time"}
    assert len(set(ids.values())) == 2
    assert json.loads(arguments[0]) == {"city": "Paris", "unit": "C"}
    assert json.loads(arguments[1]) == {"city": "Paris"}
    assert finish == "tool_calls"


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_first_token_comes_before_the_second_is_sent(
    gateway: Gateway, mock: MockLLM, provider: str, prefix: str
) -> None:
    gate = Gate()

    def gated(received: Any) -> Answer:
        from kong_ai_proxy.mockllm.providers import respond

        answer = respond(received)
        assert answer.steps is not None
        at = next(i for i, step in enumerate(answer.steps) if isinstance(step, bytes) and b"You" in step)
        answer.steps.insert(at + 1, gate)
        return answer

    mock.answer(gated)
    stream = client(gateway, f"{prefix}{streaming(provider)}").chat.completions.create(
        model="some-model", messages=ask("Hello Paris"), max_tokens=50, stream=True
    )
    seen = ""
    for chunk in stream:
        seen += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if seen and not gate.event.is_set():
            assert seen == "You"
            assert not mock.last.finished.is_set()
            gate.open()
    assert gate.event.is_set()
    assert seen == "You said: Hello Paris"


def test_embeddings(gateway: Gateway) -> None:
    answer = client(gateway, "embeddings").embeddings.create(model="some-model", input=["a b", "c"])
    assert [item.index for item in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == 8
    assert usage_of(gateway)["usage"]["prompt_tokens"] == 3


def test_completions(gateway: Gateway) -> None:
    answer = client(gateway, "completions").completions.create(model="some-model", prompt="Hello Paris")
    assert answer.choices[0].text == "You said: Hello Paris"


@pytest.mark.parametrize("provider", BY_MODEL)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_provider_errors_keep_their_status(
    gateway: Gateway, provider: str, status: int, error: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(error) as raised:
        client(gateway, provider).chat.completions.create(
            model=f"mock-status-{status}", messages=ask("Hello"), max_tokens=5, stream=stream
        )
    assert raised.value.status_code == status
    assert isinstance(raised.value.body, dict)
    assert "secret" not in str(raised.value.body)
    if status == 429 and provider not in ("bedrock", "ollama"):  # these say nothing of when
        assert raised.value.response.headers["retry-after"] == "2"


@pytest.mark.parametrize("provider", BY_MODEL)
def test_truncated_stream_does_not_look_complete(gateway: Gateway, provider: str) -> None:
    text = ""
    with pytest.raises((openai.APIError, Exception)) as raised:
        for chunk in client(gateway, provider).chat.completions.create(
            model="mock-truncate-3", messages=ask("Hello Paris"), max_tokens=50, stream=True
        ):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert isinstance(raised.value, openai.APIError)
    assert text != "You said: Hello Paris"


def test_slow_provider_is_waited_for(gateway: Gateway) -> None:
    started = time.monotonic()
    answer = client(gateway, "openai").chat.completions.create(
        model="mock-delay-300", messages=ask("Hello"), max_tokens=50
    )
    assert time.monotonic() - started >= 0.3
    assert answer.choices[0].message.content == "You said: Hello"
    assert usage_of(gateway)["meta"]["llm_latency"] >= 300
