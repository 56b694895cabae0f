"""xAI's image edits: JSON with URLs, whatever the client sent."""

from __future__ import annotations

from typing import Any

import pytest
from images_support import PICTURE, PICTURE_BASE64, asks, drive, first_step, replies, sent_to

from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.formats.steps import FilePart
from kong_ai_proxy.providers import provider

MODEL = "grok-imagine-image"
DATA = f"data:image/jpeg;base64,{PICTURE_BASE64}"
URL = "https://imgen.x.ai/1.jpeg"


def test_a_form_becomes_json() -> None:
    asked = asks(
        "xai", MODEL,
        {"prompt": "green", "n": "2", "size": "1792x1024", "quality": "high", "resolution": "2k",
         "seed": "1"},
        PICTURE, FilePart("mask", b"\x89PNG"),
    )  # fmt: skip
    (step,), answer = drive(
        asked, replies({"data": [{"url": URL, "mime_type": "image/jpeg"}, {"url": URL}], "usage": {"x": 1}})
    )
    assert (step.method, step.path) == ("POST", "/v1/images/edits")
    assert step.body == {
        "model": MODEL, "prompt": "green", "n": 2, "aspect_ratio": "16:9", "quality": "high",
        "resolution": "2k", "image": {"type": "image_url", "url": DATA},
        "mask": {"type": "image_url", "url": "data:image/png;base64,iVBORw=="},
    }  # fmt: skip
    assert answer == {
        "created": asked.call.created, "data": [{"url": URL}, {"url": URL}], "output_format": "jpeg",
        "quality": "high",
    }  # fmt: skip
    assert (asked.call.usage.images, asked.call.dropped) == (2, ["seed"])


def test_several_images_and_addresses() -> None:
    # As in recording xai/image-edits/001.
    asked = asks("xai", MODEL, {"prompt": "x", "images": [{"image_url": "https://a/1"}, "https://a/2"]})
    assert sent_to(asked) == {
        "model": MODEL, "prompt": "x",
        "images": [{"type": "image_url", "url": "https://a/1"}, {"type": "image_url", "url": "https://a/2"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "sent"),
    [
        ({"response_format": "b64_json"}, "b64_json"),
        ({"response_format": "url"}, "url"),
        ({"stream": True}, "b64_json"),
    ],
)
def test_base64(wish: dict[str, Any], sent: str) -> None:
    asked = asks("xai", MODEL, {"prompt": "x", "image": "https://a/1", **wish})
    assert sent_to(asked)["response_format"] == sent


def test_base64_without_what_stands_before_it() -> None:
    asked = asks("xai", MODEL, {"prompt": "x", "image": "https://a/1", "quality": "hd"})
    image = {"b64_json": "data:image/png;base64,AAAA", "revised_prompt": "y"}
    _, answer = drive(asked, replies({"data": [image, None, {}], "created": 5}))
    assert (answer["created"], answer["data"]) == (5, [{"b64_json": "AAAA", "revised_prompt": "y"}])
    assert asked.call.dropped == ["quality"]


def test_where_it_is_asked() -> None:
    body = {"prompt": "x", "image": "https://a/1"}
    for options, url in (
        ({}, "https://api.x.ai/v1/images/edits"),
        ({"upstream_url": "http://h:1"}, "http://h:1/v1/images/edits"),
        ({"upstream_url": "http://h:1/own"}, "http://h:1/own"),
        ({"upstream_path": "/p"}, "https://api.x.ai/p"),
    ):
        asked = asks("xai", MODEL, body, **options)
        found = provider("xai").step_url(asked.call, first_step(asked))
        assert f"{found.scheme}://{found.authority}{found.target}" == url


def test_generations_pass_through() -> None:
    assert provider("xai").steps(asks("xai", MODEL, {"prompt": "x"}).call) is None


@pytest.mark.parametrize("answer", [{}, {"data": [None]}, {"data": "x"}])
def test_no_image(answer: Any) -> None:
    with pytest.raises(ApiError) as caught:
        drive(asks("xai", MODEL, {"prompt": "x", "image": "https://a/1"}), replies(answer))
    assert (caught.value.status, caught.value.code) == (502, "no_image")


def test_what_it_needs() -> None:
    for body, param in (({"prompt": "x", "images": []}, "image"), ({"image": "https://a/1"}, "prompt")):
        with pytest.raises(BadRequest) as caught:
            sent_to(asks("xai", MODEL, body))
        assert caught.value.param == param
