"""Images of Qwen-Image and Wan: at once, and by tasks that are looked after."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from images_support import (
    PICTURE,
    PICTURE_BASE64,
    a_call,
    asks,
    drive,
    first_step,
    greys_of,
    png_of,
    replies,
    sent_to,
)

from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.formats.images.dashscope import IMAGE_TO_IMAGE, LOOKS, MULTIMODAL, PAUSES, TEXT_TO_IMAGE
from kong_ai_proxy.formats.steps import FilePart, Reply, Step
from kong_ai_proxy.mockllm.providers.images import png
from kong_ai_proxy.providers import provider

PLACE = "https://dashscope-result-bj.oss-cn-beijing.aliyuncs.com/1d/1.png?Signature=s"
DATA = f"data:image/jpeg;base64,{PICTURE_BASE64}"


def at_once(*where: str, **usage: Any) -> dict[str, Any]:
    content = [{"image": one} for one in where]
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    used = {"image_count": len(where), **usage}
    return {"output": {"choices": [choice]}, "usage": used, "request_id": "r-1"}


def task(status: str, **more: Any) -> dict[str, Any]:
    return {"output": {"task_id": "t/1", "task_status": status, **more}, "request_id": "r-2"}


def refused(asked: Any, *answers: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        drive(asked, replies(*answers))
    return caught.value


def test_a_generation_at_once() -> None:
    asked = asks(
        "dashscope", "qwen-image-plus",
        {"prompt": "a cat", "size": "1024x1024", "seed": 4, "negative_prompt": "dogs", "watermark": False,
         "quality": "hd", "parameters": {"prompt_extend": False}},
    )  # fmt: skip
    (step,), answer = drive(asked, replies(at_once(PLACE)))
    assert (step.path, step.headers) == (MULTIMODAL, {})
    assert step.body == {
        "model": "qwen-image-plus",
        "input": {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]},
        "parameters": {
            "size": "1328*1328", "n": 1, "seed": 4, "watermark": False, "negative_prompt": "dogs",
            "prompt_extend": False,
        },
    }  # fmt: skip
    assert answer == {"created": asked.call.created, "data": [{"url": PLACE}], "output_format": "png"}
    call = asked.call
    assert (call.usage.images, call.usage.source, call.response_id) == (1, "reported", "r-1")
    assert call.dropped == ["quality"]


def test_styles_of_its_own() -> None:
    own = asks("dashscope", "wanx-v1", {"prompt": "x", "style": "<watercolor>"})
    assert sent_to(own)["parameters"] == {"n": 1, "style": "<watercolor>"}
    for style in ("vivid", ["odd"]):
        asked = asks("dashscope", "wanx-v1", {"prompt": "x", "style": style})
        assert ("style" in sent_to(asked)["parameters"]) == (style != "vivid")


@pytest.mark.parametrize(
    ("model", "size", "sent", "dropped"),
    [
        ("qwen-image", "1792x1024", "1664*928", []),
        ("qwen-image-max-2025-12-30", "1024x512", "1664*928", ["size"]),
        ("qwen-image-2.0-pro", "1024x512", "1024*512", []),
        ("wan2.6-t2i", "1280x1280", "1280*1280", []),
        ("wan2.2-t2i-flash", "512x512", "512*512", []),
        ("qwen-image-edit", "512x512", None, ["size"]),
    ],
)
def test_sizes(model: str, size: str, sent: str | None, dropped: list[str]) -> None:
    asked = asks("dashscope", model, {"prompt": "x", "size": size})
    assert sent_to(asked)["parameters"].get("size") == sent
    assert asked.call.dropped == dropped


def test_an_edit_at_once() -> None:
    asked = asks("dashscope", "qwen-image-edit-plus", {"prompt": "a hat", "n": "2"}, PICTURE, PICTURE)
    (step,), answer = drive(asked, replies(at_once(PLACE, PLACE, input_tokens=3, output_tokens=4)))
    assert step.body == {
        "model": "qwen-image-edit-plus",
        "input": {
            "messages": [{"role": "user", "content": [{"image": DATA}, {"image": DATA}, {"text": "a hat"}]}]
        },
        "parameters": {"n": 2},
    }
    assert answer["usage"]["total_tokens"] == 7
    by_address = asks("dashscope", "wan2.6-image", {"prompt": "x", "image": "https://a/b.png"})
    assert sent_to(by_address)["input"]["messages"][0]["content"][0] == {"image": "https://a/b.png"}


def test_models_that_make_one_image_in_a_call() -> None:
    asked = asks("dashscope", "qwen-image-max", {"prompt": "x", "n": 3, "seed": 2**31 - 2})
    translation = provider("dashscope").steps(asked.call)
    assert translation is not None
    steps = translation(asked)
    (made,) = replies(at_once(PLACE))
    sent = [next(steps)]
    seen = [dict(sent[0].body["parameters"])]  # type: ignore[index,call-overload]
    for _ in range(2):
        sent.append(steps.send(made))
        seen.append(dict(sent[-1].body["parameters"]))  # type: ignore[index,call-overload]
    assert [one["n"] for one in seen] == [1, 1, 1]
    assert [one["seed"] for one in seen] == [2**31 - 2, 2**31 - 1, 0]
    assert [429 in step.passes for step in sent] == [False, True, True]
    with pytest.raises(StopIteration) as ended:
        steps.send(Reply(429, {}, b"{}"))
    assert len(ended.value.value.body["data"]) == 2
    assert asked.call.dropped == ["n"]


def test_a_task_is_looked_after() -> None:
    asked = asks("dashscope", "wan2.2-t2i-flash", {"prompt": "a cat", "negative_prompt": "dogs", "n": 2})
    results = [
        {"url": PLACE, "actual_prompt": "a grey cat"},
        {"code": "InternalError.Timeout", "message": "late"},
    ]
    steps, answer = drive(
        asked,
        replies(
            task("PENDING"), task("PENDING"), task("RUNNING"),
            {**task("SUCCEEDED", results=results), "usage": {"image_count": 1}},
        ),
    )  # fmt: skip
    assert steps[0].body == {
        "model": "wan2.2-t2i-flash",
        "input": {"prompt": "a cat", "negative_prompt": "dogs"},
        "parameters": {"n": 2},
    }
    assert (steps[0].path, steps[0].headers, steps[0].after) == (
        TEXT_TO_IMAGE, {"x-dashscope-async": "enable"}, 0,
    )  # fmt: skip
    assert [(step.method, step.path, step.after) for step in steps[1:]] == [
        ("GET", "/api/v1/tasks/t%2F1", pause) for pause in PAUSES[:3]
    ]
    assert answer["data"] == [{"url": PLACE, "revised_prompt": "a grey cat"}]
    # One of two failed.
    assert asked.call.dropped == ["n"]
    assert asked.call.usage.images == 1


def test_a_task_without_end() -> None:
    asked = asks("dashscope", "wan2.2-t2i-flash", {"prompt": "x"})
    translation = provider("dashscope").steps(asked.call)
    assert translation is not None
    steps = translation(asked)
    next(steps)
    (running,) = replies(task("RUNNING"))
    with pytest.raises(ApiError) as caught:
        for _ in range(LOOKS + 2):
            assert steps.send(running).after <= PAUSES[-1]
    assert caught.value.status == 504


def test_edits_by_task() -> None:
    wan = asks("dashscope", "wan2.5-i2i-preview", {"prompt": "x", "negative_prompt": "y"}, PICTURE, PICTURE)
    step = first_step(wan)
    assert isinstance(step.body, dict)
    assert (step.path, step.body["input"]) == (
        IMAGE_TO_IMAGE, {"prompt": "x", "images": [DATA, DATA], "negative_prompt": "y"},
    )  # fmt: skip
    edit = asks(
        "dashscope", "wanx2.1-imageedit", {"prompt": "x", "negative_prompt": "y", "size": "512x512"}, PICTURE
    )
    body = sent_to(edit)
    assert body["input"] == {"prompt": "x", "function": "description_edit", "base_image_url": DATA}
    assert edit.call.dropped == ["size", "negative_prompt"]
    named = asks("dashscope", "wanx2.1-imageedit", {"prompt": "x", "function": "stylization_all"}, PICTURE)
    assert sent_to(named)["input"]["function"] == "stylization_all"


def test_masks() -> None:
    mask = FilePart("mask", png_of([b"\x00" + bytes((1, 2, 3, 0)) + bytes((1, 2, 3, 255))], 6))
    given = sent_to(asks("dashscope", "wanx2.1-imageedit", {"prompt": "x"}, PICTURE, mask))["input"]
    assert given["function"] == "description_edit_with_mask"
    head, _, data = given["mask_image_url"].partition(",")
    assert head == "data:image/png;base64"
    assert greys_of(base64.b64decode(data)) == [[255, 0]]
    own = {"prompt": "x", "image": "https://a/b.png", "mask": "https://a/m.png"}
    assert (
        sent_to(asks("dashscope", "wanx2.1-imageedit", own))["input"]["mask_image_url"] == "https://a/m.png"
    )
    for model in ("qwen-image-edit", "wan2.5-i2i-preview"):
        with pytest.raises(BadRequest) as caught:
            sent_to(asks("dashscope", model, {"prompt": "x"}, PICTURE, mask))
        assert caught.value.param == "mask"


@pytest.mark.parametrize("wish", [{"response_format": "b64_json"}, {"stream": True}])
def test_base64_is_fetched_without_the_key(wish: dict[str, Any]) -> None:
    asked = asks("dashscope", "qwen-image", {"prompt": "x", **wish})
    picture = png(640, 480)
    steps, answer = drive(asked, replies(at_once(PLACE), picture))
    assert (steps[1].method, steps[1].path, steps[1].credentials) == ("GET", PLACE, False)
    assert answer["data"] == [{"b64_json": base64.b64encode(picture).decode()}]
    assert (answer["output_format"], answer["size"]) == ("png", "640x480")


def test_another_file_format_is_noted_as_dropped() -> None:
    asked = asks("dashscope", "qwen-image", {"prompt": "x", "output_format": "webp"})
    drive(asked, replies(at_once(PLACE)))
    assert asked.call.dropped == ["output_format"]


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://dashscope-intl.aliyuncs.com/x"),
        ({"dashscope": {"international": False}}, "https://dashscope.aliyuncs.com/x"),
        ({"upstream_url": "http://h:1/own"}, "http://h:1/x"),
    ],
)
def test_where_it_is_asked(options: dict[str, Any], url: str) -> None:
    call = a_call("dashscope", "qwen-image", **options)
    found = provider("dashscope").step_url(call, Step("GET", "/x"))
    assert f"{found.scheme}://{found.authority}{found.target}" == url


@pytest.mark.parametrize(
    "where", ["https://evil.example/1.png", "https://aliyuncs.com.evil/1", "gopher://a", "x"]
)
def test_images_elsewhere_are_not_fetched(where: str) -> None:
    with pytest.raises(ApiError) as caught:
        provider("dashscope").step_url(a_call("dashscope", "qwen-image"), Step("GET", where))
    assert caught.value.status == 502


def test_images_of_alibabas_storage_are() -> None:
    found = provider("dashscope").step_url(
        a_call("dashscope", "qwen-image"), Step("GET", PLACE, credentials=False)
    )
    assert (found.host, found.query) == ("dashscope-result-bj.oss-cn-beijing.aliyuncs.com", "Signature=s")


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (task("FAILED", code="DataInspectionFailed", message="bad"), 400, "moderation_blocked"),
        (task("FAILED", code="InvalidParameter.Size", message="no"), 400, "InvalidParameter.Size"),
        (task("FAILED", code="InternalError.Timeout"), 502, "InternalError.Timeout"),
        (task("FAILED", message="oh"), 502, None),
        (task("CANCELED"), 502, "no_image"),
        (task("UNKNOWN"), 502, "no_image"),
        (task("PENDING", task_id=None), 502, "no_image"),
        (
            task("SUCCEEDED", results=[{"code": "IPInfringementSuspect", "message": "m"}]),
            400,
            "moderation_blocked",
        ),
        (task("SUCCEEDED", results=None), 502, "no_image"),
        ({"code": "Throttling", "message": "slow"}, 502, "Throttling"),
        ({}, 502, "upstream_invalid_answer"),
        ({"output": []}, 502, "upstream_invalid_answer"),
        (b"<html>", 502, "upstream_invalid_answer"),
    ],
)
def test_failures(answer: Any, status: int, code: str | None) -> None:
    error = refused(asks("dashscope", "wan2.2-t2i-flash", {"prompt": "x"}), answer)
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize("model", ["qwen-image", "wan2.2-t2i-flash"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("DataInspectionFailed", "moderation_blocked"),
        ("IPInfringementSuspect", "moderation_blocked"),
        ("InvalidParameter", "InvalidParameter"),
    ],
)
def test_a_refused_request(model: str, code: str, told: str) -> None:
    reply = Reply(400, {}, json.dumps({"code": code, "message": "No.", "request_id": "r"}).encode())
    with pytest.raises(ApiError) as caught:
        drive(asks("dashscope", model, {"prompt": "x"}), [reply])
    assert (caught.value.status, caught.value.code) == (400, told)
    assert caught.value.message.endswith("No.")


def test_an_answer_at_once_without_images() -> None:
    for answer in (at_once(), {"output": {"choices": None}, "usage": {"input_tokens": -5}}):
        error = refused(asks("dashscope", "qwen-image", {"prompt": "x"}), answer)
        assert error.status == 502


def test_numbers_beyond_json_do_no_harm() -> None:
    body = json.dumps(at_once(PLACE)).replace('"image_count": 1', '"input_tokens": NaN').encode()
    _, answer = drive(asks("dashscope", "qwen-image", {"prompt": "x"}), [Reply(200, {}, body)])
    assert answer["data"] == [{"url": PLACE}]
