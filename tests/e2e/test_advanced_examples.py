"""All 59 documented examples of AI Proxy Advanced, each through the gateway: its own route and plugin, the
plugin server, the relay, mock providers, a real Redis, Kong's log (`advanced_gateway`).

Four examples are faulty as written; they are refused by the fault's name, and run mended. What the balancing
examples say about many requests is in test_balancing_examples.py.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from advanced_gateway import DEPLOYMENT, EXAMPLES, World
from documented_support import expected_urls, filled
from http_support import MARK, call
from redis_support import RedisServer
from websockets.sync.client import connect

from kong_ai_proxy.config.errors import ConfigError
from kong_ai_proxy.config.parse import parse
from kong_ai_proxy.exchange.instance import ADVANCED
from kong_ai_proxy.mockllm import Answer
from kong_ai_proxy.mockllm.providers import respond

pytestmark = [
    pytest.mark.skipif(not EXAMPLES, reason="no documented examples here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # OpenAI's assistants
    pytest.mark.filterwarnings("ignore:SSLContext:DeprecationWarning"),
]


# One target, OpenAI's form.


def chats(world: World, slug: str) -> None:
    """Whole and streamed, at the address that the documentation has for it."""
    (config,) = world.configs[slug]
    model = {} if "name" in config["targets"][0]["model"] else {"model": "gpt-4o"}
    world.chat(slug, **model)
    assert world.went_to() in expected_urls(config, stream=False)
    messages = [{"role": "user", "content": "Say hello"}]
    answer = world.post(slug, {"messages": messages, "stream": True, **model})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices)
    assert world.went_to() in expected_urls(config, stream=True)


def claude_code(world: World, slug: str) -> None:
    """Anthropic's Messages, as Claude Code sends them."""
    (config,) = world.configs[slug]
    messages = [{"role": "user", "content": "Say hello"}]
    body = {"model": config["targets"][0]["model"]["name"], "max_tokens": 50, "messages": messages}
    answer = world.post(f"{slug}/v1/messages", body).json
    assert (answer["type"], answer["role"]) == ("message", "assistant")
    assert answer["usage"]["output_tokens"] > 0
    assert world.went_to() in expected_urls(config, stream=False)
    streamed = world.post(f"{slug}/v1/messages", {**body, "stream": True}).body.decode()
    assert "event: message_start" in streamed and "event: message_stop" in streamed
    assert world.went_to() in expected_urls(config, stream=True)


def embeds(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        made = sdk.embeddings.create(model="text-embedding-3-large", input=["one", "two"])
    assert len(made.data) == 2
    assert world.went_to() == "https://api.openai.com/v1/embeddings"


# Native forms.


def bedrock_native(world: World, slug: str) -> None:
    model = "meta.llama3-70b-instruct-v1%3A0"
    body = {"messages": [{"role": "user", "content": [{"text": "Say hello"}]}]}
    answer = world.post(f"{slug}/model/{model}/converse", body).json
    assert answer["output"]["message"]["content"][0]["text"]
    assert world.went_to() == f"https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/converse"
    assert world.mock.last.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=value-of-key/")


def cohere_native(world: World, slug: str) -> None:
    ranked = {"id": "r", "results": [{"index": 0, "relevance_score": 0.9}], "meta": {}}
    world.mock.answer(Answer.json(ranked), "/v2/rerank")
    body = {"model": "command-a-03-2025", "query": "q", "documents": ["a", "b"]}
    assert world.post(f"{slug}/v2/rerank", body).json["results"][0]["index"] == 0
    assert world.went_to() == "https://api.cohere.com/v2/rerank"


def gemini_native(world: World, slug: str) -> None:
    path = "/v1beta/models/gemini-1.5-flash:generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}]}
    answer = world.post(slug + path, body).json
    assert answer["candidates"][0]["content"]["parts"][0]["text"]
    assert world.went_to().partition("?")[0] == f"https://generativelanguage.googleapis.com{path}"


def huggingface_native(world: World, slug: str) -> None:
    answer = world.post(f"{slug}/generate", {"inputs": "Say hello"}).json
    assert "generated_text" in (answer[0] if isinstance(answer, list) else answer)
    world.went_to()


# The other APIs of OpenAI, with its SDK.

OPENAI = "https://api.openai.com"
AZURE = "https://acme.openai.azure.com"


def assistants(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        assert sdk.beta.assistants.create(model="gpt-4o", name="a").id
    assert world.went_to() == f"{OPENAI}/v1/assistants"
    assert world.mock.last.headers["openai-beta"] == "assistants=v2"


def speech(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        assert sdk.audio.speech.create(model="tts-1", voice="alloy", input="Hello").content
    assert world.went_to() == f"{OPENAI}/v1/audio/speech"


def transcription(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        assert sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF")).text
    assert world.went_to() == f"{OPENAI}/v1/audio/transcriptions"


def audio_translation(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        assert sdk.audio.translations.create(model="whisper-1", file=("a.wav", b"RIFF")).text
    assert world.went_to() == f"{OPENAI}/v1/audio/translations"


def batches(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        made = sdk.batches.create(
            input_file_id="file-10", endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert made.id
        assert world.went_to().partition("?")[0] == places(world, slug) + "batches"
        assert sdk.batches.retrieve(made.id).id == made.id
        assert world.mock.last.method == "GET"


def files(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        made = sdk.files.create(file=io.BytesIO(b'{"custom_id":"1"}\n'), purpose="batch")
        assert made.id
        assert world.went_to().partition("?")[0] == places(world, slug) + "files"
        assert sdk.files.content(made.id).content
        assert sdk.files.delete(made.id).deleted


def places(world: World, slug: str) -> str:
    provider = world.configs[slug][0]["targets"][0]["model"]["provider"]
    return f"{AZURE}/openai/" if provider == "azure" else f"{OPENAI}/v1/"


def image(world: World, slug: str) -> None:
    (config,) = world.configs[slug]
    model = config["targets"][0]["model"]
    with world.sdk(slug) as sdk:
        assert sdk.images.generate(model=model["name"], prompt="a cat").data
    host = {"openai": OPENAI, "xai": "https://api.x.ai"}[model["provider"]]
    assert world.went_to() == f"{host}/v1/images/generations"


def image_edit(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        assert sdk.images.edit(model="gpt-image-1.5", image=("a.png", b"\x89PNG"), prompt="greener").data
    assert world.went_to() == f"{OPENAI}/v1/images/edits"


def responses(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        assert sdk.responses.create(model="gpt-4o", input="Hello").output_text == "You said: Hello"
    assert world.went_to() == f"{OPENAI}/v1/responses"


def video(world: World, slug: str) -> None:
    with world.sdk(slug) as sdk:
        made = sdk.videos.create(model="sora-2", prompt="a cat", seconds="4", size="720x1280")
        assert made.id
    assert world.went_to() == f"{OPENAI}/v1/videos"


def realtime(world: World, slug: str) -> None:
    url = f"{world.embedded.url.replace('http:', 'ws:')}/{slug}/realtime?model=gpt-4o"
    with connect(url, compression=None, additional_headers=MARK) as session:
        assert json.loads(session.recv(5))["type"] == "session.created"
        session.send('{"type": "response.create"}')
        while json.loads(session.recv(5))["type"] != "response.done":
            pass
    request = world.mock.last
    assert (request.headers["host"], request.raw_path) == ("api.openai.com", "/v1/realtime?model=gpt-4o")
    assert request.headers["authorization"] == "Bearer value-of-key"


# Routes with captures.


def azure_one_route(world: World, slug: str) -> None:
    world.chat(slug, path=f"{DEPLOYMENT}/my-deployment/chat/completions")
    host = "https://my-openai-instance.openai.azure.com"
    path = f"{DEPLOYMENT}/my-deployment/chat/completions?api-version=2023-05-15"
    assert world.went_to() == host + path
    assert world.mock.last.headers["api-key"] == "value-of-azure_key"


def dynamic_model(world: World, slug: str) -> None:
    for model in ("gpt-4o", "o3"):
        world.chat(slug, path=f"/{model}/chat/completions")
        assert world.mock.last.json["model"] == model
        assert world.went_to() == f"{OPENAI}/v1/chat/completions"


def azure_two_routes(world: World, slug: str) -> None:
    for model in ("gpt-4o", "gpt-4-1-mini"):
        answer = world.post(
            f"{slug}{DEPLOYMENT}/azure-{model}/chat/completions",
            {"messages": [{"role": "user", "content": "Hello"}]},
        )
        assert answer.headers["x-kong-llm-model"] == f"azure/{model}"
        assert world.went_to().startswith(f"{AZURE}{DEPLOYMENT}/my-gpt/chat/completions?")


def two_routes(world: World, slug: str) -> None:
    for path, host, key in (
        ("openai", OPENAI, "Bearer k1"),
        ("cohere", "https://api.mistral.ai", "Bearer k2"),
    ):
        world.chat(slug, path=f"/{path}/some-model/chat/completions")
        assert world.went_to() == f"{host}/v1/chat/completions"
        assert world.mock.last.json["model"] == "some-model"
        assert world.mock.last.headers["authorization"] == key


# Several targets. Which gets how many of many requests: test_balancing_examples.py.


def models(world: World, slug: str, count: int) -> Counter[str]:
    """The models that served so many requests."""
    before = len(world.mock.requests)
    for _ in range(count):
        world.chat(slug)
    return Counter(request.json["model"] for request in world.mock.requests[before:])


def round_robin(world: World, slug: str) -> None:
    assert models(world, slug, 20) == {"gpt-4": 14, "gpt-4o-mini": 5, "gpt-3": 1}


def priority(world: World, slug: str) -> None:
    assert models(world, slug, 6) == {"gpt-4": 3, "gpt-4o-mini": 3}


def sticky(world: World, slug: str) -> None:
    (config,) = world.configs[slug]
    header = config["balancer"]["hash_on_header"]
    body = {"messages": [{"role": "user", "content": "Hello"}]}
    for user in range(8):
        for _ in range(2):
            world.post(slug, body, **{header: f"user-{user}"})
    served = [request.json["model"] for request in world.mock.requests]
    assert served[::2] == served[1::2]
    assert len(set(served)) == 2


def shared(world: World, slug: str) -> None:
    """One request after the other: each target has its turn."""
    found = models(world, slug, 10)
    (config,) = world.configs[slug]
    assert set(found) == {target["model"]["name"] for target in config["targets"]}
    assert sum(found.values()) == 10


def breaker(world: World, slug: str) -> None:
    """gpt-4 fails three times and is left alone then; POSTs are not repeated without `non_idempotent`."""
    failing = "gpt-4"

    def answer(received: Any) -> Answer:
        failed = received.json["model"] == failing
        body = {"error": {"message": "broken"}}
        return Answer.json(body, 500) if failed else respond(received)

    world.mock.answer(answer, "/v1/chat/completions", times=12)
    ask = {"messages": [{"role": "user", "content": "Hello"}]}
    statuses = [call(world.embedded.url, f"/{slug}", ask).status for _ in range(12)]
    assert statuses.count(500) == 3 and statuses.count(200) == 9
    assert Counter(request.json["model"] for request in world.mock.requests) == {"gpt-4": 3, "gpt-3": 9}


def aliases(world: World, slug: str) -> None:
    for alias, model in (("powerful", "gpt-4o"), ("fast", "gpt-4o-mini")):
        world.chat(slug, model=alias)
        assert world.mock.last.json["model"] == model
    ask = {"messages": [{"role": "user", "content": "Hello"}], "model": "unknown"}
    answer = call(world.embedded.url, f"/{slug}", ask)
    assert (answer.status, answer.message) == (400, "model not configured")


def semantic(world: World, slug: str) -> None:
    """Two specialists, and a target for the rest; the descriptions' vectors are in Redis."""
    for text, model in (
        ("code completions in Python", "gpt-3.5-turbo"),
        ("my IT support requests", "gpt-4o"),
        ("tell me a joke", "gpt-4o-mini"),
    ):
        world.chat(slug, text)
        chat = [request for request in world.mock.requests if request.path.endswith("/chat/completions")]
        assert chat[-1].json["model"] == model, text
    asked = [request for request in world.mock.requests if request.path == "/v1/embeddings"]
    assert [request.json["input"] for request in asked[-3:]] == [
        ["code completions in Python"], ["my IT support requests"], ["tell me a joke"]
    ]  # fmt: skip
    assert asked[-1].json["dimensions"] == 1024
    assert asked[-1].headers["host"] == "api.openai.com"
    assert asked[-1].headers["authorization"] == "Bearer value-of-key"
    stored = descriptions(world.redis)
    assert len(stored) >= 2 and all(len(value) == 4 * 1024 for value in stored)


def descriptions(redis_server: RedisServer) -> list[bytes]:
    import redis

    with redis.Redis("127.0.0.1", redis_server.port) as client:
        return [client.get(key) for key in client.keys("kong-ai-proxy:description:*")]


def semantic_fallback(world: World, slug: str) -> None:
    """Twins of one description share by weight; where the match is limited, the next one serves."""
    for _ in range(8):
        world.chat(slug, "programming problems in Python")
    chat = [request for request in world.mock.requests if request.path.endswith("/chat/completions")]
    assert Counter(request.json["model"] for request in chat) == {"gpt-4o": 6, "gpt-4o-mini": 2}
    world.log.wait(8)
    limited = Answer.json({"error": {"message": "slow down"}}, 429)
    world.mock.answer(limited, "/v1/chat/completions", times=2)
    world.chat(slug, "programming problems in real")
    tried = world.record()["tried_targets"]
    assert Counter(entry["model"] for entry in tried[:2]) == {"gpt-4o": 1, "gpt-4o-mini": 1}, "the twins"
    assert [entry["model"] for entry in tried[2:]] == ["gpt-4o"], "the other specialist"


CASES: dict[str, Callable[[World, str], None]] = {
    "anthropic-chat-route": chats,
    "assistants-route-type": assistants,
    "audio-speech-openai": speech,
    "audio-transcription-openai": transcription,
    "audio-translation-openai": audio_translation,
    "azure-ai-with-managed-identity": chats,
    "azure-batches-route": batches,
    "azure-chat-route": chats,
    "azure-files-route": files,
    "batches-route-type": batches,
    "bedrock-chat-route": chats,
    "bedrock-native-routes": bedrock_native,
    "cerebras-chat-route": chats,
    "circuit-breaker": breaker,
    "claude-code-anthropic": claude_code,
    "claude-code-azure": claude_code,
    "claude-code-bedrock": claude_code,
    "claude-code-dashscope": claude_code,
    "claude-code-gemini": claude_code,
    "claude-code-huggingface": claude_code,
    "claude-code-openai": claude_code,
    "claude-code-vertex": claude_code,
    "cohere-chat-route": chats,
    "cohere-native-routes": cohere_native,
    "consistent-hashing": sticky,
    "dashscope-chat-route": chats,
    "databricks-chat-route": chats,
    "deepseek-chat-route": chats,
    "embeddings-route-type": embeds,
    "files-route-type": files,
    "gemini-chat-route": chats,
    "gemini-native-routes": gemini_native,
    "hugging-face-native-routes": huggingface_native,
    "huggingface-chat-route": chats,
    "image-edits-openai": image_edit,
    "image-generation-openai": image,
    "least-connections": shared,
    "llama2-chat-route": chats,
    "lowest-latency": shared,
    "lowest-usage": shared,
    "mistral-chat-route": chats,
    "model-alias-routing": aliases,
    "ollama-chat-route": chats,
    "openai-chat-route": chats,
    "priority": priority,
    "realtime-route-openai": realtime,
    "responses-route-type": responses,
    "round-robin": round_robin,
    "sdk-azure-one-route": azure_one_route,
    "sdk-dynamic-model-selection": dynamic_model,
    "sdk-multiple-azure-deployments": azure_two_routes,
    "sdk-two-routes": two_routes,
    "semantic": semantic,
    "semantic-valkey": semantic,
    "semantic-with-fallback": semantic_fallback,
    "video-generation-openai": video,
    "vllm-chat-route": chats,
    "xai-chat-route": chats,
    "xai-image-generation": image,
}
"""Example → what is done with it."""


def test_no_example_is_left_out() -> None:
    assert set(CASES) == set(EXAMPLES)
    assert len(CASES) == 59


@pytest.mark.parametrize("slug", CASES)
def test_example(advanced: World, slug: str) -> None:
    CASES[slug](advanced, slug)


@pytest.mark.parametrize(
    ("slug", "fault"),
    [
        ("sdk-multiple-azure-deployments", "targets[1].model.options.zure_instance"),
        ("sdk-two-routes", "targets[1].targets"),
        ("video-generation-openai", "targets[1].model.options.seconds"),
        ("xai-image-generation", "targets[1].genai_category"),
    ],
)
def test_a_faulty_example_is_refused_by_the_faults_name(slug: str, fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(ADVANCED, filled(EXAMPLES[slug].configs[0], "{}"))
    assert fault in dict(refused.value.problems)
    faulty = {name for name, example in EXAMPLES.items() if example.invalid}
    assert slug in faulty and len(faulty) == 4
