"""Images, audio and files of OpenAI's messages → Gemini's `inlineData` and `fileData` parts.

Nothing is fetched: a URL goes to Gemini as `fileData`, for Google to read.
Sources: https://ai.google.dev/gemini-api/docs/file-input-methods,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference#filedata.
"""

from __future__ import annotations

import mimetypes
from typing import Any
from urllib.parse import urlsplit

from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import data_url, obj, text

# https://ai.google.dev/gemini-api/docs/audio#supported-formats; the keys are OpenAI's `input_audio.format`s.
_AUDIO_TYPES = {
    "wav": "audio/wav", "mp3": "audio/mp3", "aiff": "audio/aiff", "aac": "audio/aac", "ogg": "audio/ogg",
    "flac": "audio/flac", "m4a": "audio/m4a", "opus": "audio/opus", "webm": "audio/webm", "pcm16":
    "audio/pcm",
}  # fmt: skip

# Not every system's table has these.
_TYPES = {
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "md": "text/markdown",
    "wav": "audio/wav",
}
_MISNAMED = {"image/jpg": "image/jpeg"}
"""Refused under a name that is in wide use: https://github.com/ogkalu2/comic-translate/pull/399."""


def media_part(part: Json, vertex: bool, where: str) -> Json | None:
    """The Gemini part for an image, video, audio or file part; None for a type this is not.

    Raises BadRequest for one that cannot be carried; `where` is the part's path in the request.
    """
    kind = part.get("type")
    if kind in ("image_url", "video_url", "audio_url"):
        source = part.get(kind)
        url = source if isinstance(source, str) else text(obj(source).get("url"))
        hint = text(obj(source).get("format")) or text(obj(source).get("mime_type"))
        return url_part(url, hint, vertex, where)
    if kind == "input_audio":
        return _audio(obj(part.get("input_audio")), where)
    if kind == "file":
        return _file(obj(part.get("file")), vertex, where)
    return None


def url_part(url: str, hint: str, vertex: bool, where: str) -> Json:
    """`inlineData` for a data URL; `fileData` for a URL that Google can read."""
    if url[:5].lower() == "data:":
        found = data_url(url)
        if found is None:
            raise BadRequest("a data URL must be base64 encoded", param=where)
        media_type = found[0].lower()
        return {"inlineData": {"mimeType": _MISNAMED.get(media_type, media_type), "data": found[1]}}
    scheme = url.partition(":")[0].lower()
    if scheme not in ("http", "https", "gs"):
        raise BadRequest("Gemini takes data URLs, http(s) URLs and gs:// URLs only", param=where)
    media_type = hint if "/" in hint else _guessed(url)
    if media_type:
        return {"fileData": {"mimeType": media_type, "fileUri": url}}
    if vertex:
        # The public API finds out itself; Vertex demands it.
        raise BadRequest(
            "Vertex must be told the media type of a URL: use one whose path ends in a known extension, "
            'add "format" (a media type) beside "url", or send a data URL',
            param=where,
        )
    return {"fileData": {"fileUri": url}}


def _audio(audio: Json, where: str) -> Json:
    data = text(audio.get("data"))
    if not data:
        raise BadRequest("input_audio needs data", param=where)
    given = text(audio.get("format")) or "wav"
    return {"inlineData": {"mimeType": _AUDIO_TYPES.get(given, f"audio/{given}"), "data": data}}


def _file(file: Json, vertex: bool, where: str) -> Json:
    name = text(file.get("filename"))
    data = text(file.get("file_data"))
    hint = text(file.get("format")) or text(file.get("mime_type"))
    if data:
        if ":" in data[:8]:
            return url_part(data, hint, vertex, where)
        return {"inlineData": {"mimeType": hint or _guessed(name) or "application/pdf", "data": data}}
    identity = text(file.get("file_id"))
    if "://" in identity:
        return url_part(identity, hint or _guessed(name), vertex, where)
    if identity.startswith("files/") and not vertex:
        # A file of Gemini's Files API; its URI is known from its name.
        uri = f"https://generativelanguage.googleapis.com/v1beta/{identity}"
        media_type = hint or _guessed(name)
        return {"fileData": {"mimeType": media_type, "fileUri": uri} if media_type else {"fileUri": uri}}
    raise BadRequest(
        "Gemini takes a file as data (file_data), as a URL, or by the name of an uploaded file (files/…)",
        param=where,
    )


def _guessed(url: str) -> str:
    """The media type by a URL's or file's extension; "" where it says none. YouTube's are videos."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = (parts.netloc or "").lower()
    if host in ("youtu.be", "youtube.com", "www.youtube.com", "m.youtube.com"):
        return "video/mp4"
    path = parts.path.lower()
    extension = path.rpartition(".")[2] if "." in path else ""
    return _TYPES.get(extension) or mimetypes.guess_type(path)[0] or ""


def image_extension(answer_part: Any, index: int) -> Json | None:
    """An image in an answer as it stands in `message.images`, the form OpenRouter documents.

    Source: https://openrouter.ai/docs/features/multimodal/image-generation.
    """
    blob = obj(answer_part)
    media_type, data = text(blob.get("mimeType")), text(blob.get("data"))
    if not data or not media_type.startswith("image/"):
        return None
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}, "index": index}
