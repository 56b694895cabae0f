"""Images of Gemini's own models: generateContent that answers with pictures.

Sources: https://ai.google.dev/gemini-api/docs/image-generation and googleapis/python-genai
(`types.ImageConfig`, `FinishReason`, `BlockedReason`; `models._ImageConfig_to_vertex`, which says what Vertex
takes and the public API does not). Top-level `generationConfig`, `safetySettings` and the like are Gemini's
own, as in Kong's guide "Use Gemini's imageConfig".

One call makes one image, so several are asked for one after the other. Where a later one fails, what was made
is answered, for it is paid for, and fewer than asked are noted.
"""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.json import Json
from ...core.usage import Usage
from ..gemini.media import url_part
from ..gemini.usage import UsageReader
from ..pivot import not_an_answer, obj, objects, text
from ..steps import Asked, Step, Steps, Whole
from .answer import (
    ANY_ERROR,
    NO_ERROR,
    Made,
    add_usage,
    base64_text,
    blocked,
    images_answer,
    name_of,
    no_image,
    parsed,
)
from .request import ImageRequest, Picture, nearest_ratio, pixels

RATIOS: Final = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
SIZES: Final = (("1K", 1024 * 1024), ("2K", 2048 * 2048), ("4K", 4096 * 4096))
"""`imageSize`, and the pixels of a square one."""
SIZED: Final = ("gemini-3",)
"""Beginnings of models that take `imageSize`; older ones have one size."""
MAX_INPUTS: Final = 16
"""Images of an edit, as OpenAI has it; Gemini itself says how many a model reads well."""

_BLOCKED: Final = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "JAILBREAK",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION",
    }
)  # fmt: skip
"""Of `finishReason` and `blockReason`: what is about content. NO_IMAGE, IMAGE_OTHER and OTHER are not."""
_MIME_TYPES: Final = {"png": "image/png", "jpeg": "image/jpeg"}
_OWN: Final = ("safetySettings", "systemInstruction", "cachedContent", "tools", "toolConfig", "labels")
"""Top-level fields of generateContent that pass as they are."""
_SEED_LIMIT: Final = 2**31
_ENOUGH: Final = 0.55
"""A size will do whose pixels are this part of those asked: 1536x1024 is made by 1K, 2048x2048 is not."""


class GeminiImages:
    """A `StepsTranslation` for generations and edits."""

    def __init__(self, *, vertex: bool) -> None:
        self._vertex = vertex

    def __call__(self, asked: Asked) -> Steps:
        call = asked.call
        request = ImageRequest(asked)
        body = self._request(request)
        made: list[Made] = []
        usage = Usage()
        config = body["generationConfig"]
        seed = request.seed if config.get("seed") == request.seed else None
        for index in range(request.count):
            if index and seed is not None:
                # The same seed would make the same image again.
                config["seed"] = (seed + index) % _SEED_LIMIT
            reply = yield Step("POST", ":generateContent", body, passes=ANY_ERROR if made else NO_ERROR)
            if reply.status >= 400:
                break
            answer = parsed(reply, "Gemini")
            add_usage(usage, _usage(answer))
            call.usage = usage
            call.response_model = text(answer.get("modelVersion")) or call.response_model
            call.response_id = text(answer.get("responseId")) or call.response_id
            found = _images(answer)
            if not found:
                if made:
                    break
                raise _refusal(answer)
            made += found
        return self._answer(request, made)

    def _answer(self, request: ImageRequest, made: list[Made]) -> Whole:
        return images_answer(request, made[: request.count], "Gemini")

    def _request(self, request: ImageRequest) -> Json:
        """The body of generateContent. Raises BadRequest."""
        request.refuse_mask("Gemini: say in the prompt what to change. It")
        request.refuse_transparency("Gemini")
        parts: list[Json] = [{"text": request.needs_prompt()}]
        if request.edit:
            for picture in request.needs_images(MAX_INPUTS, "Gemini"):
                parts.append(self._part(picture))
        config: Json = {"responseModalities": ["TEXT", "IMAGE"]}
        image = self._image_config(request)
        if image:
            config["imageConfig"] = image
        if request.seed is not None:
            config["seed"] = request.seed
        request.drop("negative_prompt", "quality")
        request.merge("generationConfig", config)
        body: Json = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        for name in _OWN:
            value = request.extra.pop(name, None)
            if value is not None:
                body[name] = value
        request.finish()
        return body

    def _part(self, picture: Picture) -> Json:
        if picture.url:
            return url_part(picture.url, "", self._vertex, "image")
        return {"inlineData": {"mimeType": picture.media_type, "data": picture.data}}

    def _image_config(self, request: ImageRequest) -> Json:
        config: Json = {}
        ratio = nearest_ratio(request, RATIOS)
        if ratio:
            config["aspectRatio"] = ratio
        size = size_class(request, SIZES)
        if size not in ("", "1K"):
            if name_of(request.call).startswith(SIZED):
                config["imageSize"] = size
            else:
                request.drop("size")
        output: Json = {}
        if self._vertex and request.output_format in _MIME_TYPES:
            output["mimeType"] = _MIME_TYPES[request.output_format]
            if request.compression is not None and request.output_format == "jpeg":
                output["compressionQuality"] = request.compression
        if output:
            config["imageOutputOptions"] = output
        if "compressionQuality" not in output:
            request.drop("output_compression")
        return config


def size_class(request: ImageRequest, sizes: tuple[tuple[str, int], ...]) -> str:
    """The smallest of the sizes that comes near the pixels asked for; "" where nothing is said."""
    wanted = pixels(request)
    if not wanted:
        return ""
    return next((name for name, has in sizes if has >= _ENOUGH * wanted), sizes[-1][0])


def _usage(answer: Json) -> Usage:
    reader = UsageReader()
    reader.take(answer.get("usageMetadata"))
    return reader.usage()


def _images(answer: Json) -> list[Made]:
    """The pictures of all candidates. Those of thoughts are drafts, and not the answer."""
    made = []
    for candidate in objects(answer.get("candidates")):
        for part in objects(obj(candidate.get("content")).get("parts")):
            blob = obj(part.get("inlineData"))
            data = base64_text(blob.get("data"))
            media_type = text(blob.get("mimeType"))
            if data and media_type.startswith("image/") and part.get("thought") is not True:
                made.append(Made(data, media_type=media_type))
    return made


def _refusal(answer: Json) -> Exception:
    """Why there is no picture."""
    feedback = obj(answer.get("promptFeedback"))
    reason = text(feedback.get("blockReason"))
    if reason:
        return blocked(text(feedback.get("blockReasonMessage")) or reason, "Gemini")
    said = []
    for candidate in objects(answer.get("candidates")):
        reason = text(candidate.get("finishReason"))
        if reason in _BLOCKED:
            return blocked(text(candidate.get("finishMessage")) or reason, "Gemini")
        said += [text(part.get("text")) for part in objects(obj(candidate.get("content")).get("parts"))]
    if "candidates" not in answer and not feedback and "usageMetadata" not in answer:
        return not_an_answer("Gemini")
    # The model may explain itself in words instead of painting.
    why = "".join(said).strip()[:500] or ("" if reason in ("", "STOP") else reason)
    return no_image("Gemini", why)


def is_imagen(call: Call) -> bool:
    """Whether the model is one of Imagen's, which speak another API."""
    return name_of(call).startswith(("imagen", "imagegeneration"))
