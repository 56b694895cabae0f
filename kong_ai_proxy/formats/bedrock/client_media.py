"""Converse's images, documents, audio and video as OpenAI's content parts.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html.
"""

from __future__ import annotations

import base64
from typing import Final

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import obj, text

_KINDS: Final = ("image", "document", "audio", "video")
_TYPES: Final = {
    "pdf": "application/pdf", "csv": "text/csv", "html": "text/html", "txt": "text/plain",
    "md": "text/markdown",
    "doc": "application/msword", "xls": "application/vnd.ms-excel",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "three_gp": "video/3gpp", "mov": "video/quicktime", "mkv": "video/x-matroska", "wmv": "video/x-ms-wmv",
}  # fmt: skip
"""Formats whose media type is not `<kind>/<format>`."""


def media_part(block: Json, call: Call, where: str) -> Json | None:
    """The part; None for a block that is no media. Raises BadRequest for what only AWS can read."""
    kind = next((name for name in _KINDS if isinstance(block.get(name), dict)), None)
    if kind is None:
        return None
    media = obj(block[kind])
    form, source = text(media.get("format")), obj(media.get("source"))
    if kind == "audio" and isinstance(source.get("bytes"), str):
        return {"type": "input_audio", "input_audio": {"data": source["bytes"], "format": form}}
    url = _url(kind, form, source, call, where)
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "video":
        return {"type": "video_url", "video_url": {"url": url}}
    part: Json = {"type": "file", "file": {"file_data": url}}
    if text(media.get("name")):
        part["file"]["filename"] = f"{media['name']}.{form}" if form else media["name"]
    for name in ("citations", "context"):
        if media.get(name) is not None:
            if call.provider in ("anthropic", "bedrock"):
                part[name] = media[name]
            else:
                call.drop(f"{where}.document.{name}")
    return part


def _url(kind: str, form: str, source: Json, call: Call, where: str) -> str:
    media_type = _TYPES.get(form) or f"{kind}/{form}"
    if isinstance(source.get("bytes"), str):
        return f"data:{media_type};base64,{source['bytes']}"
    if isinstance(source.get("text"), str):
        return f"data:text/plain;base64,{base64.b64encode(source['text'].encode()).decode()}"
    uri = text(obj(source.get("s3Location")).get("uri"))
    if uri and call.provider == "bedrock":
        return uri
    raise BadRequest(f"{where}: provider {call.provider} takes {kind}s as bytes only", param=where)
