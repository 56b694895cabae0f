"""Images of Gemini's models and of Imagen."""

from __future__ import annotations

import base64
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
from kong_ai_proxy.formats.steps import FilePart
from kong_ai_proxy.mockllm.providers.images import png
from kong_ai_proxy.providers import provider

FLASH = "gemini-2.5-flash-image"
PRO = "gemini-3-pro-image-preview"
IMAGEN = "imagen-4.0-generate-001"
HOST = "us-central1-aiplatform.googleapis.com"
VERTEX: dict[str, Any] = {"gemini": {"api_endpoint": HOST, "project_id": "p", "location_id": "us-central1"}}
PNG = base64.b64encode(png(640, 480)).decode()
USAGE = {
    "promptTokenCount": 10, "candidatesTokenCount": 1120, "thoughtsTokenCount": 200, "totalTokenCount": 1330,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}  # fmt: skip


def painted(data: str = PNG, **more: Any) -> dict[str, Any]:
    parts = [{"text": "Sure."}, {"inlineData": {"mimeType": "image/png", "data": data}}]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-x", **more}


def unpainted(**candidate: Any) -> dict[str, Any]:
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}}


def refused(model: str, answer: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        drive(asks("gemini", model, {"prompt": "x"}, **options), replies(answer))
    return caught.value


def test_a_generation() -> None:
    asked = asks("gemini", FLASH, {"prompt": "a cat", "size": "1536x1024", "response_format": "b64_json"})
    (step,), answer = drive(asked, replies(painted(responseId="r-1")))
    assert (step.method, step.path) == ("POST", ":generateContent")
    assert step.body == {
        "contents": [{"role": "user", "parts": [{"text": "a cat"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "3:2"}},
    }
    assert answer == {
        "created": asked.call.created,
        "data": [{"b64_json": PNG}],
        "output_format": "png",
        "size": "640x480",
        "usage": {
            "input_tokens": 10, "output_tokens": 1320, "total_tokens": 1330,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": 1120, "reasoning_tokens": 200},
        },
    }  # fmt: skip
    call = asked.call
    assert (call.response_model, call.response_id, call.usage.images, call.dropped) == (
        "gemini-x",
        "r-1",
        1,
        [],
    )
    # Kong's fix of 3.15.0.4: thoughts are output tokens.
    assert (call.usage.completion_tokens, call.usage.reasoning_tokens) == (1320, 200)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://generativelanguage.googleapis.com/v1beta/models/{m}:generateContent"),
        (VERTEX, "https://us-central1-aiplatform.googleapis.com"
                 "/v1/projects/p/locations/us-central1/publishers/google/models/{m}:generateContent"),
        ({"upstream_url": "http://h:1"}, "http://h:1/v1beta/models/{m}:generateContent"),
        ({"upstream_url": "http://h/own:generateContent"}, "http://h/own:generateContent"),
        ({"upstream_path": "/v1/models/x:generateContent"},
         "https://generativelanguage.googleapis.com/v1/models/x:generateContent"),
    ],
)  # fmt: skip
def test_where_it_is_asked(options: dict[str, Any], url: str) -> None:
    asked = asks("gemini", FLASH, {"prompt": "x"}, **options)
    found = provider("gemini").step_url(asked.call, first_step(asked))
    assert f"{found.scheme}://{found.authority}{found.target}" == url.format(m=FLASH)


def test_imagen_is_asked_to_predict() -> None:
    asked = asks("gemini", IMAGEN, {"prompt": "x"}, **VERTEX)
    found = provider("gemini").step_url(asked.call, first_step(asked))
    assert found.path.endswith(f"/publishers/google/models/{IMAGEN}:predict")


@pytest.mark.parametrize(
    ("model", "size", "config", "dropped"),
    [
        (PRO, "1024x1024", {"aspectRatio": "1:1"}, []),
        (PRO, "2048x2048", {"aspectRatio": "1:1", "imageSize": "2K"}, []),
        (PRO, "3840x2160", {"aspectRatio": "16:9", "imageSize": "4K"}, []),
        (PRO, "9000x9000", {"aspectRatio": "1:1", "imageSize": "4K"}, []),
        (FLASH, "2048x2048", {"aspectRatio": "1:1"}, ["size"]),
        (f"google/{PRO}", "2048x2048", {"aspectRatio": "1:1", "imageSize": "2K"}, []),
    ],
)
def test_sizes(model: str, size: str, config: dict[str, str], dropped: list[str]) -> None:
    asked = asks("gemini", model, {"prompt": "x", "size": size})
    assert sent_to(asked)["generationConfig"]["imageConfig"] == config
    assert asked.call.dropped == dropped


def test_geminis_own_fields_are_merged() -> None:
    # Kong's guide "Use Gemini's imageConfig" has a top-level generationConfig.
    asked = asks(
        "gemini", PRO,
        {
            "prompt": "x", "size": "1024x1024", "seed": 7, "quality": "high", "negative_prompt": "dogs",
            "generationConfig": {"imageConfig": {"imageSize": "4K"}, "responseModalities": ["IMAGE"]},
            "safetySettings": [{"category": "c", "threshold": "t"}], "unknown": 1,
        },
    )  # fmt: skip
    body = sent_to(asked)
    assert body["generationConfig"] == {
        "responseModalities": ["IMAGE"], "seed": 7, "imageConfig": {"aspectRatio": "1:1", "imageSize": "4K"},
    }  # fmt: skip
    assert body["safetySettings"] == [{"category": "c", "threshold": "t"}]
    assert asked.call.dropped == ["negative_prompt", "quality", "unknown"]


def test_vertex_chooses_the_file_format() -> None:
    wanted = {"prompt": "x", "output_format": "jpeg", "output_compression": 80}
    config = sent_to(asks("gemini", FLASH, wanted, **VERTEX))["generationConfig"]["imageConfig"]
    assert config == {"imageOutputOptions": {"mimeType": "image/jpeg", "compressionQuality": 80}}
    public = asks("gemini", FLASH, wanted)
    _, answer = drive(public, replies(painted()))
    assert public.call.dropped == ["output_compression", "output_format"]
    assert answer["output_format"] == "png"


def test_an_edit() -> None:
    asked = asks("gemini", FLASH, {"prompt": "a hat"}, PICTURE, FilePart("image[]", b"\x89PNG.."))
    parts = sent_to(asked)["contents"][0]["parts"]
    assert parts == [
        {"text": "a hat"},
        {"inlineData": {"mimeType": "image/jpeg", "data": PICTURE_BASE64}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORy4u"}},
    ]


def test_an_edit_by_address() -> None:
    parts = sent_to(asks("gemini", FLASH, {"prompt": "x", "image": "https://a/b.png"}))["contents"][0][
        "parts"
    ]
    assert parts[1] == {"fileData": {"mimeType": "image/png", "fileUri": "https://a/b.png"}}


def test_an_edit_needs_an_image_and_takes_no_mask() -> None:
    asked = asks("gemini", FLASH, {"prompt": "x"}, FilePart("mask", b"m"), PICTURE)
    with pytest.raises(BadRequest) as caught:
        sent_to(asked)
    assert caught.value.param == "mask"
    with pytest.raises(BadRequest) as caught:
        sent_to(asks("gemini", FLASH, {"prompt": "x", "images": []}))
    assert caught.value.param == "image"
    with pytest.raises(BadRequest, match="at most 16 images"):
        sent_to(asks("gemini", FLASH, {"prompt": "x"}, *[PICTURE] * 17))


def test_several_images_are_asked_for_one_by_one() -> None:
    asked = asks("gemini", FLASH, {"prompt": "x", "n": 3})
    steps, answer = drive(asked, replies(*[painted()] * 3))
    assert [step.path for step in steps] == [":generateContent"] * 3
    assert len(answer["data"]) == 3
    assert answer["usage"]["input_tokens"] == 30
    assert answer["usage"]["total_tokens"] == 3 * 1330
    usage = asked.call.usage
    assert (usage.images, usage.image_completion_tokens, usage.reasoning_tokens) == (3, 3360, 600)


def test_several_images_have_seeds_of_their_own() -> None:
    for own, wanted in (({}, [7, 8]), ({"generationConfig": {"seed": 1}}, [1, 1])):
        asked = asks("gemini", FLASH, {"prompt": "x", "n": 2, "seed": 7, **own})
        translation = provider("gemini").steps(asked.call)
        assert translation is not None
        steps = translation(asked)
        seeds = [next(steps).body["generationConfig"]["seed"]]  # type: ignore[index,call-overload]
        (made,) = replies(painted())
        seeds.append(steps.send(made).body["generationConfig"]["seed"])  # type: ignore[index,call-overload]
        assert seeds == wanted


def test_what_was_made_before_a_refusal_is_answered() -> None:
    asked = asks("gemini", FLASH, {"prompt": "x", "n": 3})
    _, answer = drive(asked, replies(painted(), unpainted(finishReason="IMAGE_SAFETY")))
    assert len(answer["data"]) == 1
    assert asked.call.dropped == ["n"]
    assert asked.call.usage.prompt_tokens == 14


@pytest.mark.parametrize(("name", "model"), [("gemini", FLASH), ("bedrock", "stability.sd3-5-large-v1:0")])
def test_what_was_made_before_an_error_is_answered(name: str, model: str) -> None:
    asked = asks(name, model, {"prompt": "x", "n": 3})
    first = painted() if name == "gemini" else {"images": [PNG]}
    steps, answer = drive(asked, [*replies(first), *replies({"error": {"code": 429}}, status=429)])
    assert [429 in step.passes for step in steps] == [False, True]
    assert (len(answer["data"]), asked.call.dropped) == (1, ["n"])


@pytest.mark.parametrize("model", ["claude-opus-4-5", "meta/llama-4", "mistral-large"])
def test_other_publishers_models_make_no_images(model: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent_to(asks("gemini", model, {"prompt": "x"}, **VERTEX))
    assert caught.value.param == "model"


def test_a_url_is_a_data_url() -> None:
    asked = asks("gemini", FLASH, {"prompt": "x", "response_format": "url"})
    assert drive(asked, replies(painted()))[1]["data"] == [{"url": f"data:image/png;base64,{PNG}"}]


def test_pictures_of_thoughts_are_no_answer() -> None:
    answer = painted()
    draft = {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    answer["candidates"][0]["content"]["parts"].insert(0, draft)
    assert len(drive(asks("gemini", FLASH, {"prompt": "x"}), replies(answer))[1]["data"]) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (unpainted(finishReason="IMAGE_SAFETY", finishMessage="Unable to show it."), "Unable to show it."),
        (unpainted(finishReason="PROHIBITED_CONTENT"), "PROHIBITED_CONTENT"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
        ({"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "no"}}, "no"),
    ],
)
def test_what_is_blocked(answer: Any, said: str) -> None:
    error = refused(FLASH, answer)
    assert (error.status, error.code, error.type) == (
        400,
        "moderation_blocked",
        "image_generation_user_error",
    )
    assert error.message == f"The request was rejected by Gemini's safety system: {said}"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (unpainted(finishReason="NO_IMAGE"), "NO_IMAGE"),
        (unpainted(finishReason="STOP", content={"parts": [{"text": "I cannot draw."}]}), "I cannot draw."),
        (unpainted(finishReason="STOP"), ""),
        ({"usageMetadata": {}, "candidates": None}, ""),
    ],
)
def test_no_image_for_another_reason(answer: Any, said: str) -> None:
    error = refused(FLASH, answer)
    assert (error.status, error.code) == (502, "no_image")
    assert error.message.endswith(f": {said}" if said else "without an image")


@pytest.mark.parametrize("answer", [b"<html>", b"", [], {"odd": 1}])
def test_what_is_no_answer(answer: Any) -> None:
    for model in (FLASH, IMAGEN):
        error = refused(model, answer)
        assert error.status in (400, 502)
    assert refused(FLASH, answer).code == "upstream_invalid_answer"


# Imagen.


def test_a_generation_by_imagen() -> None:
    asked = asks("gemini", IMAGEN, {"prompt": "a cat", "n": 2, "size": "1536x2048", "output_format": "jpeg"})
    made = {"mimeType": "image/jpeg", "bytesBase64Encoded": "/9j/AAAA"}
    (step,), answer = drive(asked, replies({"predictions": [made, {**made, "prompt": "a grey cat"}]}))
    assert (step.path, step.body) == (
        ":predict",
        {
            "instances": [{"prompt": "a cat"}],
            "parameters": {
                "sampleCount": 2, "includeRaiReason": True, "aspectRatio": "3:4", "sampleImageSize": "2K",
                "outputOptions": {"mimeType": "image/jpeg"},
            },
        },
    )  # fmt: skip
    assert answer == {
        "created": asked.call.created,
        "data": [{"b64_json": "/9j/AAAA"}, {"b64_json": "/9j/AAAA", "revised_prompt": "a grey cat"}],
        "output_format": "jpeg",
    }
    assert asked.call.usage.images == 2


def test_what_only_vertex_takes() -> None:
    wanted = {"prompt": "x", "seed": 3, "negative_prompt": "dogs", "quality": "hd", "size": "2048x2048"}
    public = asks("gemini", "imagen-4.0-fast-generate-001", wanted)
    assert sent_to(public)["parameters"] == {"sampleCount": 1, "includeRaiReason": True, "aspectRatio": "1:1"}
    assert public.call.dropped == ["quality", "size", "negative_prompt", "seed"]
    vertex = asks("gemini", IMAGEN, {**wanted, "parameters": {"addWatermark": False}}, **VERTEX)
    assert sent_to(vertex)["parameters"] == {
        "sampleCount": 1, "includeRaiReason": True, "aspectRatio": "1:1", "sampleImageSize": "2K",
        "negativePrompt": "dogs", "seed": 3, "addWatermark": False,
    }  # fmt: skip


def test_imagen_filters() -> None:
    reason = {"raiFilteredReason": "Unable to show generated images. Support codes: 1"}
    error = refused(IMAGEN, {"predictions": [reason, reason]})
    assert error.code == "moderation_blocked"
    assert error.message.endswith("system: Unable to show generated images. Support codes: 1")
    assert refused(IMAGEN, {}).code == "moderation_blocked"
    asked = asks("gemini", IMAGEN, {"prompt": "x", "n": 2})
    made = {"mimeType": "image/png", "bytesBase64Encoded": PNG}
    _, answer = drive(asked, replies({"predictions": [made, reason, {"safetyAttributes": {}}]}))
    assert (len(answer["data"]), asked.call.dropped) == (1, ["n"])


def test_an_image_that_vertex_stored() -> None:
    asked = asks("gemini", IMAGEN, {"prompt": "x", "parameters": {"storageUri": "gs://b"}}, **VERTEX)
    _, answer = drive(asked, replies({"predictions": [{"gcsUri": "gs://b/1.png", "mimeType": "image/png"}]}))
    assert answer["data"] == [{"url": "gs://b/1.png"}]


def test_an_edit_by_imagen() -> None:
    mask = FilePart("mask", png_of([b"\x00" + bytes((1, 2, 3, 0)) + bytes((1, 2, 3, 255))], 6))
    model = "imagen-3.0-capability-001"
    body = sent_to(asks("gemini", model, {"prompt": "x", "size": "1024x1024"}, PICTURE, mask, **VERTEX))
    raw, painted_over = body["instances"][0]["referenceImages"]
    assert raw == {
        "referenceType": "REFERENCE_TYPE_RAW", "referenceId": 1,
        "referenceImage": {"bytesBase64Encoded": PICTURE_BASE64},
    }  # fmt: skip
    assert painted_over["maskImageConfig"] == {"maskMode": "MASK_MODE_USER_PROVIDED"}
    assert greys_of(base64.b64decode(painted_over["referenceImage"]["bytesBase64Encoded"])) == [[255, 0]]
    assert body["parameters"]["editMode"] == "EDIT_MODE_INPAINT_INSERTION"
    plain = sent_to(asks("gemini", model, {"prompt": "x"}, PICTURE, **VERTEX))
    assert plain["parameters"]["editMode"] == "EDIT_MODE_DEFAULT"
    with pytest.raises(BadRequest, match="on Vertex only"):
        sent_to(asks("gemini", model, {"prompt": "x"}, PICTURE))


def test_compression_is_of_jpegs() -> None:
    asked = asks("gemini", IMAGEN, {"prompt": "x", "output_format": "png", "output_compression": 50})
    assert sent_to(asked)["parameters"]["outputOptions"] == {"mimeType": "image/png"}
    assert asked.call.dropped == ["output_compression"]
    webp = asks("gemini", IMAGEN, {"prompt": "x", "output_format": "webp"})
    assert "outputOptions" not in sent_to(webp)["parameters"]


def test_no_client_makes_google_write_elsewhere() -> None:
    wanted = {"prompt": "a cat", "parameters": {"storageUri": "gs://others/", "addWatermark": False}}
    asked = asks("gemini", IMAGEN, wanted, **VERTEX)
    sent = sent_to(asked)
    assert sent["parameters"]["addWatermark"] is False and "storageUri" not in sent["parameters"]
    assert asked.call.dropped == ["parameters.storageUri"]
