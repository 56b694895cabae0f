"""OpenAI, and any OpenAI-compatible API by its full `upstream_url`.

Source: https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..core.http import Headers
from ..formats.openai.dialect import COMPATIBLE, OPENAI, Dialect
from .compatible import CompatibleProvider

ASSISTANTS_BETA: Final = "assistants=v2"
"""What the assistants API must be asked with: https://platform.openai.com/docs/assistants/migration."""
REST: Final[Mapping[str, str]] = {
    "responses": "/v1/responses",
    "assistants": "/v1/assistants",
    "files": "/v1/files",
    "batches": "/v1/batches",
    "audio.speech": "/v1/audio/speech",
    "audio.transcriptions": "/v1/audio/transcriptions",
    "audio.translations": "/v1/audio/translations",
    "image.generations": "/v1/images/generations",
    "image.edits": "/v1/images/edits",
    "video.generations": "/v1/videos",
}
"""Operation → path, of what passes through."""


class OpenAI(CompatibleProvider):
    name = "openai"
    operations = frozenset({"chat", "completions", "embeddings", *REST})
    forward_headers = frozenset({"openai-beta", "openai-organization", "openai-project", "idempotency-key"})
    base_url = "https://api.openai.com"
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
        **REST,
    }
    dialect = OPENAI
    passes_through = True

    def headers(self, call: Call) -> Headers:
        if call.operation == "assistants" and "openai-beta" not in call.request.headers:
            return {"openai-beta": ASSISTANTS_BETA}
        return {}

    def dialect_for(self, call: Call) -> Dialect:
        return COMPATIBLE if call.options.upstream_url else OPENAI


PROVIDER: Final = OpenAI()
