"""Veo on both of Google's APIs."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from videos_support import Drive, through

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.steps import Streamed

FILE = "https://generativelanguage.googleapis.com/v1beta/files/abc-1:download?alt=media"
SAMPLE = {"response": {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": FILE}}]}}}
PUBLIC = "models/veo-3.1-generate-preview/operations/op_1"
VERTEX = "projects/p 1/locations/us-central1/publishers/google/models/veo-3.1-generate-001/operations/op-1"


def started(kind: str = "gemini", **body: Any) -> tuple[Drive, dict[str, Any]]:
    drive = Drive(kind, {"prompt": "a cat", **body})
    return drive, drive.whole({"name": PUBLIC if kind == "gemini" else VERTEX})


def test_create() -> None:
    drive, made = started(seconds="4", size="720x1280", sampleCount=2)
    assert made == {
        "id": made["id"],
        "object": "video",
        "created_at": 1_750_000_000,
        "status": "queued",
        "completed_at": None,
        "error": None,
        "expires_at": None,
        "model": "veo-3.1-generate-preview",
        "progress": 0,
        "remixed_from_video_id": None,
        "seconds": "4",
        "size": "720x1280",
    }
    assert drive.call.usage.seconds == 8


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({}, "1280x720"),
        ({"aspectRatio": "9:16"}, "720x1280"),
        ({"resolution": "1080p"}, "1920x1080"),
        ({"aspectRatio": "9:16", "resolution": "4k"}, "2160x3840"),
        ({"aspectRatio": "1:1"}, None),
        ({"size": "1920x1080", "aspectRatio": "9:16"}, "1920x1080"),
    ],
)
def test_the_size_that_is_told(body: dict[str, Any], size: str | None) -> None:
    assert started(**body)[1]["size"] == size


def test_veo_2_has_one_resolution() -> None:
    drive = Drive("gemini", {"prompt": "x", "size": "720x1280"}, model="veo-2.0-generate-001")
    assert isinstance(drive.step.body, dict)
    assert drive.step.body["parameters"] == {"aspectRatio": "9:16"}
    with pytest.raises(ApiError) as caught:
        Drive("gemini", {"prompt": "x", "size": "1920x1080"}, model="veo-2.0-generate-001")
    assert caught.value.param == "size"


@pytest.mark.parametrize(
    "name", [None, "", 7, "operations/op", "models/../operations/op", "models/m/operations/o?x"]
)
def test_an_operation_that_cannot_be_known_again(name: Any) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("gemini", {"prompt": "x"}).answer({"name": name})
    assert caught.value.status == 502


@pytest.mark.parametrize("model", ["..", "a/b", "models/.."])
def test_no_way_out_of_the_models_path(model: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("gemini", {"prompt": "x"}, model=model)
    assert caught.value.param == "model"


def test_retrieve() -> None:
    made = started()[1]
    drive = Drive("gemini", rest=f"/{made['id']}")
    assert drive.step.method == "GET"
    assert drive.url == f"https://generativelanguage.googleapis.com/v1beta/{PUBLIC}"
    assert drive.whole({"name": PUBLIC, "done": True, **SAMPLE}) == {
        **made, "status": "completed", "progress": 100,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "code", "message"),
    [
        ({"error": {"code": 8, "message": "Quota"}}, "rate_limit_exceeded", "Quota"),
        ({"error": {"code": 13}}, "generation_failed", ""),
        (
            {"response": {"generateVideoResponse": {"raiMediaFilteredReasons": ["No.", "No!"]}}},
            "content_filter",
            "No. No!",
        ),
        ({"response": None}, "content_filter", "Google answered with no video"),
        ({"response": {"videos": "?"}}, "content_filter", "Google answered with no video"),
    ],
)
def test_failures(operation: dict[str, Any], code: str, message: str) -> None:
    made = started()[1]
    told = Drive("gemini", rest=f"/{made['id']}").whole({"done": True, **operation})
    assert (told["status"], told["error"]) == ("failed", {"code": code, "message": message})


def test_content_with_redirects() -> None:
    made = started()[1]
    drive = Drive("gemini", rest=f"/{made['id']}/content").answer({"done": True, **SAMPLE})
    assert drive.url == FILE and drive.step.streams and drive.step.credentials
    moved = "https://generativelanguage.googleapis.com/download/v1beta/files/abc-1:download?alt=media"
    assert drive.answer(b"", 302, location=moved).url == moved
    drive.answer(b"", 200)
    assert isinstance(drive.result, Streamed) and drive.result.content_type == "video/mp4"


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/files/abc-1:download",
        "http://generativelanguage.googleapis.com/x",
        "https://generativelanguage.googleapis.com:8443/x",
        "https://generativelanguage.googleapis.com.evil.example/x",
        "https://generativelanguage.googleapis.com@evil.example/x",
    ],
)
def test_the_key_is_sent_nowhere_else(location: str) -> None:
    made = started()[1]
    drive = Drive("gemini", rest=f"/{made['id']}/content").answer({"done": True, **SAMPLE})
    with pytest.raises(ApiError) as caught:
        _ = drive.answer(b"", 302, location=location).url
    assert (caught.value.status, caught.value.code) == (502, "upstream_redirect")


@pytest.mark.parametrize("location", ["", "/relative", "ftp://x"])
def test_redirects_to_nowhere(location: str) -> None:
    made = started()[1]
    drive = Drive("gemini", rest=f"/{made['id']}/content").answer({"done": True, **SAMPLE})
    with pytest.raises(ApiError) as caught:
        drive.answer(b"", 302, location=location)
    assert caught.value.status == 502


def test_redirects_end() -> None:
    made = started()[1]
    drive = Drive("gemini", rest=f"/{made['id']}/content").answer({"done": True, **SAMPLE})
    with pytest.raises(ApiError):
        for _ in range(10):
            drive.answer(b"", 302, location=FILE)


@pytest.mark.parametrize("uri", [None, "", "https://evil.example/x", "gs://bucket/x", 5])
def test_a_file_elsewhere(uri: Any) -> None:
    made = started()[1]
    sample = {"response": {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}}}
    with pytest.raises(ApiError) as caught:
        Drive("gemini", rest=f"/{made['id']}/content").answer({"done": True, **sample})
    assert caught.value.status == 502


def test_vertex() -> None:
    drive, made = started("vertex", seed=5, generateAudio=False)
    assert isinstance(drive.step.body, dict)
    assert drive.step.body["parameters"] == {"seed": 5, "generateAudio": False}
    assert "p 1" not in base64.urlsafe_b64decode(made["id"][6:] + "==").decode()
    look = Drive("vertex", rest=f"/{made['id']}")
    place = "/v1/projects/p%201/locations/us-central1/publishers/google/models/veo-3.1-generate-001"
    assert look.url == f"https://us-central1-aiplatform.googleapis.com{place}:fetchPredictOperation"
    assert look.step.body == {"operationName": VERTEX} and look.step.streams
    look.answer(b"")
    videos = [{"bytesBase64Encoded": base64.b64encode(b"mp4" * 9).decode()}]
    done = json.dumps({"done": True, "response": {"videos": videos}}).encode()
    told = json.loads(through(look.result, done, lambda size: 11))
    assert told == {**made, "status": "completed", "progress": 100}
    content = Drive("vertex", rest=f"/{made['id']}/content").answer(b"")
    assert isinstance(content.result, Streamed) and content.result.content_type == "video/mp4"
    assert through(content.result, done, lambda size: 11) == b"mp4" * 9


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({}, "video_not_ready"),
        ({"done": True, "error": {"message": "no"}}, "video_failed"),
        ({"done": True, "response": {"videos": [{"gcsUri": "gs://b/x"}]}}, "bad_upstream_answer"),
    ],
)
def test_no_content_on_vertex(operation: dict[str, Any], code: str) -> None:
    made = started("vertex")[1]
    content = Drive("vertex", rest=f"/{made['id']}/content").answer(b"")
    with pytest.raises(ApiError) as caught:
        through(content.result, json.dumps(operation).encode())
    assert caught.value.code == code
