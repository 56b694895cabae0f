"""Images, documents, video and audio as Converse takes them: bytes in base64, or an object in S3.

Source: ImageBlock, DocumentBlock, VideoBlock and AudioBlock of
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html.
"""

from __future__ import annotations

import re

from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import data_url, obj, text

_IMAGES = {
    "image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp",
}  # fmt: skip
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_AUDIO = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"})
_AUDIO_TYPES = {
    "audio/mpeg": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/ogg": "ogg", "audio/flac": "flac",
}  # fmt: skip
_SUFFIXES = {
    **{name: ("document", name) for name in _DOCUMENTS.values()},
    **{name: ("image", name) for name in ("png", "jpeg", "gif", "webp")},
    **{name: ("video", name) for name in ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv")},
    "jpg": ("image", "jpeg"),
    "3gp": ("video", "three_gp"),
}
"""Of S3 URIs, which carry no media type."""
_NAME = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")
_SPACES = re.compile(r" {2,}")


class Documents:
    """Names for documents: Bedrock allows few characters, and no name twice in a request."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._last: dict[str, int] = {}
        """Name → the last number that one like it was given."""

    def name(self, wanted: str) -> str:
        stem = wanted.rpartition(".")[0] or wanted
        clean = _SPACES.sub(" ", _NAME.sub(" ", stem)).strip()[:180] or "document"
        name, number = clean, self._last.get(clean, 1)
        while name in self._used:
            number += 1
            name = f"{clean} {number}"
        self._last[clean] = number
        self._used.add(name)
        return name


def media_block(url: str, title: str, documents: Documents, where: str) -> Json:
    """The block of a data URL or S3 URI. BadRequest for what Bedrock cannot take (it fetches nothing)."""
    if url.startswith("s3://"):
        kind, form = _SUFFIXES.get(url.rpartition(".")[2].lower(), ("", ""))
        source: Json = {"s3Location": {"uri": url}}
    else:
        found = data_url(url)
        if found is None:
            raise BadRequest(
                f"{where}: provider bedrock fetches no URL; send the data itself as a base64 data URL, or s3://",
                param=where,
                code="unsupported_content",
            )
        kind, form = _of_media_type(found[0].lower())
        source = {"bytes": found[1]}
    if not kind:
        raise BadRequest(f"{where}: provider bedrock takes no media of this type", param=where)
    block: Json = {"format": form, "source": source}
    if kind == "document":
        block["name"] = documents.name(title)
    return {kind: block}


def audio_block(part: Json, where: str) -> Json:
    """The block of OpenAI's `input_audio` part."""
    audio = obj(part.get("input_audio"))
    form, data = text(audio.get("format")), text(audio.get("data"))
    if form not in _AUDIO or not data:
        raise BadRequest(f"{where}: input_audio needs data and a known format", param=where)
    return {"audio": {"format": form, "source": {"bytes": data}}}


def _of_media_type(media: str) -> tuple[str, str]:
    for kind, forms in (
        ("image", _IMAGES), ("document", _DOCUMENTS), ("video", _VIDEOS), ("audio", _AUDIO_TYPES),
    ):  # fmt: skip
        if form := forms.get(media):
            return kind, form
    return ("document", "txt") if media.startswith("text/") or media == "application/json" else ("", "")
