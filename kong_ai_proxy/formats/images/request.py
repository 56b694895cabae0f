"""A request to OpenAI's `images/generations` or `images/edits`, read and checked.

Sources: https://platform.openai.com/docs/api-reference/images/create and .../images/createEdit; edits as JSON
in recording openai/image-edits/001; nested fields of forms as OpenAI's SDK writes them
(`generationConfig[imageConfig][aspectRatio]`).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.http import leads_elsewhere
from ...core.json import Json, JSONDecodeError, loads
from ..pivot import data_url, integer, merged_body, obj
from ..steps import Asked, FilePart

MAX_IMAGES: Final = 10
"""Images of one request, as OpenAI has it."""

_FORMATS: Final = ("png", "jpeg", "webp")
_BACKGROUNDS: Final = ("auto", "opaque", "transparent")
_WANTED: Final = ("b64_json", "url")
_OPENAI_ONLY: Final = (
    "user", "safety_identifier", "input_fidelity", "complexity", "frame_count", "frame_duration_ms",
    "svg", "markup",
)  # fmt: skip
"""What no other provider takes."""
_STYLES: Final = ("vivid", "natural")
_SIZE: Final = re.compile(r"(\d{1,5})[xX*](\d{1,5})")
_RATIO: Final = re.compile(r"(\d{1,3}(?:\.\d)?):(\d{1,3}(?:\.\d)?)")
_NESTED: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")
_MAGIC: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)

_MISSING: Final = object()


@dataclass(slots=True)
class Picture:
    """An image of the request: its bytes in base64, or where it is."""

    media_type: str = "image/png"
    data: str = ""
    url: str = ""

    def inline(self, param: str, who: str) -> str:
        """Its base64. Raises BadRequest where it is an address, which `who` does not read."""
        if not self.data:
            raise BadRequest(f"{who} takes images as data URLs or files, not as addresses", param=param)
        return self.data

    @property
    def data_url(self) -> str:
        """Its data URL, or its address."""
        return self.url or f"data:{self.media_type};base64,{self.data}"

    @property
    def raw(self) -> bytes:
        try:
            return base64.b64decode(self.data)
        except binascii.Error:
            return b""


class ImageRequest:
    """What is wanted. Members that nothing was said of are None or "".

    Raises BadRequest with `param` for what no images API takes. Translations pop from `extra` what they carry
    and call `finish` at the end, which notes the rest as dropped.
    """

    def __init__(self, asked: Asked) -> None:
        self.call: Call = asked.call
        self.breathe = asked.breathe
        self.edit = asked.rest.operation == "image.edits"
        form = asked.call.request.headers.get("content-type", "").startswith("multipart/")
        body = merged_body(_nested(asked.body) if form else asked.body)
        self.extra: Json = {name: value for name, value in body.items() if value is not None}
        self.extra.pop("model", None)
        self.streamed = self.extra.pop("stream", None) in (True, "true")
        self.prompt = self._prompt()
        self.n = self._whole("n", 1, MAX_IMAGES)
        self.size = self._size()
        self.ratio = self._ratio()
        self.quality = self._text("quality")
        self.background = self._choice("background", _BACKGROUNDS)
        self.output_format = self._choice("output_format", _FORMATS)
        self.compression = self._whole("output_compression", 0, 100)
        self.wanted = self._choice("response_format", _WANTED)
        self.seed = self._whole("seed", -(2**31), 2**63 - 1)
        self.negative = self._text("negative_prompt")
        self.images: list[Picture] = []
        self.masks: list[Picture] = []
        self.files: dict[str, Picture] = {}
        """Further images, by the form's field."""
        self._pictures(asked.files)
        for name in _OPENAI_ONLY:
            if self.extra.pop(name, None) is not None:
                self.call.drop(name)
        if self.extra.get("style") in _STYLES:
            # Others have styles of their own.
            del self.extra["style"]
            self.call.drop("style")
        if self.extra.pop("moderation", "auto") != "auto":
            self.call.drop("moderation")
        if self.extra.pop("partial_images", None) not in (None, 0, "0"):
            self.call.drop("partial_images")
        if form:
            self.extra = {name: _from_form(value) for name, value in self.extra.items()}

    @property
    def count(self) -> int:
        """How many images are wanted."""
        return 1 if self.n is None else self.n

    @property
    def mask(self) -> Picture | None:
        return self.masks[0] if self.masks else None

    # ---- what translations say of it

    def needs_prompt(self) -> str:
        """The prompt. Raises BadRequest where there is none."""
        if not self.prompt:
            raise BadRequest("Missing required parameter: 'prompt'.", param="prompt")
        return self.prompt

    def needs_images(self, most: int, who: str) -> list[Picture]:
        """The images to edit, one at least. Raises BadRequest for none, and for more than `most`."""
        if not self.images:
            raise BadRequest("Missing required parameter: 'image'.", param="image")
        if len(self.images) > most:
            raise BadRequest(f"{who} takes at most {most} image{'s' * (most > 1)}", param="image")
        return self.images

    def refuse_mask(self, who: str) -> None:
        """Raises BadRequest where there is a mask: without it another part of the image would be changed."""
        if self.masks:
            raise BadRequest(f"{who} takes no mask", param="mask")

    def refuse_transparency(self, who: str) -> None:
        """Raises BadRequest where the background has to be transparent."""
        if self.background == "transparent":
            raise BadRequest(f"{who} makes no transparent backgrounds", param="background")

    def drop(self, *names: str) -> None:
        """Note of these what was said: quality "auto" says nothing."""
        said: dict[str, Any] = {
            "quality": self.quality not in ("", "auto"),
            "size": self.size is not None,
            "aspect_ratio": self.ratio is not None,
            "output_format": self.output_format != "",
            "output_compression": self.compression is not None,
            "seed": self.seed is not None,
            "negative_prompt": self.negative != "",
            "prompt": self.prompt != "",
            "n": self.n is not None,
        }
        for name in names:
            if said[name]:
                self.call.drop(name)

    def finish(self) -> None:
        """Note as dropped what is left in `extra` and `files`."""
        for name in (*self.extra, *self.files):
            self.call.drop(name)

    def merge(self, name: str, into: Json) -> None:
        """Merge the provider's own object of that name, as the client gave it, into what was made of the
        other fields. The client's own members win."""
        given = self.extra.pop(name, None)
        if given is None:
            return
        if not isinstance(given, dict):
            raise BadRequest(f"{name} must be an object", param=name)
        _merge(given, into)

    # ---- reading

    def _prompt(self) -> str:
        prompt = self.extra.pop("prompt", "")
        if not isinstance(prompt, str):
            raise BadRequest("prompt must be a string", param="prompt")
        return prompt

    def _text(self, name: str) -> str:
        value = self.extra.pop(name, "")
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be a string", param=name)
        return value

    def _choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self._text(name)
        if value and value not in choices:
            wanted = ", ".join(f"'{choice}'" for choice in choices)
            message = f"Invalid value: '{value[:100]}'. Supported values are: {wanted}."
            raise BadRequest(message, param=name, code="invalid_value")
        return value

    def _whole(self, name: str, least: int, most: int) -> int | None:
        value = self.extra.pop(name, None)
        if value is None or value == "":
            return None
        found = integer(_from_form(value)) if isinstance(value, str) else integer(value)
        if found is None or not least <= found <= most:
            raise BadRequest(f"{name} must be a whole number from {least} to {most}", param=name)
        return found

    def _size(self) -> tuple[int, int] | None:
        value = self._text("size")
        if value in ("", "auto"):
            return None
        found = _SIZE.fullmatch(value)
        if found is None or not int(found[1]) or not int(found[2]):
            raise BadRequest("size must be 'auto' or WIDTHxHEIGHT", param="size")
        return int(found[1]), int(found[2])

    def _ratio(self) -> tuple[float, float] | None:
        value = self._text("aspect_ratio")
        if value in ("", "auto"):
            return None
        found = _RATIO.fullmatch(value)
        if found is None or not float(found[1]) or not float(found[2]):
            raise BadRequest("aspect_ratio must be like '16:9'", param="aspect_ratio")
        return float(found[1]), float(found[2])

    def _pictures(self, files: list[FilePart]) -> None:
        for name in ("image", "images", "mask"):
            value = self.extra.pop(name, _MISSING)
            if value is _MISSING:
                continue
            found = [_picture(one, name) for one in (value if isinstance(value, list) else [value])]
            (self.masks if name == "mask" else self.images).extend(found)
        for part in files:
            picture = Picture(_type_of(part), base64.b64encode(part.data).decode())
            name = part.name.partition("[")[0]
            if name in ("image", "images"):
                self.images.append(picture)
            elif name == "mask":
                self.masks.append(picture)
            else:
                self.files[name] = picture
        if self.files.pop("markup", None) is not None:
            self.call.drop("markup")
        if len(self.masks) > 1:
            raise BadRequest("there can be one mask only", param="mask")
        if not self.edit and (self.images or self.masks):
            raise BadRequest(
                "images are edited on a route of type image/v1/images/edits",
                param="image" if self.images else "mask",
            )


def _picture(value: Any, param: str) -> Picture:
    """An image of a JSON body: a URL, or an object that holds one."""
    inside: Any = value
    for name in ("image_url", "url"):
        if isinstance(inside, dict) and name in inside:
            inside = inside[name]
    if not isinstance(inside, str) or not inside:
        if "file_id" in obj(value):
            raise BadRequest("a file_id is OpenAI's own: send the image itself", param=param)
        raise BadRequest(f"{param} must be a URL or an object with one", param=param)
    found = data_url(inside)
    if found is not None:
        return Picture(found[0], found[1])
    if inside[:8].lower().startswith(("http://", "https://")):
        return Picture(url=inside)
    raise BadRequest(f"{param} must be an https:// or a base64 data: URL", param=param)


def _type_of(part: FilePart) -> str:
    """By its bytes: what clients say of files is often only `application/octet-stream`."""
    for magic, media_type in _MAGIC:
        if part.data.startswith(magic):
            return media_type
    given = part.content_type.partition(";")[0].strip().lower()
    return given if given.startswith("image/") else "image/png"


def _nested(body: Json) -> Json:
    """A form's fields with those of the form `a[b][c]` as objects."""
    made: Json = {}
    for name, value in body.items():
        found = _NESTED.fullmatch(name)
        if found is None:
            made[name] = value
            continue
        keys = [found[1], *re.findall(r"\[([^\[\]]*)\]", found[2])]
        if keys[-1] == "":
            keys.pop()
        inside = made
        for key in keys[:-1]:
            following = inside.setdefault(key, {})
            if not isinstance(following, dict):
                raise BadRequest("a field is given twice, as a value and as an object", param=found[1])
            inside = following
        inside[keys[-1]] = _from_form(value) if len(keys) > 1 else value
    return made


def _from_form(value: Any) -> Any:
    """What a form's text stands for: a number, a truth value, an object, or that text."""
    if not isinstance(value, str) or value[:1] not in tuple("{[tf-0123456789"):
        return value
    try:
        found = loads(value)
    except JSONDecodeError:
        return value
    return value if isinstance(found, str) else found


def _merge(given: Json, into: Json) -> None:
    for name, value in given.items():
        there = into.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            _merge(value, there)
        else:
            into[name] = value


def nearest_ratio(request: ImageRequest, ratios: tuple[str, ...]) -> str:
    """Of the ratios a provider can, the nearest to what is wanted; "" where nothing is said. A size that has
    another ratio is noted as dropped, and so is another aspect ratio."""
    wanted, param = (request.ratio, "aspect_ratio") if request.ratio else (request.size, "size")
    if wanted is None:
        return ""
    value = wanted[0] / wanted[1]

    def distance(ratio: str) -> float:
        width, _, height = ratio.partition(":")
        own = float(width) / float(height)
        return max(own / value, value / own)

    best = min(ratios, key=distance)
    # 1536x640 is 21:9 as much as 1344x576: makers round to the blocks they paint in.
    if distance(best) > 1.03:
        request.call.drop(param)
    return best


def pixels(request: ImageRequest) -> int:
    """Of the image that is wanted; 0 where nothing is said."""
    return request.size[0] * request.size[1] if request.size else 0


def configured_path(call: Call, own: str) -> str:
    """The path that the configuration names for the model's API (`upstream_path`, or that of
    `upstream_url`), else the provider's own."""
    options = call.options
    if options.upstream_path:
        return options.upstream_path
    parts = urlsplit(options.upstream_url or "")
    if parts.path in ("", "/"):
        return own
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def invoke_path(call: Call) -> str:
    """Bedrock's InvokeModel. Raises BadRequest where the model would lead elsewhere:
    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html."""
    if leads_elsewhere(call.model):
        raise BadRequest("provider bedrock needs a model: it is part of the path", param="model")
    return configured_path(call, f"/model/{quote(call.model, safe='')}/invoke")
