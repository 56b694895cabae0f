"""The openai SDK's videos API on providers that have another API for it: create, poll, download, list."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_support import Json, target
from http_support import MARK, call
from rest_gateway import RestGateway

from kong_ai_proxy.mockllm.providers.videos import content

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
VIDEOS = "video/v1/videos/generations"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def routes(mock: str) -> dict[str, Json]:
    """Plugin configurations by route."""
    vertex = {"api_endpoint": "us.test", "project_id": "p-1", "location_id": "us-central1"}
    reel = {"aws_region": "us-east-1", "video_output_s3_uri": "s3://mock-videos/out"}
    made = {
        "veo": target(mock, "gemini", "veo-3.1-generate-preview", "", VIDEOS),
        "vertex": target(mock, "gemini", "veo-3.1-generate-001", "", VIDEOS, gemini=vertex),
        "reel": target(mock, "bedrock", "amazon.nova-reel-v1:1", "", VIDEOS, bedrock=reel),
        "ray": target(mock, "bedrock", "luma.ray-v2:0", "", VIDEOS, bedrock=reel),
        "fal": target(mock, "huggingface", "mock/fal", "/router", VIDEOS),
        "fal-i2v": target(mock, "huggingface", "mock/fal-i2v", "/router", VIDEOS),
        "together": target(mock, "huggingface", "mock/together-fal:together", "/router", VIDEOS),
        "wavespeed": target(mock, "huggingface", "mock/replicate-wavespeed", "/router", VIDEOS),
        "replicate": target(mock, "huggingface", "mock/replicate", "/router", VIDEOS),
        "xai": target(mock, "xai", "grok-imagine-video", "", VIDEOS),
        "dashscope": target(mock, "dashscope", "wan2.5-t2v-preview", "", VIDEOS),
        "endpoint": target(mock, "huggingface", "my-model", "/v1/videos", VIDEOS),
        "sora": target(mock, "azure", "sora", "/openai/v1/video/generations/jobs", VIDEOS),
        "openai": target(mock, "openai", "sora-2", "/v1/videos", VIDEOS),
    }
    fields = ("route_type", "auth", "logging", "model")
    mixed = [{field: made[name][field] for field in fields} for name in ("openai", "veo", "reel", "xai")]
    return {**made, "mixed": {"targets": mixed}}


@pytest.fixture(scope="module")
def running() -> Iterator[RestGateway]:
    gateway = RestGateway(routes)
    with pytest.MonkeyPatch.context() as environment:
        # Where AWS's and Hugging Face's own SDKs look for another host, too.
        environment.setenv("AWS_ENDPOINT_URL_S3", gateway.mock.url)
        environment.setenv("HF_ENDPOINT", gateway.mock.url)
        with gateway:
            yield gateway


@pytest.fixture
def rest(running: RestGateway) -> Iterator[RestGateway]:
    MARK["x-test"] = uuid.uuid4().hex
    running.mock.reset()
    yield running
    running.close_clients()


WANTED: dict[str, tuple[str, str | None, str | None, float | None]] = {
    "veo": ("8", "1280x720", "1280x720", 8),
    "vertex": ("4", "720x1280", "720x1280", 4),
    "reel": ("12", "1280x720", "1280x720", 12),
    "ray": ("9", "720x1280", "720x1280", 9),
    "together": ("5", "1280x720", "1280x720", 5),
    "sora": ("8", "720x1280", "720x1280", 8),
    "xai": ("6", "1280x720", "1280x720", 6),
    "dashscope": ("10", "832x480", "832x480", 10),
}
"""Route → seconds and size that are asked for, size that is told, seconds that are logged."""


@pytest.mark.parametrize("route", WANTED)
def test_there_and_back(rest: RestGateway, route: str) -> None:
    videos = rest.client(route).videos
    seconds, size, told, logged = WANTED[route]
    asked: Any = {"seconds": seconds, "size": size}
    made = videos.create(prompt="a cat", **asked)
    assert made.id.startswith("video_") and made.object == "video"
    assert made.status in ("queued", "in_progress") and made.progress == 0 and made.error is None
    assert (made.seconds, made.size) == (seconds, told)
    with pytest.raises(openai.BadRequestError) as early:
        videos.download_content(made.id)
    assert early.value.code == "video_not_ready"
    done = videos.poll(made.id, poll_interval_ms=1)
    assert (done.id, done.status, done.progress, done.error) == (made.id, "completed", 100, None)
    assert (done.seconds, done.size, done.model) == (seconds, told, made.model)
    assert videos.download_content(made.id).read() == content()
    first, *others = [record["ai"]["proxy"] for record in rest.log.wait(4)]
    assert first["usage"]["seconds"] == logged and first["usage"]["source"] == "estimated"
    assert not [record["usage"] for record in others if "usage" in record]
    assert first["meta"]["request_model"]


@pytest.mark.parametrize("route", ["fal", "wavespeed"])
def test_inference_providers(rest: RestGateway, route: str) -> None:
    videos = rest.client(route).videos
    made = videos.create(prompt="a cat", extra_body={"num_frames": 81, "seed": 7})
    assert rest.mock.last.json == {"prompt": "a cat", "num_frames": 81, "seed": 7}
    assert rest.mock.last.headers["authorization"] == "Bearer secret-key"
    assert videos.poll(made.id, poll_interval_ms=1).status == "completed"
    assert videos.download_content(made.id).read() == content()
    assert "authorization" not in rest.mock.last.headers


@pytest.mark.parametrize(
    "route", ["veo", "vertex", "reel", "ray", "fal", "together", "wavespeed", "sora", "xai", "dashscope"]
)
def test_failures_are_told(rest: RestGateway, route: str) -> None:
    videos = rest.client(route).videos
    made = videos.create_and_poll(prompt="please fail", poll_interval_ms=1)
    assert made.status == "failed" and made.error is not None
    assert "not understood" in made.error.message or made.error.message == "input_moderation"
    with pytest.raises(openai.BadRequestError) as caught:
        videos.download_content(made.id)
    assert caught.value.code == "video_failed"


@pytest.mark.parametrize("route", ["veo", "vertex", "reel", "ray", "fal-i2v", "xai", "dashscope"])
def test_begins_with_an_image(rest: RestGateway, route: str) -> None:
    rest.client(route).videos.create(prompt="a cat", input_reference=("a.png", PNG, "image/png"))
    assert "iVBORw0KGgoAAAAA" in rest.mock.last.body.decode()
    call_body = {"prompt": "a cat", "input_reference": {"image_url": "data:image/png;base64,iVBORw0KGgo="}}
    assert call(rest.url, f"/{route}", call_body).status == 200
    assert "iVBORw0KGgo=" in rest.mock.last.body.decode()


def test_of_several_providers_the_one_is_asked_that_made_it(rest: RestGateway) -> None:
    videos = rest.client("mixed").videos
    made = [videos.create(prompt="a cat") for _ in range(4)]
    assert len({video.model for video in made}) == 4
    for video in made:
        done = videos.poll(video.id, poll_interval_ms=1)
        assert (done.id, done.status) == (video.id, "completed")
        assert len(videos.download_content(video.id).read()) >= 200_000


def test_bedrock_as_documented(rest: RestGateway) -> None:
    """The example of Kong's page, in JSON with a literal `extra_body`."""
    body = {"model": "amazon.nova-reel-v1:1", "prompt": "A large red square", "extra_body": {"fps": 24}}
    made = call(rest.url, "/reel", body).json
    assert made["object"] == "video" and made["seconds"] == "6"
    sent = rest.mock.last.json
    assert sent["modelInput"]["videoGenerationConfig"]["fps"] == 24
    assert sent["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": "s3://mock-videos/out"}}


def test_lists(rest: RestGateway) -> None:
    reel = rest.client("reel").videos
    made = reel.create(prompt="a cat")
    listed = reel.list(limit=5)
    assert listed.data[0].id == made.id
    assert listed.data[0].seconds == "6"
    sora = rest.client("sora").videos
    job = sora.create(prompt="a cat")
    assert sora.list().data[0].id == job.id
    assert sora.delete(job.id).deleted
    with pytest.raises(openai.NotFoundError):
        sora.retrieve(job.id)
    with pytest.raises(openai.BadRequestError):
        rest.client("veo").videos.list()


def test_an_endpoint_of_ones_own(rest: RestGateway) -> None:
    videos = rest.client("endpoint").videos
    made = videos.create(prompt="a cat")
    assert b"my-model" in rest.mock.last.body
    assert videos.retrieve(made.id).status == "completed"
    assert rest.mock.last.path == "/v1/videos/video_1"


@pytest.mark.parametrize(
    ("route", "asked", "param"),
    [
        ("veo", {"size": "1792x1024"}, "size"),
        ("veo", {"seconds": "soon"}, "seconds"),
        ("vertex", {"input_reference": {"image_url": "https://example.com/a.png"}}, "input_reference"),
        ("reel", {"seconds": "8"}, "seconds"),
        ("reel", {"size": "720x1280"}, "size"),
        ("ray", {"seconds": 4}, "seconds"),
        ("ray", {"size": "1024x1792"}, "size"),
        ("fal", {"seconds": "4"}, "seconds"),
        ("wavespeed", {"size": "1280x720"}, "size"),
        ("replicate", {}, "model"),
        ("sora", {"input_reference": {"file_id": "file-1"}}, "input_reference"),
        ("xai", {"seconds": "20"}, "seconds"),
        ("xai", {"size": "1792x1024"}, "size"),
        ("veo", {"prompt": ""}, "prompt"),
    ],
)
def test_what_cannot_be_had(rest: RestGateway, route: str, asked: Json, param: str) -> None:
    answer = call(rest.url, f"/{route}", {"prompt": "a cat", **asked})
    assert answer.status == 400
    assert answer.json["error"]["param"] == param
    assert not [one for one in rest.mock.requests if one.method == "POST"]


@pytest.mark.parametrize("route", ["veo", "reel", "together"])
def test_no_remix_and_no_deletion(rest: RestGateway, route: str) -> None:
    videos = rest.client(route).videos
    made = videos.create(prompt="a cat")
    with pytest.raises(openai.BadRequestError, match="remix"):
        videos.remix(made.id, prompt="a dog")
    with pytest.raises(openai.BadRequestError, match="delete"):
        videos.delete(made.id)
    with pytest.raises(openai.BadRequestError, match="thumbnail"):
        videos.download_content(made.id, variant="thumbnail")


def test_ids_of_others_are_unknown(rest: RestGateway) -> None:
    made = rest.client("veo").videos.create(prompt="a cat")
    for route in ("vertex", "reel", "fal", "sora"):
        with pytest.raises(openai.NotFoundError):
            rest.client(route).videos.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        rest.client("veo").videos.retrieve("video_1")
