"""Llama on a server of one's own, in one of three forms (`llama2_format`): ollama, openai or raw prompts.

Source: https://developer.konghq.com/ai-gateway/ai-providers/llama/; shared/kong/providers.json.
"""

from __future__ import annotations

from typing import ClassVar, Final

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Url
from ..formats.base import Adapter
from ..formats.llama2.raw import RAW_CHAT, RAW_COMPLETIONS
from ..formats.ollama import ollama_adapter
from ..formats.openai.adapter import openai_adapter
from ..formats.openai.dialect import Dialect
from .base import Provider
from .compatible import missing, upstream_url, with_path
from .ollama import served_at

COMPATIBLE: Final = Dialect(
    "llama2", known=frozenset({"reasoning_content"}), reasoning_field="reasoning_content"
)
"""llama.cpp's server and the like; earlier reasoning goes back (recorded in llama2/chat-tools/013)."""
_PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings"}


class Llama2(Provider):
    """`upstream_url` must say where. A path is taken as it is; without one, the form's own is used."""

    name: ClassVar[str] = "llama2"
    operations: ClassVar[frozenset[str]] = frozenset({"chat", "completions", "embeddings"})

    def supports(self, call: Call) -> None:
        super().supports(call)
        if call.operation == "embeddings" and _form(call) == "raw":
            raise ApiError(
                400, "provider llama2 has no embeddings in raw format", code="unsupported_route_type"
            )

    def adapter(self, call: Call) -> Adapter:
        form = _form(call)
        if form == "openai":
            return openai_adapter(call.operation, COMPATIBLE)
        if form == "ollama":
            return ollama_adapter(call.operation)
        return RAW_COMPLETIONS if call.operation == "completions" else RAW_CHAT

    def url(self, call: Call) -> Url:
        configured = call.options.upstream_url
        if not configured:
            raise missing("upstream_url", self.name)
        form = _form(call)
        if form == "ollama":
            return served_at(configured, call)
        url = upstream_url(configured)
        if call.options.upstream_path:
            return with_path(url, call.options.upstream_path)
        return with_path(url, _PATHS[call.operation]) if form == "openai" and url.path in ("", "/") else url


def _form(call: Call) -> str:
    form = call.options.llama2_format
    if form is None:
        raise missing("llama2_format", "llama2")
    return form


PROVIDER = Llama2()
