"""xAI's requests and DashScope's tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import first_attempt, proxy
from videos_support import Drive

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.steps import Step, Streamed
from kong_ai_proxy.formats.videos.ids import Job, encode

PNG = "data:image/png;base64,iVBORw=="
XAI = encode("xai", Job("t1", "", "", "grok-imagine-video", 1))
WAN = encode("dashscope", Job("t1", "", "", "wan2.5-t2v-preview", 1))


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({}, {}),
        ({"seconds": "15"}, {"duration": 15}),
        ({"size": "854x480"}, None),
        ({"size": "848x480"}, None),
        ({"size": "480x480"}, {"aspect_ratio": "1:1", "resolution": "480p"}),
        ({"size": "1080x1920"}, {"aspect_ratio": "9:16", "resolution": "1080p"}),
        ({"resolution": "720p", "loop": True}, {"resolution": "720p"}),
        ({"input_reference": PNG}, {"image": {"url": PNG}}),
        ({"input_reference": "https://example.com/a.png"}, {"image": {"url": "https://example.com/a.png"}}),
    ],
)
def test_xai_requests(body: dict[str, Any], sent: dict[str, Any] | None) -> None:
    if sent is None:
        with pytest.raises(ApiError) as caught:
            Drive("xai", {"prompt": "a cat", **body})
        assert caught.value.param == "size"
        return
    drive = Drive("xai", {"prompt": "a cat", **body})
    assert drive.url == "https://api.x.ai/v1/videos/generations"
    assert drive.step.body == {"model": "grok-imagine-video", "prompt": "a cat", **sent}
    made = drive.whole({"request_id": "c8-1"})
    assert made["status"] == "queued" and made["model"] == "grok-imagine-video"
    assert drive.call.usage.seconds == sent.get("duration")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": "failed", "error": {"code": "c", "message": "m"}}, {"code": "c", "message": "m"}),
        ({"status": "expired"}, {"code": "generation_failed", "message": "expired"}),
        ({"status": "failed", "error": "?"}, {"code": "generation_failed", "message": "failed"}),
    ],
)
def test_xai_failures(answer: dict[str, Any], error: dict[str, str]) -> None:
    told = Drive("xai", rest=f"/{XAI}").whole(answer)
    assert (told["status"], told["error"]) == ("failed", error)


@pytest.mark.parametrize(("given", "told"), [(56, 56), (-3, 0), (400, 100), ("x", 0), (None, 0)])
def test_progress_is_a_percentage(given: Any, told: int) -> None:
    assert Drive("xai", rest=f"/{XAI}").whole({"status": "pending", "progress": given})["progress"] == told


@pytest.mark.parametrize(
    ("model", "body", "given", "parameters"),
    [
        ("wan2.5-t2v-preview", {}, {}, {}),
        ("wan2.7-t2v", {"seconds": 10, "seed": 3}, {}, {"duration": 10, "seed": 3}),
        ("wan2.6-t2v", {"size": "832x480"}, {}, {"size": "832*480"}),
        ("wan2.6-t2v", {"negative_prompt": "rain"}, {"negative_prompt": "rain"}, {}),
        (
            "wan2.6-i2v",
            {"input_reference": PNG, "size": "1280x720"},
            {"img_url": PNG},
            {"resolution": "720P"},
        ),
    ],
)
def test_dashscope_requests(
    model: str, body: dict[str, Any], given: dict[str, Any], parameters: dict[str, Any]
) -> None:
    drive = Drive("dashscope", {"prompt": "a cat", **body}, model=model)
    host = "https://dashscope-intl.aliyuncs.com"
    assert drive.url == f"{host}/api/v1/services/aigc/video-generation/video-synthesis"
    assert drive.step.body == {
        "model": model,
        "input": {"prompt": "a cat", **given},
        "parameters": parameters,
    }
    assert drive.whole({"output": {"task_id": "t1", "task_status": "PENDING"}})["status"] == "queued"


@pytest.mark.parametrize(
    ("model", "size", "param"),
    [("wan2.7-i2v", None, "input_reference"), ("wan2.6-i2v", "900x900", "size")],
)
def test_images_that_dashscope_does_not_take(model: str, size: str | None, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("dashscope", {"prompt": "x", "input_reference": PNG, "size": size}, model=model)
    assert caught.value.param == param


def test_dashscope_failures() -> None:
    output = {"task_status": "FAILED", "code": "DataInspectionFailed", "message": "no"}
    told = Drive("dashscope", rest=f"/{WAN}").whole({"output": output})
    assert told["error"] == {"code": "DataInspectionFailed", "message": "no"}
    told = Drive("dashscope", rest=f"/{WAN}").whole({"output": {"task_status": "UNKNOWN"}})
    assert told["error"] == {"code": "generation_failed", "message": "UNKNOWN"}


@pytest.mark.parametrize(
    "usage", [None, {}, {"video_duration": "5", "video_ratio": 16}, {"video_ratio": "16:9"}]
)
def test_what_dashscope_does_not_tell(usage: Any) -> None:
    done = {"output": {"task_status": "SUCCEEDED", "end_time": "later"}, "usage": usage}
    told = Drive("dashscope", rest=f"/{WAN}").whole(done)
    assert (told["status"], told["seconds"], told["size"]) == ("completed", None, None)
    assert told["completed_at"] is None


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("xai", {}), ("xai", {"request_id": "../x"}), ("dashscope", {"output": {"task_id": 5}})],
)
def test_a_job_without_a_name(kind: str, answer: Any) -> None:
    with pytest.raises(ApiError) as caught:
        Drive(kind, {"prompt": "x"}).answer(answer)
    assert caught.value.status == 502


DONE = {
    "xai": lambda url: {"status": "done", "video": {"url": url}},
    "dashscope": lambda url: {"output": {"task_status": "SUCCEEDED", "video_url": url}},
}


@pytest.mark.parametrize(
    ("kind", "made", "url"),
    [
        ("xai", XAI, "https://vidgen.x.ai/a/b.mp4"),
        ("dashscope", WAN, "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x.mp4?Signature=s"),
        ("dashscope", WAN, "http://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/x.mp4"),
    ],
)
def test_content(kind: str, made: str, url: str) -> None:
    drive = Drive(kind, rest=f"/{made}/content").answer(DONE[kind](url))
    # Always by TLS: object storage serves both, and the signature is not of the scheme.
    assert drive.url == url.replace("http://", "https://")
    assert drive.step.streams and not drive.step.credentials
    drive.answer(b"")
    assert isinstance(drive.result, Streamed)


@pytest.mark.parametrize(
    ("kind", "made", "host"), [("xai", XAI, "vidgen.x.ai"), ("dashscope", WAN, "a.aliyuncs.com")]
)
def test_a_host_that_the_answer_names_must_be_public(kind: str, made: str, host: str) -> None:
    """The configured one need not be."""
    instance = proxy(
        kind, "m", route_type="video/v1/videos/generations", options={"upstream_url": "http://127.0.0.1:9"}
    )
    for url, public in ((f"https://{host}/f.mp4", True), ("http://127.0.0.1:9/f.mp4", False)):
        _, attempt = first_attempt(instance, ClientRequest("GET", f"/videos/{made}/content", "", {}))
        asked = attempt.translation.request()
        assert not asked.public_only and not asked.anonymous
        further = attempt.translation.further(200, {}, json.dumps(DONE[kind](url)).encode())
        assert further is not None and further.request.anonymous
        assert further.request.public_only is public


@pytest.mark.parametrize("kind", DONE)
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://x.ai.evil.example/",
        "https://vidgen.x.ai:8443/",
        "https://evilx.ai/",
    ],
)
def test_content_elsewhere_is_not_fetched(kind: str, url: str) -> None:
    drive = Drive(kind, rest=f"/{XAI if kind == 'xai' else WAN}/content").answer(DONE[kind](url))
    with pytest.raises(ApiError) as caught:
        _ = drive.url
    assert (caught.value.status, caught.value.code) == (502, "upstream_redirect")
    with pytest.raises(ApiError):
        drive.provider.step_url(drive.call, Step("GET", "https://vidgen.x.ai/with-the-key"))


@pytest.mark.parametrize("kind", DONE)
def test_content_without_an_address(kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive(kind, rest=f"/{XAI if kind == 'xai' else WAN}/content").answer(DONE[kind](None))
    assert caught.value.status == 502
