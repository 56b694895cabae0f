"""What every image request is checked for, whichever provider it is for."""

from __future__ import annotations

from typing import Any

import pytest
from images_support import PICTURE, PICTURE_BASE64, asks, sent_to

from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.formats.images.request import ImageRequest, configured_path, nearest_ratio
from kong_ai_proxy.formats.steps import FilePart

PROMPT = {"prompt": "a cat"}


def read(body: Any, *files: FilePart) -> ImageRequest:
    return ImageRequest(asks("gemini", "gemini-2.5-flash-image", body, *files))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": 7}, "prompt"),
        ({**PROMPT, "n": 0}, "n"),
        ({**PROMPT, "n": 11}, "n"),
        ({**PROMPT, "n": True}, "n"),
        ({**PROMPT, "n": "many"}, "n"),
        ({**PROMPT, "size": "big"}, "size"),
        ({**PROMPT, "size": "0x100"}, "size"),
        ({**PROMPT, "size": 1024}, "size"),
        ({**PROMPT, "aspect_ratio": "wide"}, "aspect_ratio"),
        ({**PROMPT, "aspect_ratio": "16:0"}, "aspect_ratio"),
        ({**PROMPT, "quality": 3}, "quality"),
        ({**PROMPT, "background": "blue"}, "background"),
        ({**PROMPT, "output_format": "gif"}, "output_format"),
        ({**PROMPT, "output_compression": 101}, "output_compression"),
        ({**PROMPT, "response_format": "file"}, "response_format"),
        ({**PROMPT, "seed": 1.5}, "seed"),
        ({**PROMPT, "image": ""}, "image"),
        ({**PROMPT, "image": 5}, "image"),
        ({**PROMPT, "image": "ftp://a/b.png"}, "image"),
        ({**PROMPT, "images": [{"file_id": "file-1"}]}, "images"),
        ({**PROMPT, "image": "data:image/png,plain"}, "image"),
    ],
)
def test_what_no_images_api_takes(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_an_invalid_value_is_told_as_openai_does() -> None:
    # openai/image-generations/022
    with pytest.raises(BadRequest) as caught:
        read({**PROMPT, "output_format": "rig-invalid"})
    message = "Invalid value: 'rig-invalid'. Supported values are: 'png', 'jpeg', 'webp'."
    assert (caught.value.message, caught.value.code) == (message, "invalid_value")


def test_images_on_a_route_for_generations() -> None:
    asked = asks("gemini", "gemini-2.5-flash-image", {**PROMPT, "image": "https://a/b.png"})
    asked.rest = asks("gemini", "m", PROMPT).rest
    with pytest.raises(BadRequest) as caught:
        ImageRequest(asked)
    assert caught.value.param == "image"


def test_a_forms_fields_are_text() -> None:
    request = read(
        {
            "prompt": "7", "n": "2", "seed": "5", "output_compression": "", "stream": "true",
            "generationConfig[imageConfig][imageSize]": "2K", "generationConfig[temperature]": "0.5",
            "parameters": '{"watermark": false}', "flag": "true", "list[]": "x", "note": "nota bene",
            "broken": "{no json", "quoted": '"as it is"',
        },
        PICTURE,
    )  # fmt: skip
    assert (request.prompt, request.n, request.seed, request.compression) == ("7", 2, 5, None)
    assert request.streamed
    assert request.extra == {
        "generationConfig": {"imageConfig": {"imageSize": "2K"}, "temperature": 0.5},
        "parameters": {"watermark": False}, "flag": True, "list": "x", "note": "nota bene",
        "broken": "{no json", "quoted": '"as it is"',
    }  # fmt: skip


def test_a_forms_field_cannot_be_a_value_and_an_object() -> None:
    with pytest.raises(BadRequest) as caught:
        read({"prompt": "x", "a": "1", "a[b]": "2"}, PICTURE)
    assert caught.value.param == "a"


def test_files_of_a_form() -> None:
    request = read(
        PROMPT,
        PICTURE,
        FilePart("image[]", b"\x89PNG..", "b.png"),
        FilePart("images", b"RIFFxxxxWEBP"),
        FilePart("mask", b"odd", "m", "image/avif; q=1"),
        FilePart("style_image", b"odd"),
        FilePart("markup", b"odd"),
    )
    assert [picture.media_type for picture in request.images] == ["image/jpeg", "image/png", "image/webp"]
    assert request.images[0].data == PICTURE_BASE64
    assert request.mask is not None and request.mask.media_type == "image/avif"
    assert request.files["style_image"].media_type == "image/png"
    request.finish()
    assert request.call.dropped == ["markup", "style_image"]


def test_images_of_a_json_body() -> None:
    # openai/image-edits/001 has `images` with `image_url`.
    request = read(
        {
            **PROMPT,
            "images": [
                {"image_url": "https://a/b.png"},
                {"image_url": {"url": "data:image/webp;base64,AAAA"}},
            ],
            "mask": {"image_url": "data:image/png;base64,BBBB"},
        }
    )
    assert [picture.data_url for picture in request.images] == [
        "https://a/b.png",
        "data:image/webp;base64,AAAA",
    ]
    assert request.mask is not None and request.mask.raw == b"\x04\x10A"
    with pytest.raises(BadRequest, match="not as addresses"):
        request.images[0].inline("image", "Bedrock")


def test_two_masks_are_one_too_many() -> None:
    with pytest.raises(BadRequest) as caught:
        read(PROMPT, PICTURE, FilePart("mask", b"1"), FilePart("mask", b"2"))
    assert caught.value.param == "mask"


def test_a_mask_that_is_no_base64_has_no_bytes() -> None:
    request = read({**PROMPT, "image": "https://a/b", "mask": "data:image/png;base64,x"})
    assert request.mask is not None and request.mask.raw == b""


def test_openais_own_fields_are_noted_as_dropped() -> None:
    request = read(
        {
            **PROMPT, "model": "m", "user": "u", "style": "vivid", "moderation": "low", "partial_images": 2,
            "safety_identifier": "s", "input_fidelity": "high", "quality": None, "foo": 1,
        }
    )  # fmt: skip
    request.finish()
    assert sorted(request.call.dropped) == [
        "foo", "input_fidelity", "moderation", "partial_images", "safety_identifier", "style", "user",
    ]  # fmt: skip
    plain = read({**PROMPT, "moderation": "auto", "partial_images": 0, "size": "auto", "background": "auto"})
    plain.finish()
    plain.drop("size", "quality", "n")
    assert plain.call.dropped == []


def test_an_extra_body_is_unpacked() -> None:
    assert read({**PROMPT, "extra_body": {"foo": 1}}).extra == {"foo": 1}


def test_an_object_of_the_providers_must_be_one() -> None:
    request = read({**PROMPT, "generationConfig": 5})
    with pytest.raises(BadRequest) as caught:
        request.merge("generationConfig", {})
    assert caught.value.param == "generationConfig"


@pytest.mark.parametrize(
    ("body", "ratio", "dropped"),
    [
        ({}, "", []),
        ({"size": "1024x1024"}, "1:1", []),
        ({"size": "1536x1024"}, "3:2", []),
        ({"size": "1792x1024"}, "16:9", []),
        ({"size": "1024x256"}, "21:9", ["size"]),
        ({"size": "512*768"}, "2:3", []),
        ({"aspect_ratio": "3:2", "size": "1024x1024"}, "3:2", []),
        ({"aspect_ratio": "10:1"}, "21:9", ["aspect_ratio"]),
    ],
)
def test_the_nearest_ratio(body: dict[str, str], ratio: str, dropped: list[str]) -> None:
    request = read({**PROMPT, **body})
    assert nearest_ratio(request, ("1:1", "2:3", "3:2", "16:9", "21:9")) == ratio
    assert request.call.dropped == dropped


def test_a_configured_path_wins() -> None:
    bedrock = ("bedrock", "amazon.nova-canvas-v1:0", PROMPT)
    assert configured_path(asks(*bedrock).call, "/own") == "/own"
    assert configured_path(asks(*bedrock, upstream_path="/a?b=c").call, "/own") == "/a?b=c"
    assert configured_path(asks(*bedrock, upstream_url="https://h").call, "/own") == "/own"
    assert configured_path(asks(*bedrock, upstream_url="https://h/p?q=r").call, "/own") == "/p?q=r"


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("gemini", "gemini-2.5-flash-image"),
        ("gemini", "imagen-4.0-generate-001"),
        ("bedrock", "amazon.nova-canvas-v1:0"),
        ("bedrock", "stability.stable-image-core-v1:1"),
        ("dashscope", "qwen-image"),
        ("dashscope", "wan2.2-t2i-flash"),
    ],
)
def test_a_prompt_there_must_be(provider: str, model: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent_to(asks(provider, model, {}))
    assert (caught.value.param, caught.value.message) == ("prompt", "Missing required parameter: 'prompt'.")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("gemini", "gemini-2.5-flash-image"),
        ("gemini", "imagen-4.0-generate-001"),
        ("bedrock", "amazon.titan-image-generator-v2:0"),
        ("bedrock", "stability.sd3-5-large-v1:0"),
        ("dashscope", "qwen-image"),
    ],
)
def test_no_transparent_background_is_promised(provider: str, model: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent_to(asks(provider, model, {**PROMPT, "background": "transparent"}))
    assert caught.value.param == "background"
