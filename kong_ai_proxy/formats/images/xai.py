"""xAI's `/v1/images/edits`: OpenAI's answer, but JSON only, and images as URLs.

Sources: https://docs.x.ai/docs/guides/image-generations and .../api-reference#image-edits; recording
xai/image-edits/001. Images are `image`, or `images` where there are several; `size` is not taken,
`aspect_ratio` is.
"""

from __future__ import annotations

from typing import Final

from ...core.json import Json
from ..pivot import integer, objects, text
from ..steps import Asked, Step, Steps
from .answer import Made, base64_text, images_answer, parsed
from .request import ImageRequest, Picture, configured_path, nearest_ratio

PATH: Final = "/v1/images/edits"
RATIOS: Final = (
    "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1",
)  # fmt: skip

_QUALITIES: Final = ("low", "medium", "high")
_MAX_INPUTS: Final = 16
_WHO: Final = "xAI"


class XaiEdits:
    """A `StepsTranslation`."""

    def __call__(self, asked: Asked) -> Steps:
        request = ImageRequest(asked)
        body = _request(request)
        reply = yield Step("POST", configured_path(asked.call, PATH), body)
        answer = parsed(reply, _WHO)
        asked.call.created = integer(answer.get("created")) or asked.call.created
        made = []
        for image in objects(answer.get("data")):
            one = Made(
                base64_text(image.get("b64_json")),
                text(image.get("url")),
                text(image.get("revised_prompt")),
                text(image.get("mime_type")),
            )
            if one.data or one.url:
                made.append(one)
        return images_answer(request, made, _WHO)


def _request(request: ImageRequest) -> Json:
    request.refuse_transparency(_WHO)
    request.drop("output_compression", "seed", "negative_prompt")
    pictures = request.needs_images(_MAX_INPUTS, _WHO)
    body: Json = {"model": request.call.model, "prompt": request.needs_prompt()}
    if len(pictures) == 1:
        body["image"] = _image(pictures[0])
    else:
        body["images"] = [_image(picture) for picture in pictures]
    if request.mask is not None:
        body["mask"] = _image(request.mask)
    if request.n is not None:
        body["n"] = request.n
    wanted = request.wanted or ("b64_json" if request.streamed else "")
    if wanted:
        body["response_format"] = wanted
    ratio = nearest_ratio(request, RATIOS)
    if ratio:
        body["aspect_ratio"] = ratio
    if request.quality in _QUALITIES:
        body["quality"] = request.quality
    else:
        request.drop("quality")
    # What is left is xAI's own: resolution, image_detail, ….
    body.update(request.extra)
    request.extra.clear()
    request.finish()
    return body


def _image(picture: Picture) -> Json:
    return {"type": "image_url", "url": picture.data_url}


XAI_EDITS: Final = XaiEdits()
