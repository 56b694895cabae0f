"""Amazon's Nova Canvas and Titan Image Generator on Bedrock, by InvokeModel.

Sources: https://docs.aws.amazon.com/nova/latest/userguide/image-gen-req-resp-structure.html (tasks and their
parameters), .../image-gen-access.html (masks), .../image-gen-errors.html (what the content filters say);
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-image.html (both versions of
Titan).

Sizes go as they are asked: which of them a model makes, AWS says itself.
"""

from __future__ import annotations

import base64
from typing import Final, Literal

from ...core.errors import BadRequest
from ...core.json import Json
from ..bedrock.errors import read_error
from ..pivot import items, text
from ..steps import Asked, Step, Steps
from .answer import Made, base64_text, blocked, images_answer, parsed
from .mask import painted
from .request import ImageRequest, invoke_path

_PARAMS: Final = {
    "TEXT_IMAGE": "textToImageParams",
    "COLOR_GUIDED_GENERATION": "colorGuidedGenerationParams",
    "IMAGE_VARIATION": "imageVariationParams",
    "INPAINTING": "inPaintingParams",
    "OUTPAINTING": "outPaintingParams",
    "BACKGROUND_REMOVAL": "backgroundRemovalParams",
    "VIRTUAL_TRY_ON": "virtualTryOnParams",
}
"""Task → the member that holds what it is to do."""
_TASK_FIELDS: Final = (
    "similarityStrength", "maskPrompt", "outPaintingMode", "controlMode", "controlStrength", "colors",
    "style",
)  # fmt: skip
"""Members of a task that may stand at the top of the request."""
_QUALITIES: Final = {
    "low": "standard", "medium": "standard", "standard": "standard",
    "high": "premium", "hd": "premium", "xhigh": "premium", "max": "premium", "premium": "premium",
}  # fmt: skip
_IMAGE: Final = {
    "TEXT_IMAGE": "conditionImage",
    "COLOR_GUIDED_GENERATION": "referenceImage",
    "VIRTUAL_TRY_ON": "sourceImage",
}
"""What a task calls its image, where not "image"."""
_CHANGE: Final[dict[str, Literal[0, 255]]] = {"INPAINTING": 0, "OUTPAINTING": 255}
"""The grey of what a mask wants changed: black inside the painting, white around it."""
_MAX_INPUTS: Final = 5
_FILTERED: Final = "content filters"
"""In the message of a ValidationException, and in `error` of an answer."""


class AmazonImages:
    """A `StepsTranslation` for generations and edits."""

    def __init__(self, who: str) -> None:
        self._who = who

    def __call__(self, asked: Asked) -> Steps:
        request = ImageRequest(asked)
        body = self._request(request)
        reply = yield Step("POST", invoke_path(asked.call), body, passes=frozenset({400}))
        if reply.status >= 400:
            error = read_error(reply.status, reply.headers, reply.body, asked.call)
            raise blocked(error.message, self._who) if _FILTERED in error.message else error
        answer = parsed(reply, self._who)
        made = [Made(data) for image in items(answer.get("images")) if (data := base64_text(image))]
        said = text(answer.get("error"))
        if not made and said:
            raise blocked(said, self._who)
        return images_answer(request, made, self._who)

    def _request(self, request: ImageRequest) -> Json:
        request.drop("output_compression", "aspect_ratio")
        task = self._task(request)
        if task != "BACKGROUND_REMOVAL":
            request.refuse_transparency(self._who)
        params: Json = {}
        self._pictures(request, task, params)
        if task == "BACKGROUND_REMOVAL":
            request.drop("prompt", "negative_prompt", "n", "size", "quality", "seed")
        else:
            if request.prompt:
                params["text"] = request.prompt
            if request.negative:
                params["negativeText"] = request.negative
        for name in _TASK_FIELDS:
            value = request.extra.pop(name, None)
            if value is not None:
                params[name] = value
        member = _PARAMS[task]
        request.merge(member, params)
        body: Json = {"taskType": task, member: params}
        config = {} if task == "BACKGROUND_REMOVAL" else self._config(request)
        request.merge("imageGenerationConfig", config)
        if config:
            body["imageGenerationConfig"] = config
        request.finish()
        return body

    def _task(self, request: ImageRequest) -> str:
        task = request.extra.pop("taskType", None)
        if task is not None:
            if not isinstance(task, str) or task not in _PARAMS:
                raise BadRequest(f"taskType must be one of {', '.join(_PARAMS)}", param="taskType")
            return task
        if not request.edit:
            request.needs_prompt()
            return "TEXT_IMAGE"
        if request.masks or "maskPrompt" in request.extra:
            return "INPAINTING"
        return "IMAGE_VARIATION"

    def _pictures(self, request: ImageRequest, task: str, params: Json) -> None:
        if not request.edit:
            return
        own = f"{self._who} ({task})"
        if task == "IMAGE_VARIATION":
            request.refuse_mask(own)
            found = request.needs_images(_MAX_INPUTS, own)
            params["images"] = [picture.inline("image", own) for picture in found]
            return
        (picture,) = request.needs_images(1, own)
        params[_IMAGE.get(task, "image")] = picture.inline("image", own)
        mask = request.mask
        if mask is None:
            return
        change = _CHANGE.get(task)
        if change is None:
            raise BadRequest(f"{own} takes no mask", param="mask")
        data = mask.inline("mask", own)
        black_and_white = painted(mask.raw, change, request.breathe)
        if black_and_white is not None:
            data = base64.b64encode(black_and_white).decode()
        params["maskImage"] = data

    def _config(self, request: ImageRequest) -> Json:
        config: Json = {}
        if request.n is not None:
            config["numberOfImages"] = request.n
        if request.size is not None:
            config["width"], config["height"] = request.size
        quality = _QUALITIES.get(request.quality)
        if quality is not None:
            config["quality"] = quality
        else:
            request.drop("quality")
        if request.seed is not None:
            config["seed"] = request.seed
        scale = request.extra.pop("cfgScale", None)
        if scale is not None:
            config["cfgScale"] = scale
        return config


NOVA_CANVAS: Final = AmazonImages("Nova Canvas")
TITAN: Final = AmazonImages("Titan")
