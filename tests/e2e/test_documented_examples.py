"""Every documented example for chat, completions and embeddings, carried by the relay to the mock providers;
and everything Kong's capability matrix (shared/kong/providers.json) has for each provider.

The examples are Kong's own (../shared/kong/examples.md). Nothing in them is changed but what they leave open:
variables, and Google's key. Whatever host a configuration leads to, the mock answers there; the URL to
be called is compared with `URLS`, whose sources are shared/kong/providers.json (`url_patterns`,
`upstream_path`) and the examples' own `upstream_url`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from auth_support import TokenServer, token_server
from config_examples import Example, examples
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from recordings_support import SHARED
from relay_support import Reply, World, relay_world

from kong_ai_proxy.core.http import Url
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket
from kong_ai_proxy.mockllm.server import MockLLM
from kong_ai_proxy.relay.upstream import UpstreamClient

pytestmark = pytest.mark.skipif(not examples(), reason="no documented examples here")

VARIABLES = {
    "azure_instance": "acme",
    "instance": "acme",
    "azure_deployment": "my-gpt",
    "azure_deployment_id": "my-gpt",
    "deployment": "my-gpt",
    "workspace": "dbc-1a2b",
    "gcp_api_endpoint": "us-east5-aiplatform.googleapis.com",
    "gemini_api_endpoint": "us-east5-aiplatform.googleapis.com",
    "vertex_api_endpoint": "us-east5-aiplatform.googleapis.com",
    "gcp_project_id": "p1",
    "gcp_location_id": "us-east5",
    "aws_region": "us-east-1",
    "cohere_key": "Bearer k1",
    "mistral_key": "Bearer k2",
}
"""Values for the documentation's variables, where "value" will not do."""
VERTEX = "https://us-east5-aiplatform.googleapis.com/v1/projects/p1/locations/us-east5/publishers"
URLS: dict[str, dict[str, tuple[str, ...]]] = {
    "anthropic": {"chat": ("https://api.anthropic.com/v1/messages",)},
    "azure": {
        "chat": (
            "https://{instance}.openai.azure.com/openai/deployments/{deployment}/chat/completions?{version}",
        ),
        "embeddings": (
            "https://{instance}.openai.azure.com/openai/deployments/{deployment}/embeddings?{version}",
        ),
    },
    "bedrock": {
        "chat": (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/converse",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/converse-stream",
        ),
        # Claude's own clients: shared/kong/providers.json, the sample of tried_targets.
        "messages": (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/invoke",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/invoke-with-response-stream",
        ),
    },
    "cerebras": {"chat": ("https://api.cerebras.ai/v1/chat/completions",)},
    # v2: Kong's changelog, 3.14.
    "cohere": {"chat": ("https://api.cohere.com/v2/chat",)},
    "dashscope": {"chat": ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",)},
    "databricks": {"chat": ("https://dbc-1a2b.cloud.databricks.com/serving-endpoints/v1/chat/completions",)},
    "deepseek": {"chat": ("https://api.deepseek.com/v1/chat/completions",)},
    "gemini": {
        "chat": (
            "https://generativelanguage.googleapis.com/v1beta/models/{model}:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models/{model}:streamGenerateContent?alt=sse",
        ),
        "vertex": (
            VERTEX + "/google/models/{model}:generateContent",
            VERTEX + "/google/models/{model}:streamGenerateContent?alt=sse",
        ),
        "vertex-claude": (
            VERTEX + "/anthropic/models/{model}:rawPredict",
            VERTEX + "/anthropic/models/{model}:streamRawPredict",
        ),
    },
    "huggingface": {"chat": ("https://router.huggingface.co/v1/chat/completions",)},
    "mistral": {"chat": ("https://api.mistral.ai/v1/chat/completions",)},
    "openai": {
        "chat": ("https://api.openai.com/v1/chat/completions",),
        "embeddings": ("https://api.openai.com/v1/embeddings",),
    },
    "xai": {"chat": ("https://api.x.ai/v1/chat/completions",)},
}
"""provider → what is spoken → the URL without `upstream_url`; two where a stream has another."""
MOCKED_UNDER = {"mistral.ai": "/mistral", "databricks.com": "/databricks"}
"""Where the mock plays providers that send a stream's usage without being asked for it."""
_VARIABLE = re.compile(r"\$\{([a-z0-9_]+)\}")
CAPTURES = {"azure_instance": "acme", "azure_deployment": "my-gpt", "model": "gpt-4o"}
"""What the routes of the examples capture from the path."""
OPERATIONS = {
    "llm/v1/chat": "chat",
    "llm/v1/completions": "completions",
    "llm/v1/embeddings": "embeddings",
}
ELSEWHERE = ("semantic",)
"""Examples that need a vector database; those of the native formats are in test_native_clients.py."""


def _targets(config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config.get("targets") or [config]
    return found


def _params() -> list[Any]:
    found = []
    for example in examples():
        if example.invalid or example.slug.startswith(ELSEWHERE):
            continue
        for number, config in enumerate(example.configs):
            route_types = {target.get("route_type") for target in _targets(config)}
            form = config.get("llm_format", "openai")
            if not route_types <= OPERATIONS.keys() or form not in ("openai", "anthropic"):
                continue
            for stream in (False, True):
                if stream and route_types == {"llm/v1/embeddings"}:
                    continue
                name = f"{example.id.removeprefix('kong-')}-{number}-{'stream' if stream else 'whole'}"
                found.append(pytest.param(example, number, stream, id=name))
    return found


def filled(value: Any, google_key: str) -> Any:
    """A configuration with the documentation's variables filled in."""
    if isinstance(value, dict):
        made = {name: filled(item, google_key) for name, item in value.items()}
        if "gcp_service_account_json" in made:
            made["gcp_service_account_json"] = google_key
        return made
    if isinstance(value, list):
        return [filled(item, google_key) for item in value]
    if isinstance(value, str):
        # The Vertex page puts "Bearer " before everything: a fault of the documentation (examples.md).
        if value.startswith("Bearer ${gcp_"):
            value = value.removeprefix("Bearer ")
        return _VARIABLE.sub(lambda match: VARIABLES.get(match[1], "value-of-" + match[1]), value)
    return value


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
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p1",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": "a@p1.iam.gserviceaccount.com",
            "token_uri": f"{tokens.url}/token",
        }
    )


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

    def to_the_mock(self: UpstreamClient, request: Any, *rest: Any) -> Any:
        noted.urls.append(request.url)
        prefix = next((at for host, at in MOCKED_UNDER.items() if host in request.url.host), "")
        path = prefix + request.url.path
        url = replace(request.url, scheme="http", host=mock.host, port=mock.port, path=path)
        return send(self, replace(request, url=url), *rest)

    monkeypatch.setattr(UpstreamClient, "send", to_the_mock)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", tokens.url)
    return noted


def ask(world: World, instance: Instance, body: dict[str, Any], headers: str) -> Reply:
    ticket = Ticket(instance, filter_installed=True, buffered=False, captures=CAPTURES)
    with world.connect() as client:
        return client.post(json.dumps(body).encode(), headers, world.tickets.file(ticket))


def body_for(config: dict[str, Any], stream: bool) -> dict[str, Any]:
    first = _targets(config)[0]
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


def expected_urls(config: dict[str, Any], stream: bool) -> set[str]:
    """One for each target."""
    return {_expected_url(target, config.get("llm_format", "openai"), stream) for target in _targets(config)}


def _expected_url(target: dict[str, Any], form: str, stream: bool) -> str:
    model = target["model"]
    options = model.get("options") or {}
    if "upstream_url" in options:
        given = str(options["upstream_url"])
        # A server's address alone gets the path of Ollama's chat.
        return f"{given}/api/chat" if model["provider"] == "ollama" and given.count("/") == 2 else given
    name = str(model.get("name", ""))
    spoken = OPERATIONS[target["route_type"]]
    if model["provider"] == "gemini" and options.get("gemini"):
        spoken = "vertex-claude" if name.startswith("claude") else "vertex"
    if model["provider"] == "bedrock" and form == "anthropic" and "anthropic." in name:
        spoken = "messages"
    found = URLS[model["provider"]][spoken]
    return found[stream and len(found) > 1].format(
        instance=_resolved(options.get("azure_instance", "")),
        deployment=_resolved(options.get("azure_deployment_id", "")),
        version=f"api-version={options.get('azure_api_version', '2023-05-15')}",
        model=name.replace(":", "%3A"),
    )


def _resolved(value: str) -> str:
    return re.sub(r"\$\(uri_captures\.(\w+)\)", lambda match: CAPTURES[match[1]], value)


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
            _check_openai(reply, OPERATIONS[_targets(config)[0]["route_type"]], stream)


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
