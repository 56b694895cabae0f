"""What clients ask of the videos API, as JSON and as a form."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from videos_support import Drive

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.steps import FilePart
from kong_ai_proxy.formats.videos.ids import Job, encode

PNG = b"\x89PNG" + bytes(8)
ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcde1"
OUTPUT = {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://my-videos/out/abcdefabcde1"}}}
JPEG = b"\xff\xd8\xff" + bytes(8)


def sent(kind: str, body: dict[str, Any], **given: Any) -> dict[str, Any]:
    body = Drive(kind, {"prompt": "a cat", **body}, **given).step.body  # type: ignore[assignment]
    assert isinstance(body, dict)
    return body


def test_a_form_says_the_same_as_json() -> None:
    form = sent("gemini", {"seconds": "8", "size": "1280x720", "negativePrompt": "rain"}, form=True)
    assert form == sent("gemini", {"seconds": 8, "size": "1280x720", "negativePrompt": "rain"})
    assert form == {
        "instances": [{"prompt": "a cat"}],
        "parameters": {
            "durationSeconds": 8,
            "aspectRatio": "16:9",
            "resolution": "720p",
            "negativePrompt": "rain",
        },
    }


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ({"fps": "30"}, True),
        ({"fps": 30}, False),
        ({"extra_body[fps]": "30"}, True),
        ({"extra_body": '{"fps": 30}'}, True),
        ({"extra_body": {"fps": 30, "seed": None}}, False),
    ],
)
def test_the_providers_own_parameters(body: dict[str, Any], form: bool) -> None:
    config = sent("bedrock", body, form=form)["modelInput"]["videoGenerationConfig"]
    assert config["fps"] == 30 and "seed" not in config


def test_what_a_provider_has_not_is_dropped() -> None:
    drive = Drive("bedrock", {"prompt": "x", "quality": "high", "extra_body": {"guidance": 2}})
    assert drive.call.dropped == ["quality", "guidance"]


@pytest.mark.parametrize("name", ["storageUri", "pubsubTopic"])
def test_no_client_makes_google_write_elsewhere(name: str) -> None:
    drive = Drive("vertex", {"prompt": "x", name: "gs://mine/there"})
    assert "gs://" not in str(drive.step.body)
    assert drive.call.dropped == [name]


def test_form_values_of_every_kind() -> None:
    fields = {"loop": "true", "aspect_ratio": "4:3"}
    made = sent("bedrock", fields, form=True, model="luma.ray-v2:0")["modelInput"]
    assert (made["loop"], made["aspect_ratio"], made["duration"]) == (True, "4:3", "5s")
    free = Drive(
        "huggingface", {"prompt": "x", "scale": "2.5", "steps": "-3", "on": "false", "n": "1e9"}, form=True
    )
    free.answer({"inferenceProviderMapping": [MAPPED]})
    assert free.step.body == {"prompt": "x", "scale": 2.5, "steps": -3, "on": False, "n": "1e9"}


MAPPED = {"provider": "fal-ai", "providerId": "fal-ai/m", "task": "text-to-video", "status": "live"}


@pytest.mark.parametrize(
    ("given", "files", "expected"),
    [
        ({}, [FilePart("input_reference", PNG, "a", "image/png")], ("image/png", PNG)),
        ({}, [FilePart("input_reference", JPEG, "a", "application/octet-stream")], ("image/jpeg", JPEG)),
        ({}, [FilePart("other", b"x"), FilePart("input_reference", PNG)], ("image/png", PNG)),
        ({"input_reference[image_url]": "data:image/png;base64,iVBORwA="}, None, ("image/png", b"\x89PNG\0")),
    ],
)
def test_images_in_a_form(given: dict[str, Any], files: Any, expected: tuple[str, bytes]) -> None:
    image = sent("gemini", given, files=files, form=True)["instances"][0]["image"]
    assert image == {
        "mimeType": expected[0],
        "bytesBase64Encoded": base64.b64encode(expected[1]).decode(),
    }


@pytest.mark.parametrize(
    "given", ["data:image/webp;base64,QUJD", {"image_url": "data:image/webp;base64,QUJD"}]
)
def test_images_in_json(given: Any) -> None:
    image = sent("gemini", {"input_reference": given})["instances"][0]["image"]
    assert image == {"mimeType": "image/webp", "bytesBase64Encoded": "QUJD"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"seconds": "four"}, "seconds"),
        ({"seconds": 4.5}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": "-4"}, "seconds"),
        ({"seconds": "٤"}, "seconds"),
        ({"size": 720}, "size"),
        ({"size": "720p"}, "size"),
        ({"size": "0x720"}, "size"),
        ({"size": "1280x720\n"}, "size"),
        ({"extra_body": "fps"}, "extra_body"),
        ({"extra_body": [1]}, "extra_body"),
        ({"extra_body": '"fps"'}, "extra_body"),
        ({"negativePrompt": 5}, "negativePrompt"),
        ({"sampleCount": True}, "sampleCount"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference"),
        ({"input_reference": {}}, "input_reference"),
        ({"input_reference": 7}, "input_reference"),
        ({"input_reference": "data:image/png;base64,*"}, "input_reference"),
        ({"input_reference": "data:text/html;base64,QUJD"}, "input_reference"),
        ({"input_reference": "http://169.254.169.254/latest"}, "input_reference"),
        ({"input_reference": "https://example.com/a.png"}, "input_reference"),
        ({"input_reference": "file:///etc/passwd"}, "input_reference"),
    ],
)
def test_what_is_refused_says_which_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("gemini", {"prompt": "x", **body})
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_file_that_is_no_image() -> None:
    with pytest.raises(ApiError) as caught:
        Drive("gemini", {"prompt": "x"}, files=[FilePart("input_reference", b"MZ")], form=True)
    assert caught.value.param == "input_reference"


@pytest.mark.parametrize("kind", ["gemini", "vertex", "bedrock", "azure"])
def test_a_video_needs_a_model(kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        drive = Drive(kind, {"prompt": "x"}, model="", upstream_path="/video/generations/jobs")
        raise AssertionError(drive.step)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("rest", "method", "word"),
    [
        ("/edits", "POST", "edits"),
        ("/extensions", "POST", "extensions"),
        ("/characters", "POST", "characters"),
        ("/characters/char_1", "GET", "characters"),
        ("", "GET", "list"),
    ],
)
def test_what_no_translation_has(rest: str, method: str, word: str) -> None:
    with pytest.raises(ApiError, match=word) as caught:
        Drive("gemini", rest=rest, method=method)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_videos_api")


@pytest.mark.parametrize(
    ("kind", "job"),
    [
        ("gemini", encode("veo", Job("m/op"))),
        ("vertex", encode("vertex", Job("m/op"))),
        ("bedrock", encode("bedrock", Job(ARN))),
        ("huggingface", encode("huggingface", Job("together:x"))),
    ],
)
@pytest.mark.parametrize(
    ("rest", "method", "query", "word"),
    [
        ("", "DELETE", "", "deletes"),
        ("/remix", "POST", "", "remix"),
        ("/content", "GET", "variant=x", "no x"),
    ],
)
def test_what_cannot_be_done_with_a_video(
    kind: str, job: str, rest: str, method: str, query: str, word: str
) -> None:
    with pytest.raises(ApiError, match=word) as caught:
        Drive(kind, rest=f"/{job}{rest}", method=method, query=query)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("kind", "job", "answer"),
    [
        ("gemini", encode("veo", Job("m/op")), {}),
        ("bedrock", encode("bedrock", Job(ARN)), {"status": "InProgress", **OUTPUT}),
        ("huggingface", encode("huggingface", Job("together:x")), {"status": "queued"}),
        ("azure", encode("sora", Job("task_1")), {"status": "running"}),
        ("xai", encode("xai", Job("t1")), {"status": "pending"}),
        ("dashscope", encode("dashscope", Job("t1")), {"output": {"task_status": "PENDING"}}),
    ],
)
def test_no_content_before_its_time(kind: str, job: str, answer: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        Drive(kind, rest=f"/{job}/content").answer(answer)
    assert (caught.value.status, caught.value.code) == (400, "video_not_ready")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5"])
def test_a_provider_that_answers_with_something_else(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("gemini", {"prompt": "x"}).answer(body)
    assert (caught.value.status, caught.value.code) == (502, "bad_upstream_answer")
