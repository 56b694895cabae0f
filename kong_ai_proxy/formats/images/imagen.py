"""Imagen by `:predict`, on Vertex and on Gemini's public API.

Sources: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api (generation),
.../imagen-api-edit (`referenceImages`), .../reference/rest/Shared.Types/VisionGenerativeModelParams and
VisionGenerativeModelResult (`raiFilteredReason`); for the public API
https://ai.google.dev/gemini-api/docs/imagen and googleapis/python-genai before 43ef621f
(`models._GenerateImagesConfig_to_mldev`, which says what it lacks). A mask is not black where the image is to
change: `types.MaskReferenceImage` there.
"""

from __future__ import annotations

import base64
from typing import Final

from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import objects, text
from ..steps import Asked, Step, Steps
from .answer import Made, base64_text, blocked, images_answer, name_of, parsed
from .gemini import size_class
from .mask import painted
from .request import ImageRequest, nearest_ratio

RATIOS: Final = ("1:1", "3:4", "4:3", "9:16", "16:9")
SIZES: Final = (("1K", 1024 * 1024), ("2K", 2048 * 2048))

_ELSEWHERE: Final = ("storageUri",)
"""Parameters that make Google write to a bucket: where to is not for a gateway's clients to say."""
_MIME_TYPES: Final = {"png": "image/png", "jpeg": "image/jpeg"}
_WHO: Final = "Imagen"
_CHANGE: Final = 255
"""The grey of what a mask wants changed."""


class Imagen:
    """A `StepsTranslation` for generations, and on Vertex for edits."""

    def __init__(self, *, vertex: bool) -> None:
        self._vertex = vertex

    def __call__(self, asked: Asked) -> Steps:
        request = ImageRequest(asked)
        request.refuse_transparency(_WHO)
        parameters = self._parameters(request)
        instance: Json = {"prompt": request.needs_prompt()}
        if request.edit:
            self._edit(request, instance, parameters)
        request.merge("parameters", parameters)
        for name in _ELSEWHERE:
            if parameters.pop(name, None) is not None:
                asked.call.drop(f"parameters.{name}")
        request.finish()
        reply = yield Step("POST", ":predict", {"instances": [instance], "parameters": parameters})
        answer = parsed(reply, _WHO)
        made, filtered = _read(answer)
        if not made:
            raise blocked("; ".join(filtered), _WHO)
        return images_answer(request, made, _WHO)

    def _parameters(self, request: ImageRequest) -> Json:
        # Without a number it makes four. The reason, where an image is filtered out, comes when asked for.
        parameters: Json = {"sampleCount": request.count, "includeRaiReason": True}
        request.drop("quality")
        if request.edit:
            # The answer has the size of the image that is edited.
            request.drop("size", "aspect_ratio")
        else:
            ratio = nearest_ratio(request, RATIOS)
            if ratio:
                parameters["aspectRatio"] = ratio
            size = size_class(request, SIZES)
            if size not in ("", "1K"):
                if _is_sized(name_of(request.call)):
                    parameters["sampleImageSize"] = size
                else:
                    request.drop("size")
        self._output(request, parameters)
        for param, own, value in (
            ("negative_prompt", "negativePrompt", request.negative or None),
            ("seed", "seed", request.seed),
        ):
            if value is not None and self._vertex:
                parameters[own] = value
            else:
                request.drop(param)
        return parameters

    def _output(self, request: ImageRequest, parameters: Json) -> None:
        options: Json = {}
        if request.output_format in _MIME_TYPES:
            options["mimeType"] = _MIME_TYPES[request.output_format]
            if request.compression is not None and request.output_format == "jpeg":
                options["compressionQuality"] = request.compression
        if options:
            parameters["outputOptions"] = options
        if "compressionQuality" not in options:
            request.drop("output_compression")

    def _edit(self, request: ImageRequest, instance: Json, parameters: Json) -> None:
        if not self._vertex:
            raise BadRequest("Imagen edits images on Vertex only", param="model")
        (picture,) = request.needs_images(1, _WHO)
        references: list[Json] = [
            {
                "referenceType": "REFERENCE_TYPE_RAW",
                "referenceId": 1,
                "referenceImage": {"bytesBase64Encoded": picture.inline("image", _WHO)},
            }
        ]
        parameters["editMode"] = "EDIT_MODE_DEFAULT"
        mask = request.mask
        if mask is not None:
            data = mask.inline("mask", _WHO)
            black_and_white = painted(mask.raw, _CHANGE, request.breathe)
            if black_and_white is not None:
                data = base64.b64encode(black_and_white).decode()
            references.append(
                {
                    "referenceType": "REFERENCE_TYPE_MASK",
                    "referenceId": 2,
                    "referenceImage": {"bytesBase64Encoded": data},
                    "maskImageConfig": {"maskMode": "MASK_MODE_USER_PROVIDED"},
                }
            )
            parameters["editMode"] = "EDIT_MODE_INPAINT_INSERTION"
        instance["referenceImages"] = references


def _is_sized(model: str) -> bool:
    """Models that take a size; the fast one does not."""
    return model.startswith("imagen-4") and "fast" not in model


def _read(answer: Json) -> tuple[list[Made], list[str]]:
    """The images, and why others were filtered out."""
    made, filtered = [], []
    for prediction in objects(answer.get("predictions")):
        data = base64_text(prediction.get("bytesBase64Encoded"))
        where = text(prediction.get("gcsUri"))
        if data or where:
            prompt = text(prediction.get("prompt"))
            made.append(Made(data, where, prompt, text(prediction.get("mimeType"))))
        elif reason := text(prediction.get("raiFilteredReason")):
            filtered.append(reason)
    return made, list(dict.fromkeys(filtered))
