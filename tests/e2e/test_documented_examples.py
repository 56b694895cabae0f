"""AI Proxy's documented examples for chat, completions and embeddings, carried by the relay to the mock
providers (AI Proxy Advanced's: test_advanced_examples.py); and everything Kong's capability matrix
(shared/kong/providers.json) has for each provider.

The examples are Kong's own (../shared/kong/examples.md). Nothing in them is changed but what they leave open:
variables, and Google's key. Whatever host a configuration leads to, the mock answers there; the URL to
be called is compared with `documented_support.URLS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from auth_support import TokenServer, token_server
from config_examples import Example, examples
from documented_support import (
    CAPTURES,
    OPERATIONS,
    a_google_key,
    expected_urls,
    filled,
    targets_of,
)
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from recordings_support import SHARED
from relay_support import Reply, World, relay_world

from kong_ai_proxy.core.http import Url
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket
from kong_ai_proxy.mockllm.server import MockLLM
from kong_ai_proxy.relay.upstream import UpstreamClient

pytestmark = [
    pytest.mark.skipif(not examples(), reason="no documented examples here"),
    pytest.mark.in_process("looks at the relay's connections as they are made"),
]

MOCKED_UNDER = {"mistral.ai": "/mistral", "databricks.com": "/databricks"}
"""Where the mock plays providers that send a stream's usage without being asked for it."""


def _params() -> list[Any]:
    found = []
    for example in examples():
        if example.invalid or example.plugin != "kong-ai-proxy":
            continue
        for number, config in enumerate(example.configs):
            route_types = {target.get("route_type") for target in targets_of(config)}
            form = config.get("llm_format", "openai")
            if not route_types <= OPERATIONS.keys() or form not in ("openai", "anthropic"):
                continue
            for stream in (False, True):
                if stream and route_types == {"llm/v1/embeddings"}:
                    continue
                name = f"{example.id.removeprefix('kong-')}-{number}-{'stream' if stream else 'whole'}"
                found.append(pytest.param(example, number, stream, id=name))
    return found


class Called:
    """What would have been called, and what was answered there."""

    def __init__(self) -> None:
        self.urls: list[Url] = []


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


@pytest.fixture(scope="module")
def google_key(tokens: TokenServer) -> str:
    return a_google_key(tokens.url)


@pytest.fixture(scope="module")
def mock() -> Iterator[MockLLM]:
    with MockLLM() as server:
        yield server


@pytest.fixture
def called(mock: MockLLM, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch) -> Called:
    """All hosts lead to the mock."""
    noted = Called()
    send = UpstreamClient.send
    mock.reset()

    def to_the_mock(self: UpstreamClient, request: Any, *rest: Any, **named: Any) -> Any:
        noted.urls.append(request.url)
        prefix = next((at for host, at in MOCKED_UNDER.items() if host in request.url.host), "")
        path = prefix + request.url.path
        url = replace(request.url, scheme="http", host=mock.host, port=mock.port, path=path)
        return send(self, replace(request, url=url), *rest, **named)

    monkeypatch.setattr(UpstreamClient, "send", to_the_mock)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", tokens.url)
    return noted


def ask(world: World, instance: Instance, body: dict[str, Any], headers: str) -> Reply:
    ticket = Ticket(instance, filter_installed=True, buffered=False, captures=CAPTURES)
    with world.connect() as client:
        return client.post(json.dumps(body).encode(), headers, world.tickets.file(ticket))


def body_for(config: dict[str, Any], stream: bool) -> dict[str, Any]:
    first = targets_of(config)[0]
    operation = OPERATIONS[first["route_type"]]
    if operation == "embeddings":
        body: dict[str, Any] = {"input": ["one", "two"]}
    elif operation == "completions":
        body = {"prompt": "Say hello", "max_tokens": 20}
    else:
        body = {"messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 200}
    if "name" not in first["model"]:
        body["model"] = first["model"].get("model_alias") or "gpt-4o"
    if stream:
        body["stream"] = True
        if config.get("llm_format", "openai") == "openai":
            body["stream_options"] = {"include_usage": True}
    return body


@pytest.mark.parametrize(("example", "number", "stream"), _params())
def test_it_is_carried(example: Example, number: int, stream: bool, called: Called, google_key: str) -> None:
    config = filled(example.configs[number], google_key)
    with relay_world(real=True) as world:
        instance = Instance.from_config(example.plugin, {"__plugin_id": "p-1", **config})
        form = config.get("llm_format", "openai")
        reply = ask(world, instance, body_for(config, stream), "authorization: Bearer of-the-client\r\n")
        assert reply.status == 200, reply.body
        (url,) = called.urls
        # The client's own query goes along, as in Kong.
        target = url.target.removesuffix("?x=1").removesuffix("&x=1")
        assert f"{url.scheme}://{url.authority}{target}" in expected_urls(config, stream)
        if form == "anthropic":
            _check_messages(reply, stream)
        else:
            _check_openai(reply, OPERATIONS[targets_of(config)[0]["route_type"]], stream)


def _check_openai(reply: Reply, operation: str, stream: bool) -> None:
    if not stream:
        answer = json.loads(reply.body)
        if operation == "embeddings":
            assert len(CreateEmbeddingResponse.model_validate(answer).data) == 2
        elif operation == "completions":
            assert Completion.model_validate(answer).choices[0].text
        else:
            whole = ChatCompletion.model_validate(answer)
            assert whole.choices[0].message.content
            assert whole.usage is not None and whole.usage.total_tokens > 0
        return
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    if operation == "completions":
        pieces = [json.loads(line) for line in lines]
        choices = [choice for piece in pieces for choice in piece["choices"]]
        assert choices[-1]["finish_reason"] == "stop"
        for choice in choices:
            # OpenAI's own streams have null before the end, which the SDK's type does not know.
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        texts = [Completion.model_validate(piece) for piece in pieces]
        assert "".join(choice.text for piece in texts for choice in piece.choices)
        return
    chunks = [ChatCompletionChunk.model_validate_json(line) for line in lines]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens > 0


def _check_messages(reply: Reply, stream: bool) -> None:
    from anthropic.types import Message

    if not stream:
        message = Message.model_validate_json(reply.body)
        assert message.content and message.usage.output_tokens > 0
        return
    events = [json.loads(line[6:]) for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    assert any(event["type"] == "content_block_delta" for event in events)


# The capability matrix.

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
NO_TOOLS = ("llama2-raw",)
SELF_HOSTED = {"llama2": "http://models.internal:11434", "vllm": "http://models.internal:8000"}
EMBEDDING_MODELS = {"bedrock": "amazon.titan-embed-text-v2:0", "gemini": "text-embedding-004"}


def _matrix() -> list[Any]:
    path = SHARED / "kong" / "providers.json"
    if not path.exists():
        return []
    found = []
    for name, provider in json.loads(path.read_text())["providers"].items():
        for operation in ("chat", "completions", "embeddings", "function_calling"):
            # Function calling: also where the matrix says no, as long as the provider's API has it.
            if not provider["capabilities"][operation]["supported"] and operation != "function_calling":
                continue
            for stream in (False, True) if operation != "embeddings" else (False,):
                found.append(
                    pytest.param(
                        name, operation, stream, id=f"{name}-{operation}-{'stream' if stream else 'whole'}"
                    )
                )
    return found


def _minimal(name: str, operation: str, google_key: str) -> dict[str, Any]:
    """A provider page's chat configuration, for another operation."""
    page = {"llama2": "llama", "gemini_vertex": "vertex"}.get(name, name)
    (example,) = [each for each in examples() if each.slug == f"page-{page}"]
    config: dict[str, Any] = filled(example.configs[0], google_key)
    route = {"function_calling": "chat"}.get(operation, operation)
    config["route_type"] = f"llm/v1/{route}"
    options = config["model"].setdefault("options", {})
    if operation != "chat" and operation != "function_calling":
        if name in SELF_HOSTED or name == "ollama":
            options["upstream_url"] = SELF_HOSTED.get(name, "http://models.internal:11434")
        elif "upstream_url" in options:
            del options["upstream_url"]
    if operation == "embeddings":
        options.pop("max_tokens", None)
        options.pop("temperature", None)
        provider = config["model"]["provider"]
        config["model"]["name"] = EMBEDDING_MODELS.get(provider, "embedding-model")
    return config


@pytest.mark.parametrize(("name", "operation", "stream"), _matrix())
def test_the_matrix(name: str, operation: str, stream: bool, called: Called, google_key: str) -> None:
    config = _minimal(name, operation, google_key)
    body = body_for(config, stream)
    if operation == "embeddings":
        body["input"] = ["one text"]
    if operation == "function_calling":
        body["messages"] = [{"role": "user", "content": "Use get_weather for Paris"}]
        body["tools"] = [TOOL]
    with relay_world(real=True) as world:
        instance = Instance.from_config("kong-ai-proxy", {"__plugin_id": "p-1", **config})
        reply = ask(world, instance, body, "authorization: Bearer of-the-client\r\n")
        assert reply.status == 200, reply.body
        if operation == "embeddings":
            assert CreateEmbeddingResponse.model_validate_json(reply.body).data[0].embedding
        elif operation == "function_calling":
            _check_tool_call(reply, stream)
        else:
            _check_openai(reply, operation, stream)


def _check_tool_call(reply: Reply, stream: bool) -> None:
    if not stream:
        choice = ChatCompletion.model_validate_json(reply.body).choices[0]
        (call,) = choice.message.tool_calls or []
        assert call.type == "function" and call.function.name == "get_weather"
        assert isinstance(json.loads(call.function.arguments), dict)
        assert choice.finish_reason == "tool_calls"
        return
    lines = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    chunks = [ChatCompletionChunk.model_validate_json(line) for line in lines[:-1]]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    pieces = [call.function for delta in deltas for call in delta.tool_calls or [] if call.function]
    assert "".join(piece.name or "" for piece in pieces) == "get_weather"
    assert isinstance(json.loads("".join(piece.arguments or "" for piece in pieces)), dict)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == ["tool_calls"]
