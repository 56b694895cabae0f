"""DashScope's own image APIs (Qwen-Image, Wan).

======================================  ============================================  ============
models                                  path below /api/v1/services/aigc              answer
======================================  ============================================  ============
qwen-image…, wan2.6 and later, z-image  multimodal-generation/generation              at once
wan2.5-i2i…, wanx2.1-imageedit          image2image/image-synthesis                   task, polled
all others (wan2.5-t2i and older, …)    text2image/image-synthesis                    task, polled
======================================  ============================================  ============

Sources: https://www.alibabacloud.com/help/en/model-studio/qwen-image-api, .../qwen-image-edit-api,
.../text-to-image-v2-api-reference, .../wan-image-generation-api-reference,
.../wan2-5-image-edit-api-reference, .../wanx-image-edit-api-reference (white is what a mask wants changed);
recordings dashscope/image-generations/* (tasks begun) and dashscope/tasks/* (and looked after).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator
from typing import Final
from urllib.parse import quote

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..openai.errors import read_error
from ..pivot import integer, not_an_answer, obj, objects, text
from ..steps import Asked, Reply, Step, Steps
from .answer import ANY_ERROR, NO_IMAGE, Made, add_usage, blocked, images_answer, name_of, parsed
from .mask import painted
from .request import ImageRequest, configured_path, nearest_ratio

SERVICES: Final = "/api/v1/services/aigc"
MULTIMODAL: Final = f"{SERVICES}/multimodal-generation/generation"
TEXT_TO_IMAGE: Final = f"{SERVICES}/text2image/image-synthesis"
IMAGE_TO_IMAGE: Final = f"{SERVICES}/image2image/image-synthesis"
TASKS: Final = "/api/v1/tasks"

PAUSES: Final = (0.5, 1.0, 1.5, 2.0)
"""Seconds before each look at a task; the last one from then on. Tasks take from ten seconds to minutes."""
LOOKS: Final = 900
"""At most, should no `read_timeout` end it."""

_AT_ONCE: Final = re.compile(r"qwen-image|wan(2\.[6-9]|[3-9])|z-image")
_FROM_IMAGES: Final = re.compile(r"wan2\.5-i2i")
_IMAGE_EDIT: Final = re.compile(r"wanx[\d.]*-imageedit")
_FIXED_SIZES: Final = re.compile(r"qwen-image(-plus|-max)?(-\d{4}-\d{2}-\d{2})?")
"""Text to image models that make five sizes only."""
_SIZES: Final = {
    "1:1": "1328*1328", "16:9": "1664*928", "9:16": "928*1664", "4:3": "1472*1104", "3:4": "1104*1472",
}  # fmt: skip
_ONE_EACH: Final = re.compile(r"qwen-image(-edit|-plus|-max)?(-\d{4}-\d{2}-\d{2})?")
"""Models that refuse any other `n` than 1."""
_SEED_LIMIT: Final = 2**31
_OWN_SIZE: Final = re.compile(r"qwen-image-edit(-\d{4}-\d{2}-\d{2})?")
"""Models whose size cannot be chosen: that of the image which is edited."""
_BLOCKED: Final = re.compile(r"DataInspection|data_inspection|IPInfringement", re.IGNORECASE)
"""In error codes: https://www.alibabacloud.com/help/en/model-studio/error-code."""
_PARAMETERS: Final = ("prompt_extend", "watermark", "style", "ref_strength", "ref_mode", "enable_interleave")
"""Members of `parameters` that may stand at the top of the request."""
_REFUSED: Final = frozenset({400})
_WHO: Final = "DashScope"
_CHANGE: Final = 255
_MAX_INPUTS: Final = 9


class DashscopeImages:
    """A `StepsTranslation` for generations and edits."""

    def __call__(self, asked: Asked) -> Steps:
        call = asked.call
        request = ImageRequest(asked)
        name = name_of(call)
        request.refuse_transparency(_WHO)
        # It makes PNGs, of one quality.
        request.drop("quality", "output_compression")
        parameters = _parameters(request, name)
        if _AT_ONCE.match(name):
            made = yield from _at_once(request, name, parameters)
        else:
            given = _image_to_image(request, name) if request.edit else _text_to_image(request)
            own = IMAGE_TO_IMAGE if request.edit else TEXT_TO_IMAGE
            answer = yield from _task(call, configured_path(call, own), _body(request, given, parameters))
            made = _of_task(answer)
            _note(call, answer)
            if not made:
                raise _failure(answer)
        if request.wanted == "b64_json" or (request.streamed and not request.wanted):
            for one in made:
                reply = yield Step("GET", one.url, credentials=False)
                one.data, one.url = base64.b64encode(reply.body).decode(), ""
        return images_answer(request, made, _WHO)


def _at_once(request: ImageRequest, name: str, parameters: Json) -> Generator[Step, Reply, list[Made]]:
    """The images of models that answer at once: of those that make one in a call, one after the other."""
    call = request.call
    if request.negative:
        parameters["negative_prompt"] = request.negative
    calls = 1
    if _ONE_EACH.fullmatch(name):
        calls, parameters["n"] = request.count, 1
    body = _body(request, _message(request), parameters)
    made: list[Made] = []
    for index in range(calls):
        if index and request.seed is not None:
            # The same seed would make the same image again.
            parameters["seed"] = (request.seed + index) % _SEED_LIMIT
        passes = ANY_ERROR if made else _REFUSED
        reply = yield Step("POST", configured_path(call, MULTIMODAL), body, passes=passes)
        if made and reply.status >= 400:
            break
        answer = _accepted(reply, call)
        _note(call, answer)
        found = _of_choices(answer)
        if not found and not made:
            raise _failure(answer)
        made += found
    return made


def _note(call: Call, answer: Json) -> None:
    add_usage(call.usage, _usage(answer))
    call.response_id = text(answer.get("request_id")) or call.response_id


def _task(call: Call, path: str, body: Json) -> Generator[Step, Reply, Json]:
    """Begins a task and looks after it until it is done; returns its last report."""
    reply = yield Step("POST", path, body, headers={"x-dashscope-async": "enable"}, passes=_REFUSED)
    answer = _accepted(reply, call)
    for look in range(LOOKS):
        output = obj(answer.get("output"))
        status = text(output.get("task_status"))
        if status == "SUCCEEDED":
            return answer
        task = text(output.get("task_id"))
        if status not in ("PENDING", "RUNNING", "SUSPENDED") or not task:
            raise _failure(answer)
        pause = PAUSES[min(look, len(PAUSES) - 1)]
        reply = yield Step("GET", f"{TASKS}/{quote(task, safe='')}", after=pause)
        answer = parsed(reply, _WHO)
    raise ApiError(504, "DashScope's task did not end in time", code="upstream_timeout")


def _accepted(reply: Reply, call: Call) -> Json:
    """The answer to a request that was taken. Raises ApiError for one that was refused: as OpenAI does where
    that is about its content."""
    if reply.status < 400:
        return parsed(reply, _WHO)
    error = read_error(reply.status, reply.headers, reply.body, call)
    if error.code == "content_filter" or _BLOCKED.search(error.code or ""):
        raise blocked(error.message, _WHO)
    raise error


def _body(request: ImageRequest, given: Json, parameters: Json) -> Json:
    request.merge("input", given)
    request.merge("parameters", parameters)
    request.finish()
    body: Json = {"model": request.call.model, "input": given}
    if parameters:
        body["parameters"] = parameters
    return body


def _parameters(request: ImageRequest, name: str) -> Json:
    parameters: Json = {}
    size = _size(request, name)
    if size:
        parameters["size"] = size
    # Some make four images where nothing is said; OpenAI's API means one.
    parameters["n"] = request.count
    if request.seed is not None:
        parameters["seed"] = request.seed
    for field in _PARAMETERS:
        value = request.extra.pop(field, None)
        if value is not None:
            parameters[field] = value
    return parameters


def _size(request: ImageRequest, name: str) -> str:
    if _OWN_SIZE.fullmatch(name) or (request.edit and _IMAGE_EDIT.match(name)):
        request.drop("size", "aspect_ratio")
        return ""
    if _FIXED_SIZES.fullmatch(name):
        ratio = nearest_ratio(request, tuple(_SIZES))
        return _SIZES.get(ratio, "")
    request.drop("aspect_ratio")
    return f"{request.size[0]}*{request.size[1]}" if request.size else ""


def _message(request: ImageRequest) -> Json:
    """The input of models that answer at once."""
    request.refuse_mask(name_of(request.call))
    content: list[Json] = []
    if request.edit:
        pictures = request.needs_images(_MAX_INPUTS, _WHO)
        content += [{"image": picture.data_url} for picture in pictures]
    content.append({"text": request.needs_prompt()})
    return {"messages": [{"role": "user", "content": content}]}


def _text_to_image(request: ImageRequest) -> Json:
    given: Json = {"prompt": request.needs_prompt()}
    if request.negative:
        given["negative_prompt"] = request.negative
    return given


def _image_to_image(request: ImageRequest, name: str) -> Json:
    given: Json = {"prompt": request.needs_prompt()}
    mask = request.mask
    if not _IMAGE_EDIT.match(name):
        request.refuse_mask(name)
        given["images"] = [picture.data_url for picture in request.needs_images(_MAX_INPUTS, _WHO)]
        if request.negative:
            given["negative_prompt"] = request.negative
        return given
    request.drop("negative_prompt")
    (picture,) = request.needs_images(1, name)
    given["function"] = "description_edit"
    given["base_image_url"] = picture.data_url
    if mask is not None:
        given["function"] = "description_edit_with_mask"
        given["mask_image_url"] = mask.data_url
        black_and_white = painted(mask.raw, _CHANGE, request.breathe) if mask.data else None
        if black_and_white is not None:
            given["mask_image_url"] = f"data:image/png;base64,{base64.b64encode(black_and_white).decode()}"
    function = request.extra.pop("function", None)
    if function is not None:
        given["function"] = function
    return given


def _of_choices(answer: Json) -> list[Made]:
    made = []
    for choice in objects(obj(answer.get("output")).get("choices")):
        for part in objects(obj(choice.get("message")).get("content")):
            where = text(part.get("image"))
            if where:
                made.append(Made(url=where))
    return made


def _of_task(answer: Json) -> list[Made]:
    """Of a task, single images may have failed."""
    return [
        Made(url=where, prompt=text(result.get("actual_prompt")))
        for result in objects(obj(answer.get("output")).get("results"))
        if (where := text(result.get("url")))
    ]


def _usage(answer: Json) -> Usage:
    """Images are billed; tokens are reported too, often as 0."""
    told = obj(answer.get("usage"))
    tokens = integer(told.get("input_tokens")) or 0, integer(told.get("output_tokens")) or 0
    usage = Usage(prompt_tokens=max(tokens[0], 0), completion_tokens=max(tokens[1], 0))
    if told:
        usage.source = UsageSource.REPORTED
    return usage


def _failure(answer: Json) -> ApiError:
    """Why a task failed, or a 2xx answer has no image."""
    output = obj(answer.get("output"))
    found = next((result for result in objects(output.get("results")) if text(result.get("code"))), {})
    for where in (output, found, answer):
        code, message = text(where.get("code")), text(where.get("message"))
        if code or message:
            break
    else:
        ended = text(output.get("task_status"))
        if not ended:
            return not_an_answer(_WHO)
        return ApiError(502, f"DashScope's task ended as {ended[:100]}", code=NO_IMAGE)
    if _BLOCKED.search(code):
        return blocked(message or code, _WHO)
    status = 400 if code.startswith(("InvalidParameter", "InvalidURL", "InvalidImage")) else 502
    return ApiError(status, message or f"DashScope's task failed: {code}", code=code or None)


DASHSCOPE_IMAGES: Final = DashscopeImages()
