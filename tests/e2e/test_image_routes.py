"""The openai SDK's images API on every provider that makes images: generations, edits, streams, refusals.

`kong-…` are the documented examples with image route types (shared/kong/examples.md; the Gemini one is Kong's
guide "Use Gemini's imageConfig"), their host replaced by the mock's.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_support import Json, target
from http_support import MARK
from rest_gateway import RestGateway

from kong_ai_proxy.mockllm.providers.images import png

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
GENERATIONS = "image/v1/images/generations"
EDITS = "image/v1/images/edits"
PNG = png()
AWS = {"bedrock": {"aws_region": "us-east-1"}}
VERTEX = {"gemini": {"api_endpoint": "vertex.test", "project_id": "p-1", "location_id": "global"}}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gemini": ("gemini", "gemini-2.5-flash-image", {}),
    "vertex": ("gemini", "gemini-3-pro-image-preview", VERTEX),
    "imagen": ("gemini", "imagen-4.0-generate-001", {}),
    "nova": ("bedrock", "amazon.nova-canvas-v1:0", AWS),
    "titan": ("bedrock", "amazon.titan-image-generator-v2:0", AWS),
    "stability": ("bedrock", "stability.stable-image-ultra-v1:1", AWS),
    "qwen": ("dashscope", "qwen-image-2.0-pro", {}),
    "wan": ("dashscope", "wan2.2-t2i-flash", {}),
}
EDITORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gemini": MODELS["gemini"],
    "nova": MODELS["nova"],
    "inpaint": ("bedrock", "us.stability.stable-image-inpaint-v1:0", AWS),
    "qwen": ("dashscope", "qwen-image-edit-plus", {}),
    "wan": ("dashscope", "wan2.5-i2i-preview", {}),
    "xai": ("xai", "grok-imagine-image", {}),
}
TOKENS = ("gemini", "vertex")
"""Targets whose provider reports tokens."""


def routes(mock: str) -> dict[str, Json]:
    """Plugin configurations by route."""
    made = {
        name: target(mock, provider, model, "", GENERATIONS, **options)
        for name, (provider, model, options) in MODELS.items()
    }
    for name, (provider, model, options) in EDITORS.items():
        made[f"edit-{name}"] = target(mock, provider, model, "", EDITS, **options)
    made["kong-image-generation-openai"] = target(
        mock, "openai", "gpt-image-1.5", "/v1/images/generations", GENERATIONS
    )
    made["kong-image-edits-openai"] = target(mock, "openai", "gpt-image-1.5", "/v1/images/edits", EDITS)
    made["kong-xai-image-generation"] = target(
        mock, "xai", "grok-2-image", "/v1/images/generations", GENERATIONS
    )
    made["kong-gemini-3-image-config"] = target(
        mock, "gemini", "gemini-3-pro-image-preview", "", GENERATIONS, **VERTEX
    )
    for config in made.values():
        config["genai_category"] = "image/generation"
        config["logging"] = {"log_statistics": True, "log_payloads": True}
    return made


@pytest.fixture(scope="module")
def running() -> Iterator[RestGateway]:
    with RestGateway(routes) as gateway:
        yield gateway


@pytest.fixture
def rest(running: RestGateway) -> Iterator[RestGateway]:
    MARK["x-test"] = uuid.uuid4().hex
    running.mock.reset()
    yield running
    running.close_clients()


def checked(record: Json, provider: str, *, images: int, tokens: bool) -> None:
    assert record["meta"]["provider_name"] == provider
    assert record["usage"]["images"] == images
    assert "source" not in record["usage"]
    if tokens:
        assert record["usage"]["output_tokens_details"]["image_tokens"] == 1290 * images
        assert record["usage"]["output_tokens"] == 1310 * images
    shown = json.dumps(record)
    assert len(shown) < 5000


@pytest.mark.parametrize("name", MODELS)
def test_generations(rest: RestGateway, name: str) -> None:
    provider, model, _ = MODELS[name]
    answer = rest.client(name).images.generate(prompt="a cat", model=model, n=2, response_format="b64_json")
    assert answer.data is not None
    assert [base64.b64decode(image.b64_json or "") for image in answer.data] == [PNG, PNG]
    assert (answer.output_format, answer.size) == ("png", "2x2")
    if name in TOKENS:
        assert answer.usage is not None and answer.usage.output_tokens == 2620
    record = rest.record()
    checked(record, provider, images=2, tokens=name in TOKENS)
    assert record["tried_targets"][0]["route_type"] == GENERATIONS


@pytest.mark.parametrize("name", ["gemini", "qwen"])
def test_urls(rest: RestGateway, name: str) -> None:
    answer = rest.client(name).images.generate(prompt="a cat", response_format="url")
    assert answer.data is not None and answer.data[0].url is not None
    if name == "gemini":
        assert answer.data[0].url == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    else:
        assert answer.data[0].url.startswith(rest.mock.url)
        assert not any(one.path.startswith("/mock-image/") for one in rest.mock.requests)


@pytest.mark.parametrize("name", EDITORS)
def test_edits(rest: RestGateway, name: str) -> None:
    provider, _, _ = EDITORS[name]
    answer = rest.client(f"edit-{name}").images.edit(image=("a.png", PNG), prompt="a hat", n=1)
    assert answer.data is not None and len(answer.data) == 1
    assert rest.record()["meta"]["provider_name"] == provider
    sent = rest.mock.requests[0]
    assert base64.b64encode(PNG) in sent.body
    assert sent.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["gemini", "nova", "qwen"])
def test_a_stream_of_whole_images(rest: RestGateway, name: str) -> None:
    with rest.client(name).images.generate(prompt="a cat", n=2, stream=True, partial_images=1) as stream:
        events = list(stream)
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert [base64.b64decode(event.b64_json) for event in events] == [PNG, PNG]
    record = rest.record()
    assert record["meta"]["request_mode"] == "stream"
    assert record["usage"]["images"] == 2


def test_a_stream_of_an_edit(rest: RestGateway) -> None:
    client = rest.client("edit-gemini")
    with client.images.edit(image=[("a.png", PNG), ("b.png", PNG)], prompt="x", stream=True) as stream:
        (event,) = stream
    assert event.type == "image_edit.completed"
    assert event.usage.output_tokens == 1310


@pytest.mark.parametrize("name", MODELS)
def test_blocked_prompts(rest: RestGateway, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        rest.client(name).images.generate(prompt="something blocked")
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")
    if name in TOKENS:
        # The prompt was read, and is paid for.
        assert rest.record()["usage"]["input_tokens"] == 6


def test_what_is_dropped_is_told(rest: RestGateway) -> None:
    raw = rest.client("gemini").images.with_raw_response.generate(
        prompt="a cat", quality="high", user="me", background="opaque"
    )
    assert set(raw.headers["x-kong-ai-dropped"].split(", ")) == {"quality", "user"}
    with pytest.raises(openai.BadRequestError) as caught:
        rest.client("gemini").images.generate(prompt="a cat", background="transparent")
    assert caught.value.param == "background"


def test_a_task_is_looked_after_within_the_request(rest: RestGateway) -> None:
    rest.client("wan").images.generate(prompt="a slow cat", response_format="b64_json")
    asked = [(one.method, one.path.rpartition("/")[0]) for one in rest.mock.requests]
    assert asked == [
        ("POST", "/api/v1/services/aigc/text2image"),
        ("GET", "/api/v1/tasks"),
        ("GET", "/api/v1/tasks"),
        ("GET", "/mock-image"),
    ]
    begun, *looks, fetched = rest.mock.requests
    assert "authorization" not in fetched.headers
    assert looks[0].headers["authorization"] == begun.headers["authorization"] == "Bearer secret-key"
    assert looks[1].at - looks[0].at >= 0.9


def test_the_documented_examples(rest: RestGateway) -> None:
    answer = rest.client("kong-image-generation-openai").images.generate(prompt="a cat", size="1024x1024")
    assert answer.data
    edited = rest.client("kong-image-edits-openai").images.edit(image=("a.png", PNG), prompt="a hat")
    assert edited.data
    painted = rest.client("kong-xai-image-generation").images.generate(prompt="a cat")
    assert painted.data
    assert rest.mock.last.json["model"] == "grok-2-image"
    wide = rest.client("kong-gemini-3-image-config").images.generate(
        prompt="a cat",
        extra_body={"generationConfig": {"imageConfig": {"aspectRatio": "16:9", "imageSize": "4K"}}},
    )
    assert wide.data and wide.data[0].b64_json
    config = rest.mock.last.json["generationConfig"]
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "4K"}
    assert rest.mock.last.path == (
        "/v1/projects/p-1/locations/global/publishers/google/models/gemini-3-pro-image-preview:generateContent"
    )
    images = [record["ai"]["proxy"]["usage"]["images"] for record in rest.log.wait(4)]
    assert images == [1, 1, 1, 1]
