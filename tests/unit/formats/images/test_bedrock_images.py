"""Images of Nova Canvas, Titan and Stability AI on Bedrock."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from images_support import (
    PICTURE,
    PICTURE_BASE64,
    asks,
    drive,
    first_step,
    greys_of,
    png_of,
    replies,
    sent_to,
)

from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.formats.steps import FilePart, Reply
from kong_ai_proxy.mockllm.providers.images import png
from kong_ai_proxy.providers import provider

NOVA = "amazon.nova-canvas-v1:0"
TITAN = "amazon.titan-image-generator-v2:0"
CORE = "stability.stable-image-core-v1:1"
ULTRA = "us.stability.stable-image-ultra-v1:1"
SD35 = "stability.sd3-5-large-v1:0"
PNG = base64.b64encode(png(640, 480)).decode()
MASK = FilePart("mask", png_of([b"\x00" + bytes((1, 2, 3, 0)) + bytes((1, 2, 3, 255))], 6), "mask.png")


def stable(name: str) -> str:
    return f"us.stability.stable-{name}-v1:0"


def refused(asked: Any, *answers: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        drive(asked, replies(*answers))
    return caught.value


@pytest.mark.parametrize("model", [NOVA, TITAN, f"us.{NOVA}"])
def test_a_generation(model: str) -> None:
    asked = asks(
        "bedrock", model,
        {"prompt": "a cat", "n": 2, "size": "1024x512", "quality": "hd", "seed": 5, "negative_prompt": "dogs",
         "cfgScale": 6.5, "textToImageParams": {"style": "PHOTOREALISM"}, "user": "u"},
        bedrock={"aws_region": "us-east-1"},
    )  # fmt: skip
    (step,), answer = drive(asked, replies({"images": [PNG, PNG], "error": None}))
    assert step.body == {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a cat", "negativeText": "dogs", "style": "PHOTOREALISM"},
        "imageGenerationConfig": {
            "numberOfImages": 2, "width": 1024, "height": 512, "quality": "premium", "seed": 5,
            "cfgScale": 6.5,
        },
    }  # fmt: skip
    url = provider("bedrock").step_url(asked.call, step)
    assert (url.host, url.path) == (
        "bedrock-runtime.us-east-1.amazonaws.com",
        f"/model/{model.replace(':', '%3A')}/invoke",
    )
    assert answer == {
        "created": asked.call.created, "data": [{"b64_json": PNG}, {"b64_json": PNG}],
        "output_format": "png", "size": "640x480", "quality": "hd",
    }  # fmt: skip
    usage = asked.call.usage
    assert (usage.images, usage.source, usage.total, asked.call.dropped) == (2, "reported", 0, ["user"])


def test_a_plain_generation() -> None:
    asked = asks("bedrock", NOVA, {"prompt": "a cat", "quality": "auto"})
    assert sent_to(asked) == {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}}
    odd = asks("bedrock", NOVA, {"prompt": "a cat", "quality": "superb", "aspect_ratio": "1:1"})
    sent_to(odd)
    assert odd.call.dropped == ["aspect_ratio", "quality"]


def test_an_edit_is_a_variation() -> None:
    body = sent_to(asks("bedrock", NOVA, {"prompt": "a hat", "similarityStrength": "0.7"}, PICTURE, PICTURE))
    assert body == {
        "taskType": "IMAGE_VARIATION",
        "imageVariationParams": {
            "images": [PICTURE_BASE64, PICTURE_BASE64], "text": "a hat", "similarityStrength": 0.7,
        },
    }  # fmt: skip


@pytest.mark.parametrize(("task", "greys"), [("INPAINTING", [0, 255]), ("OUTPAINTING", [255, 0])])
def test_a_mask_is_painted_as_the_task_wants_it(task: str, greys: list[int]) -> None:
    more = {} if task == "INPAINTING" else {"taskType": task}
    body = sent_to(asks("bedrock", TITAN, {"prompt": "a hat", **more}, PICTURE, MASK))
    params = body["inPaintingParams" if task == "INPAINTING" else "outPaintingParams"]
    assert body["taskType"] == task
    assert (params["image"], params["text"]) == (PICTURE_BASE64, "a hat")
    assert greys_of(base64.b64decode(params["maskImage"])) == [greys]


def test_a_mask_of_amazons_own_stays_as_it_is() -> None:
    body = sent_to(asks("bedrock", NOVA, {"prompt": "x"}, PICTURE, FilePart("mask", b"\xff\xd8\xff")))
    assert body["inPaintingParams"]["maskImage"] == "/9j/"


def test_tasks_by_name() -> None:
    prompted = sent_to(asks("bedrock", NOVA, {"prompt": "x", "maskPrompt": "the dog"}, PICTURE))
    assert prompted["inPaintingParams"] == {"image": PICTURE_BASE64, "text": "x", "maskPrompt": "the dog"}
    wanted = {"prompt": "x", "taskType": "BACKGROUND_REMOVAL", "n": 1, "background": "transparent"}
    removal = asks("bedrock", NOVA, wanted, PICTURE)
    assert sent_to(removal) == {
        "taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {"image": PICTURE_BASE64},
    }  # fmt: skip
    assert removal.call.dropped == ["prompt", "n"]
    condition = sent_to(asks("bedrock", NOVA, {"prompt": "x", "taskType": "TEXT_IMAGE"}, PICTURE))
    assert condition["textToImageParams"]["conditionImage"] == PICTURE_BASE64
    colours = {"prompt": "x", "taskType": "COLOR_GUIDED_GENERATION", "colors": ["#FF9800"]}
    assert sent_to(asks("bedrock", NOVA, colours))["colorGuidedGenerationParams"] == {
        "text": "x", "colors": ["#FF9800"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "files", "param"),
    [
        ({"prompt": "x", "taskType": "DANCE"}, [], "taskType"),
        ({"prompt": "x", "taskType": ["TEXT_IMAGE"]}, [], "taskType"),
        ({"prompt": "x", "taskType": "IMAGE_VARIATION"}, [PICTURE, MASK], "mask"),
        ({"prompt": "x", "taskType": "TEXT_IMAGE"}, [PICTURE, MASK], "mask"),
        ({"prompt": "x"}, [MASK], "image"),
        ({"prompt": "x"}, [PICTURE, PICTURE, MASK], "image"),
        ({"prompt": "x"}, [PICTURE] * 6, "image"),
        ({"prompt": "x", "image": "https://a/b.png"}, [], "image"),
    ],
)
def test_what_amazon_does_not_take(body: Any, files: list[FilePart], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent_to(asks("bedrock", NOVA, body, *files))
    assert caught.value.param == param


def test_amazons_content_filters() -> None:
    said = "All of the generated images have been blocked by our content filters."
    error = refused(asks("bedrock", NOVA, {"prompt": "x"}), {"images": [], "error": said})
    assert (error.status, error.code) == (400, "moderation_blocked")
    assert said in error.message
    asked = asks("bedrock", NOVA, {"prompt": "x", "n": 2})
    some = "Some of the generated images have been blocked by our content filters."
    _, answer = drive(asked, replies({"images": [PNG], "error": some}))
    assert (len(answer["data"]), asked.call.dropped) == (1, ["n"])


def refused_with(message: str) -> ApiError:
    body = json.dumps({"message": message}).encode()
    reply = Reply(400, {"x-amzn-errortype": "ValidationException:http://internal/"}, body)
    with pytest.raises(ApiError) as caught:
        drive(asks("bedrock", NOVA, {"prompt": "x"}), [reply])
    return caught.value


def test_a_refused_prompt_is_told_from_an_invalid_one() -> None:
    assert first_step(asks("bedrock", NOVA, {"prompt": "x"})).passes == {400}
    filtered = refused_with(
        "This request has been blocked by our content filters. Please adjust your text prompt."
    )
    assert filtered.code == "moderation_blocked"
    invalid = refused_with("width 1000 is not one of the supported")
    assert (invalid.status, invalid.code) == (400, "ValidationException")
    assert invalid.message == "width 1000 is not one of the supported"


@pytest.mark.parametrize("answer", [{}, {"images": None}, {"images": [None, ""], "error": 5}])
def test_an_answer_without_images(answer: Any) -> None:
    for model in (NOVA, CORE):
        error = refused(asks("bedrock", model, {"prompt": "x"}), answer)
        assert (error.status, error.code) == (502, "no_image")
    assert refused(asks("bedrock", NOVA, {"prompt": "x"}), b"oops").code == "upstream_invalid_answer"


@pytest.mark.parametrize("model", ["", "anthropic.claude-3", "."])
def test_models_that_make_no_images(model: str) -> None:
    asked = asks("bedrock", NOVA, {"prompt": "x"})
    asked.call.model = model
    with pytest.raises(BadRequest) as caught:
        sent_to(asked)
    assert caught.value.param == "model"


# Stability AI.


@pytest.mark.parametrize("model", [CORE, ULTRA, SD35, "stability.sd3-large-v1:0"])
def test_a_generation_by_stability(model: str) -> None:
    asked = asks(
        "bedrock", model,
        {"prompt": "a cat", "size": "1792x1024", "output_format": "jpeg", "negative_prompt": "dogs",
         "style_preset": "anime", "quality": "high"},
    )  # fmt: skip
    (step,), answer = drive(asked, replies({"seeds": [1], "finish_reasons": [None], "images": ["/9j/AA"]}))
    assert step.body == {
        "prompt": "a cat", "aspect_ratio": "16:9", "output_format": "jpeg", "negative_prompt": "dogs",
        "style_preset": "anime",
    }  # fmt: skip
    assert answer["data"] == [{"b64_json": "/9j/AA"}]
    assert answer["output_format"] == "jpeg"
    assert asked.call.dropped == ["quality"]


def test_several_have_seeds_of_their_own() -> None:
    asked = asks("bedrock", CORE, {"prompt": "x", "n": 3, "seed": 2**32 - 4})
    translation = provider("bedrock").steps(asked.call)
    assert translation is not None
    steps = translation(asked)
    made = replies({"images": [PNG], "finish_reasons": [None]})[0]
    seeds = [next(steps).body["seed"]]  # type: ignore[index,call-overload]
    seeds += [steps.send(made).body["seed"] for _ in range(2)]  # type: ignore[index,call-overload]
    assert seeds == [2**32 - 4, 2**32 - 3, 0]
    with pytest.raises(StopIteration) as ended:
        steps.send(made)
    assert len(ended.value.value.body["data"]) == 3


@pytest.mark.parametrize(
    ("model", "mode"),
    [(SD35, "image-to-image"), ("stability.sd3-large-v1:0", "image-to-image"), (ULTRA, None)],
)
def test_an_edit_begins_from_an_image(model: str, mode: str | None) -> None:
    asked = asks("bedrock", model, {"prompt": "x", "size": "1024x1024", "strength": "0.4"}, PICTURE)
    wanted: dict[str, Any] = {"prompt": "x", "image": PICTURE_BASE64, "strength": 0.4}
    if mode:
        wanted["mode"] = mode
    assert sent_to(asked) == wanted
    assert asked.call.dropped == ["size"]
    assert sent_to(asks("bedrock", model, {"prompt": "x"}, PICTURE))["strength"] == 0.65


def test_a_mask_has_a_service_of_its_own() -> None:
    with pytest.raises(BadRequest, match="stable-image-inpaint") as caught:
        sent_to(asks("bedrock", SD35, {"prompt": "x"}, PICTURE, MASK))
    assert caught.value.param == "mask"
    body = sent_to(asks("bedrock", stable("image-inpaint"), {"prompt": "x", "grow_mask": "3"}, PICTURE, MASK))
    assert greys_of(base64.b64decode(body.pop("mask"))) == [[255, 0]]
    assert body == {"prompt": "x", "image": PICTURE_BASE64, "grow_mask": 3}
    erased = asks(
        "bedrock", stable("image-erase-object"), {"prompt": "x"}, PICTURE, FilePart("mask", b"RIFF")
    )
    assert sent_to(erased) == {"image": PICTURE_BASE64, "mask": "UklGRg=="}
    assert erased.call.dropped == ["prompt"]


@pytest.mark.parametrize(
    ("service", "more", "wanted", "dropped"),
    [
        ("image-remove-background", {"background": "transparent"}, {}, ["prompt"]),
        ("image-search-replace", {"search_prompt": "dog"}, {"prompt": "x", "search_prompt": "dog"}, []),
        ("image-search-recolor", {"select_prompt": "dog"}, {"prompt": "x", "select_prompt": "dog"}, []),
        ("outpaint", {"left": "200"}, {"prompt": "x", "left": 200}, []),
        ("image-control-sketch", {"control_strength": "0.7"}, {"prompt": "x", "control_strength": 0.7}, []),
        ("image-control-structure", {"size": "512x512"}, {"prompt": "x"}, ["size"]),
        ("image-style-guide", {"size": "512x512"}, {"prompt": "x", "aspect_ratio": "1:1"}, []),
        ("fast-upscale", {"output_format": "png"}, {"output_format": "png"}, ["prompt"]),
        ("conservative-upscale", {}, {"prompt": "x"}, []),
        ("creative-upscale", {}, {"prompt": "x"}, []),
    ],
)
def test_services(service: str, more: Any, wanted: Any, dropped: list[str]) -> None:
    asked = asks("bedrock", stable(service), {"prompt": "x", **more}, PICTURE)
    assert sent_to(asked) == {"image": PICTURE_BASE64, **wanted}
    assert asked.call.dropped == dropped


def test_style_transfer_takes_two_images() -> None:
    model = stable("style-transfer")
    two = sent_to(asks("bedrock", model, {"prompt": "x"}, PICTURE, FilePart("image", b"RIFF")))
    named = sent_to(asks("bedrock", model, {"prompt": "x"}, PICTURE, FilePart("style_image", b"RIFF")))
    assert two == named == {"prompt": "x", "init_image": PICTURE_BASE64, "style_image": "UklGRg=="}


@pytest.mark.parametrize(
    ("model", "body", "files", "param"),
    [
        (CORE, {"prompt": "x"}, [PICTURE], "model"),
        (stable("image-inpaint"), {"prompt": "x"}, [], "model"),
        (stable("image-search-replace"), {"prompt": "x"}, [PICTURE], "search_prompt"),
        (stable("outpaint"), {"prompt": "x"}, [PICTURE, MASK], "mask"),
        (stable("outpaint"), {"prompt": "x"}, [PICTURE, PICTURE], "image"),
        (stable("outpaint"), {"prompt": "x", "background": "transparent"}, [PICTURE], "background"),
        (SD35, {"prompt": "x", "image": "https://a/b"}, [], "image"),
    ],
)
def test_what_stability_does_not_take(model: str, body: Any, files: list[FilePart], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent_to(asks("bedrock", model, body, *files))
    assert caught.value.param == param


def test_a_png_that_is_cut_off_has_no_size() -> None:
    for data in ("iVBORw0KGgo=", "iVBORw0KGgoAAAANSUhEUgAAAA!", "iVBORw0KGgoxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"):
        _, answer = drive(asks("bedrock", NOVA, {"prompt": "x"}), replies({"images": [data]}))
        assert "size" not in answer
        assert answer["output_format"] == "png"


def test_stabilitys_filters() -> None:
    asked = asks("bedrock", CORE, {"prompt": "x"})
    error = refused(asked, {"finish_reasons": ["Filter reason: prompt"]})
    assert (error.status, error.code) == (400, "moderation_blocked")
    assert error.message.endswith(": Filter reason: prompt")
    error = refused(asks("bedrock", CORE, {"prompt": "x"}), {"finish_reasons": ["Inference error"]})
    assert (error.status, error.message) == (502, "Stability AI made no image: Inference error")
    several = asks("bedrock", CORE, {"prompt": "x", "n": 2})
    made = {"images": [PNG], "finish_reasons": [None]}
    _, answer = drive(several, replies(made, {"finish_reasons": ["Filter reason: output image"]}))
    assert (len(answer["data"]), several.call.dropped) == (1, ["n"])
