"""Inference providers behind Hugging Face's router."""

from __future__ import annotations

from typing import Any

import pytest
from videos_support import Drive, make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import Url
from kong_ai_proxy.formats.steps import Step, Streamed
from kong_ai_proxy.formats.videos.ids import Job, encode
from kong_ai_proxy.providers import provider

ROUTER = "https://router.huggingface.co"
PNG = "data:image/png;base64,iVBORw=="


def mapping(*names: str, task: str = "text-to-video", **more: Any) -> dict[str, Any]:
    found = {name: {"status": "live", "providerId": f"{name}/m", "task": task, **more} for name in names}
    return {"id": "owner/model", "inferenceProviderMapping": found}


def starting(body: dict[str, Any], *names: str, model: str | None = None) -> Drive:
    task = "image-to-video" if "input_reference" in body else "text-to-video"
    drive = Drive("huggingface", {"prompt": "a cat", **body}, model=model)
    assert drive.url == "https://huggingface.co/api/models/owner/model?expand=inferenceProviderMapping"
    return drive.answer(mapping(*names, task=task))


FAL = {"request_id": "r-1", "response_url": "https://queue.fal.run/fal-ai/other-name/requests/r-1"}
TOGETHER = {"id": "vid-1", "status": "queued"}
WAVESPEED = {"data": {"id": "p1", "urls": {"get": "https://api.wavespeed.ai/api/v3/predictions/p1/result"}}}


def test_fal() -> None:
    drive = starting({"num_frames": 81}, "novita", "fal-ai")
    assert drive.url == f"{ROUTER}/fal-ai/fal-ai/m?_subdomain=queue"
    assert drive.step.body == {"prompt": "a cat", "num_frames": 81}
    made = drive.whole(FAL)
    assert (made["status"], made["seconds"], made["size"], made["model"]) == (
        "queued",
        None,
        None,
        "owner/model",
    )
    assert drive.call.usage.seconds is None
    look = Drive("huggingface", rest=f"/{made['id']}")
    assert look.url == f"{ROUTER}/fal-ai/fal-ai/other-name/requests/r-1/status?_subdomain=queue"
    assert look.whole({"status": "IN_QUEUE"})["status"] == "queued"
    look = Drive("huggingface", rest=f"/{made['id']}")
    assert look.whole({"status": "IN_PROGRESS"})["status"] == "in_progress"
    look = Drive("huggingface", rest=f"/{made['id']}").answer({"status": "COMPLETED"})
    assert look.url == f"{ROUTER}/fal-ai/fal-ai/other-name/requests/r-1?_subdomain=queue"
    assert look.whole({"video": {"url": "https://v3.fal.media/files/x.mp4"}})["status"] == "completed"
    content = Drive("huggingface", rest=f"/{made['id']}/content").answer({"status": "COMPLETED"})
    content.answer({"video": {"url": "https://v3.fal.media/files/x.mp4?a=b"}})
    assert content.url == "https://v3.fal.media/files/x.mp4?a=b"
    assert content.step.streams and not content.step.credentials
    content.answer(b"")
    assert isinstance(content.result, Streamed)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": "No GPU"}, "No GPU"),
        ({"detail": [{"msg": "too long"}, {"msg": "too wide"}, 7]}, "too long; too wide; "),
        (b"<html>", "the provider answered with status 422"),
        ([], "the provider answered with status 422"),
    ],
)
def test_fals_failures(body: Any, message: str) -> None:
    made = starting({}, "fal-ai").whole(FAL)
    look = Drive("huggingface", rest=f"/{made['id']}").answer({"status": "COMPLETED"})
    told = look.whole(body, 422)
    assert (told["status"], told["error"]["message"]) == ("failed", message)


def test_together() -> None:
    drive = starting({"seconds": "5", "size": "1366x768", "steps": 20}, "together")
    assert drive.url == f"{ROUTER}/together/v2/videos"
    assert drive.step.body == {
        "model": "together/m", "prompt": "a cat", "seconds": "5", "width": 1366, "height": 768, "steps": 20,
    }  # fmt: skip
    made = drive.whole(TOGETHER)
    assert drive.call.usage.seconds == 5
    look = Drive("huggingface", rest=f"/{made['id']}")
    assert look.url == f"{ROUTER}/together/v2/videos/vid-1"
    told = look.whole({"status": "failed", "error": {"code": "c", "message": "m"}})
    assert told["error"] == {"code": "c", "message": "m"}
    assert (told["seconds"], told["size"]) == ("5", "1366x768")


def test_wavespeed() -> None:
    drive = starting({}, "wavespeed")
    assert drive.url == f"{ROUTER}/wavespeed/api/v3/wavespeed/m"
    made = drive.whole(WAVESPEED)
    look = Drive("huggingface", rest=f"/{made['id']}")
    assert look.url == f"{ROUTER}/wavespeed/api/v3/predictions/p1/result"
    assert look.whole({"data": {"status": "created"}})["status"] == "queued"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fal-ai", {"image_url": PNG}),
        ("wavespeed", {"image": PNG}),
        ("together", {"frame_images": [{"input_image": PNG, "frame": "first"}], "model": "together/m"}),
    ],
)
@pytest.mark.parametrize("given", [PNG, "https://example.com/a.png"])
def test_images(name: str, expected: dict[str, Any], given: str) -> None:
    drive = starting({"input_reference": given}, name)
    body = drive.step.body
    assert isinstance(body, dict)
    assert str(body) == str({**body, **expected}).replace(PNG, given)


def test_a_model_may_name_its_provider() -> None:
    assert "together" in starting({}, "fal-ai", "together", model="owner/model:together").url
    with pytest.raises(ApiError, match="served by fal-ai"):
        starting({}, "fal-ai", model="owner/model:together")


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"inferenceProviderMapping": None},
        {"inferenceProviderMapping": "?"},
        {"inferenceProviderMapping": {"fal-ai": None}},
        {"inferenceProviderMapping": [None, {"provider": "fal-ai", "task": "text-to-video"}]},
        mapping("replicate", "novita"),
        mapping("fal-ai", task="text-to-image"),
        mapping("fal-ai", status="error"),
        mapping("fal-ai", providerId="../../v1/chat"),
        mapping("fal-ai", providerId="a?b=c"),
    ],
)
def test_nobody_to_ask(found: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("huggingface", {"prompt": "x"}).answer(found)
    assert (caught.value.status, caught.value.param) == (400, "model")


@pytest.mark.parametrize("model", ["gpt2", "a/b/c", "../x", "a/..", "a b/c", "owner/model:", "a/.b"])
def test_models_that_are_none(model: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("huggingface", {"prompt": "x"}, model=model)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "answer", [{}, {"response_url": 5}, {"response_url": "https://x/"}, {"response_url": "https://x/a/../b"}]
)
def test_a_job_without_a_name(answer: Any) -> None:
    with pytest.raises(ApiError) as caught:
        starting({}, "fal-ai").answer(answer)
    assert caught.value.status == 502


def test_a_video_without_an_address() -> None:
    made = starting({}, "together").whole(TOGETHER)
    with pytest.raises(ApiError) as caught:
        Drive("huggingface", rest=f"/{made['id']}/content").answer({"status": "completed", "outputs": None})
    assert caught.value.status == 502


@pytest.mark.parametrize(
    "address",
    [
        "http://v3.fal.media/x.mp4",
        "https://v3.fal.media:8443/x.mp4",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://2130706433/x",
        "https://localhost/x",
        "https://metadata.google.internal/x",
        "https://kong.default.svc.cluster.local/x",
        "https://relay/x",
        "https://x.test\\@127.0.0.1/",
        "https://",
    ],
)
def test_files_lie_at_public_hosts(address: str) -> None:
    call = make_call("huggingface")
    with pytest.raises(ApiError) as caught:
        provider("huggingface").step_url(call, Step("GET", address, credentials=False))
    assert (caught.value.status, caught.value.code) == (502, "upstream_redirect")


def test_the_token_stays_at_the_router() -> None:
    with pytest.raises(ApiError):
        provider("huggingface").step_url(make_call("huggingface"), Step("GET", "https://v3.fal.media/x.mp4"))


@pytest.mark.parametrize(
    ("options", "translated"),
    [
        ({}, True),
        ({"upstream_url": "https://router.huggingface.co"}, True),
        ({"upstream_url": "https://proxy.test/hf"}, True),
        ({"upstream_url": "https://mine.endpoints.huggingface.cloud"}, False),
        ({"upstream_url": "https://mine.endpoints.huggingface.cloud/v1"}, False),
        ({"upstream_url": "https://mine.endpoints.huggingface.cloud/v1/videos"}, False),
        ({"upstream_path": "/v1/videos"}, False),
    ],
)
def test_who_has_openais_api(options: dict[str, Any], translated: bool) -> None:
    call = make_call("huggingface", **options)
    assert (provider("huggingface").steps(call) is not None) is translated
    url = provider("huggingface").step_url(call, Step("GET", "/fal-ai/x"))
    assert isinstance(url, Url)
    assert url.path == ("/hf/fal-ai/x" if "proxy" in url.host else url.path)


@pytest.mark.parametrize(
    "name",
    [
        "wavespeed:api/v3/predictions", "wavespeed:api/v3/balance", "wavespeed:api/v3/predictions/a/b/result",
        "fal-ai:fal-ai/m", "fal-ai:requests/1", "fal-ai:fal-ai/m/requests/1/cancel", "together:a/b",
        "novita:1",
        "together:..", "fal-ai:fal-ai/../requests/1",
    ],
)  # fmt: skip
def test_an_id_names_one_job_and_nothing_else_of_the_account(name: str) -> None:
    for action in ("", "/content"):
        with pytest.raises(ApiError) as caught:
            Drive("huggingface", None, f"/{encode('huggingface', Job(name))}{action}", "GET")
        assert caught.value.status == 404
