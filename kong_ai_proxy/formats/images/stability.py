"""Stability AI's models on Bedrock, by InvokeModel: text to image, image to image, editing services.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-stability-diffusion.html and
the pages below it (Stable Image Ultra, Stable Image Core, Stable Diffusion 3 and 3.5 Large: fields,
`finish_reasons`); https://docs.aws.amazon.com/bedrock/latest/userguide/stable-image-services.html (the
services). A mask's white is what is painted over: https://platform.stability.ai/docs/api-reference#tag/Edit.

One call makes one image, so several are asked for one after the other, as with Gemini. Fields of Stability's
own (`style_preset`, `search_prompt`, `control_strength`, …) pass as they are.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from ...core.errors import ApiError, BadRequest
from ...core.json import Json
from ..pivot import items, text
from ..steps import Asked, Step, Steps
from .answer import ANY_ERROR, NO_ERROR, NO_IMAGE, Made, base64_text, blocked, images_answer, name_of, parsed
from .mask import painted
from .request import ImageRequest, invoke_path, nearest_ratio

RATIOS: Final = ("1:1", "16:9", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
STRENGTH: Final = 0.65
"""How far from its image an edit by a text to image model may go (0 not at all, 1 anywhere), where the client
says nothing; Stability demands a number. Our own choice."""

_WHO: Final = "Stability AI"
_CHANGE: Final = 255
_FILTERED: Final = "Filter reason"
_SEED_LIMIT: Final = 2**32 - 2


@dataclass(frozen=True, slots=True)
class _Service:
    """What one of the editing services takes."""

    name: str
    """Part of the model's name."""
    prompt: bool = True
    mask: bool = False
    ratio: bool = False
    image: str = "image"
    second: str = ""
    """The member of a second image."""
    needs: tuple[str, ...] = ()
    """Fields of its own that it cannot do without."""


_SERVICES: Final = (
    _Service("inpaint", mask=True),
    _Service("erase-object", prompt=False, mask=True),
    _Service("remove-background", prompt=False),
    _Service("search-replace", needs=("search_prompt",)),
    _Service("search-recolor", needs=("select_prompt",)),
    _Service("outpaint"),
    _Service("control-sketch"),
    _Service("control-structure"),
    _Service("style-guide", ratio=True),
    _Service("style-transfer", image="init_image", second="style_image"),
    _Service("fast-upscale", prompt=False),
    _Service("conservative-upscale"),
    _Service("creative-upscale"),
)
_FROM_IMAGES: Final = ("sd3", "stable-diffusion-3", "stable-image-ultra")
"""Text to image models that also begin from an image; Stable Image Core does not."""
_WITH_MODE: Final = ("sd3", "stable-diffusion-3")
"""Of these the ones that must be told that they do."""


class StabilityImages:
    """A `StepsTranslation` for generations and edits."""

    def __call__(self, asked: Asked) -> Steps:
        request = ImageRequest(asked)
        body = self._request(request)
        made: list[Made] = []
        for index in range(request.count):
            if request.seed is not None:
                # The same seed would make the same image again.
                body["seed"] = (request.seed + index) % _SEED_LIMIT if index else request.seed
            passes = ANY_ERROR if made else NO_ERROR
            reply = yield Step("POST", invoke_path(asked.call), body, passes=passes)
            if reply.status >= 400:
                break
            found = _read(parsed(reply, _WHO))
            if isinstance(found, ApiError):
                if made:
                    break
                raise found
            made += found
        return images_answer(request, made[: request.count], _WHO)

    def _request(self, request: ImageRequest) -> Json:
        service = _service(name_of(request.call))
        request.drop("quality", "output_compression")
        body: Json = {}
        if service is not None:
            self._service(request, service, body)
        else:
            self._model(request, body)
        if request.output_format:
            body["output_format"] = request.output_format
        if request.negative:
            body["negative_prompt"] = request.negative
        for name, picture in request.files.items():
            body[name] = picture.data
        request.files.clear()
        body.update(request.extra)
        request.extra.clear()
        return body

    def _model(self, request: ImageRequest, body: Json) -> None:
        """A text to image model, also where it begins from an image."""
        request.refuse_transparency(_WHO)
        body["prompt"] = request.needs_prompt()
        if not request.edit:
            self._ratio(request, body)
            return
        name = name_of(request.call)
        if not any(part in name for part in _FROM_IMAGES):
            raise BadRequest(f"{name} edits no images; stable-image-inpaint and others do", param="model")
        request.refuse_mask(f"{name} (stable-image-inpaint does)")
        (picture,) = request.needs_images(1, _WHO)
        body["image"] = picture.inline("image", _WHO)
        if any(part in name for part in _WITH_MODE):
            body["mode"] = "image-to-image"
        body["strength"] = STRENGTH
        request.drop("size", "aspect_ratio")

    def _service(self, request: ImageRequest, service: _Service, body: Json) -> None:
        if not request.edit:
            raise BadRequest(
                f"{name_of(request.call)} edits images: use a route of type image/v1/images/edits",
                param="model",
            )
        if service.name != "remove-background":
            request.refuse_transparency(_WHO)
        if not service.prompt:
            request.drop("prompt")
        elif request.prompt:
            body["prompt"] = request.prompt
        for name in service.needs:
            if not request.extra.get(name):
                raise BadRequest(f"{name_of(request.call)} needs {name}", param=name)
        pictures = request.needs_images(2 if service.second else 1, _WHO)
        body[service.image] = pictures[0].inline("image", _WHO)
        if len(pictures) > 1:
            body[service.second] = pictures[1].inline("image", _WHO)
        mask = request.mask
        if mask is not None:
            if not service.mask:
                request.refuse_mask(name_of(request.call))
            data = mask.inline("mask", _WHO)
            black_and_white = painted(mask.raw, _CHANGE, request.breathe)
            if black_and_white is not None:
                data = base64.b64encode(black_and_white).decode()
            body["mask"] = data
        if service.ratio:
            self._ratio(request, body)
        else:
            request.drop("size", "aspect_ratio")

    def _ratio(self, request: ImageRequest, body: Json) -> None:
        ratio = nearest_ratio(request, RATIOS)
        if ratio:
            body["aspect_ratio"] = ratio


def is_stability(name: str) -> bool:
    """Whether a model's name is one of those above."""
    return _service(name) is not None or any(part in name for part in (*_FROM_IMAGES, "stable-image-core"))


def _service(name: str) -> _Service | None:
    return next((service for service in _SERVICES if service.name in name), None)


def _read(answer: Json) -> list[Made] | ApiError:
    made = [Made(data) for image in items(answer.get("images")) if (data := base64_text(image))]
    reasons = [text(reason) for reason in items(answer.get("finish_reasons"))]
    said = "; ".join(reason for reason in reasons if reason)
    if made and not said:
        return made
    if _FILTERED in said:
        return blocked(said, _WHO)
    return made or ApiError(502, f"{_WHO} made no image{f': {said}' if said else ''}", code=NO_IMAGE)


STABILITY: Final = StabilityImages()
