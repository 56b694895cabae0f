"""What providers' images become for the client: OpenAI's answer, its usage, its errors.

Sources: https://platform.openai.com/docs/api-reference/images/object; what a blocked image is called:
https://platform.openai.com/docs/guides/image-generation#content-moderation, and the type in recording
openai/image-edits/001.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, loads_lenient
from ...core.usage import Usage, UsageSource
from ..openai.rest import add_usage as sum_usage
from ..pivot import not_an_answer
from ..steps import Reply, Whole
from .request import ImageRequest

BLOCKED: Final = "moderation_blocked"
"""OpenAI's `code` of an image that its safety system rejected."""
NO_IMAGE: Final = "no_image"
"""The `code` where a model made no image without saying that it was blocked."""

NO_ERROR: Final[frozenset[int]] = frozenset()
ANY_ERROR: Final = frozenset(range(400, 600))
"""`Step.passes` of the first of several images, and of the others."""

_TYPES: Final = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("UklGR", "image/webp"))
"""Of an image by the beginning of its base64."""
_ENDINGS: Final = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
_OUTPUT_FORMATS: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}


@dataclass(slots=True)
class Made:
    """One image that a provider made."""

    data: str = ""
    """Base64."""
    url: str = ""
    prompt: str = ""
    """What the provider made of the prompt, where it says so."""
    media_type: str = ""
    """As the provider says; else told from the bytes."""


def images_answer(request: ImageRequest, made: list[Made], provider: str = "") -> Whole:
    """The client's answer. Notes usage and model on the call, and as dropped what came out otherwise than
    asked: fewer images, another file format.

    Raises ApiError (502) where there is none.
    """
    call = request.call
    if not made:
        raise no_image(provider or call.provider)
    call.response_model = call.response_model or call.model or None
    call.usage.images = len(made)
    if call.usage.source is UsageSource.NONE:
        call.usage.source = UsageSource.REPORTED
    if len(made) < request.count:
        call.drop("n")
    answer: Json = {"created": call.created, "data": [_image(one, request.wanted) for one in made]}
    answered = _OUTPUT_FORMATS.get(_media_type(made[0]), "")
    if answered:
        answer["output_format"] = answered
        if request.output_format not in ("", answered):
            call.drop("output_format")
    size = _size_of(made[0].data)
    if size:
        answer["size"] = size
    if request.quality not in ("", "auto") and "quality" not in call.dropped:
        answer["quality"] = request.quality
    usage = _usage(call.usage)
    if usage is not None:
        answer["usage"] = usage
    return Whole(answer)


def blocked(why: str, provider: str) -> ApiError:
    """A content filter's refusal of the prompt, an input image or the image that was made."""
    said = f": {why}" if why else ""
    return ApiError(
        400,
        f"The request was rejected by {provider}'s safety system{said}",
        type="image_generation_user_error",
        code=BLOCKED,
    )


def no_image(provider: str, why: str = "") -> ApiError:
    """An answer without an image, and without a reason that is about its content."""
    return ApiError(502, f"{provider} answered without an image{f': {why}' if why else ''}", code=NO_IMAGE)


def parsed(reply: Reply, provider: str) -> Json:
    """A reply's JSON object. Raises ApiError (502) for anything else."""
    try:
        body = loads_lenient(reply.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise not_an_answer(provider)
    return body


def add_usage(total: Usage, more: Usage) -> None:
    """Adds the counts of one of several requests to the sum of them, if there are any."""
    if more.source is not UsageSource.NONE:
        sum_usage(total, more)
        total.service_tier = more.service_tier or total.service_tier


def base64_text(value: Any) -> str:
    """A provider's base64, without the `data:` that some put before it; "" for anything else."""
    if not isinstance(value, str):
        return ""
    return value.partition(",")[2] if value.startswith("data:") else value


def _image(made: Made, wanted: str) -> Json:
    image: Json = {}
    if made.data and wanted == "url":
        image["url"] = f"data:{_media_type(made) or 'image/png'};base64,{made.data}"
    elif made.data:
        image["b64_json"] = made.data
    else:
        image["url"] = made.url
    if made.prompt:
        image["revised_prompt"] = made.prompt
    return image


def _media_type(made: Made) -> str:
    if made.media_type:
        return made.media_type
    if not made.data:
        ending = made.url.partition("?")[0].rpartition(".")[2].lower()
        return _ENDINGS.get(ending, "")
    return next((media_type for begin, media_type in _TYPES if made.data.startswith(begin)), "")


def _size_of(data: str) -> str:
    """A PNG's width and height, as they stand in its first chunk:
    https://www.w3.org/TR/png-3/#11IHDR. "" for anything else."""
    if not data.startswith(_TYPES[0][0]):
        return ""
    try:
        head = base64.b64decode(data[:32])
    except binascii.Error:
        return ""
    if len(head) < 24 or head[12:16] != b"IHDR":
        return ""
    width, height = struct.unpack(">II", head[16:24])
    return f"{width}x{height}" if 0 < width <= 99_999 and 0 < height <= 99_999 else ""


def _usage(usage: Usage) -> Json | None:
    """OpenAI's `usage` of an images answer; None where no tokens are reported."""
    if not usage.prompt_tokens and not usage.completion_tokens:
        return None
    images_in = usage.image_prompt_tokens or 0
    images_out = usage.image_completion_tokens
    told: Json = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total,
        "input_tokens_details": {
            "text_tokens": max(usage.prompt_tokens - images_in, 0),
            "image_tokens": images_in,
        },
    }
    if images_out is not None:
        details = {"text_tokens": usage.text_completion_tokens or 0, "image_tokens": images_out}
        if usage.reasoning_tokens is not None:
            details["reasoning_tokens"] = usage.reasoning_tokens
        told["output_tokens_details"] = details
    return told


def name_of(call: Call) -> str:
    """The model's name without what stands before it (a region, a publisher's path)."""
    return call.model.rpartition("/")[2]
