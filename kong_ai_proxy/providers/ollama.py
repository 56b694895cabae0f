"""Ollama. Source: https://github.com/ollama/ollama/blob/main/docs/api.md; shared/kong/providers.json.

`upstream_url` is a full URL, or a base without a path to which the operation's own is appended. One that
leads to Ollama's OpenAI-compatible API (/v1/…) is spoken to in that form.
"""

from __future__ import annotations

from typing import ClassVar, Final

from ..core.call import Call
from ..core.http import Url
from ..formats.base import Adapter
from ..formats.ollama import PATHS, ollama_adapter
from ..formats.openai.adapter import openai_adapter
from ..formats.openai.dialect import Dialect
from .base import Provider
from .compatible import missing, upstream_url, with_path

COMPATIBLE: Final = Dialect("ollama", known=frozenset({"reasoning"}), reasoning_field="reasoning")
"""Ollama's OpenAI-compatible API: https://github.com/ollama/ollama/blob/main/docs/openai.md. Earlier
reasoning goes back under the name it came with (recorded in ollama/chat-tools/009)."""


class Ollama(Provider):
    """A server of one's own; most ask for no credentials."""

    name: ClassVar[str] = "ollama"
    operations: ClassVar[frozenset[str]] = frozenset({"chat", "completions", "embeddings"})

    def adapter(self, call: Call) -> Adapter:
        if self.url(call).path.startswith("/v1/"):
            return openai_adapter(call.operation, COMPATIBLE)
        return ollama_adapter(call.operation)

    def url(self, call: Call) -> Url:
        if not call.options.upstream_url:
            raise missing("upstream_url", self.name)
        return served_at(call.options.upstream_url, call)


def served_at(configured: str, call: Call) -> Url:
    """A configured URL; `upstream_path`, or where Ollama serves the operation, in place of an empty path."""
    url = upstream_url(configured)
    if call.options.upstream_path:
        return with_path(url, call.options.upstream_path)
    return with_path(url, PATHS[call.operation]) if url.path in ("", "/") else url


PROVIDER = Ollama()
