"""OpenAI, and any OpenAI-compatible API by its full `upstream_url`.

Source: https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..formats.openai.dialect import COMPATIBLE, OPENAI, Dialect
from .compatible import CompatibleProvider


class OpenAI(CompatibleProvider):
    name = "openai"
    operations = frozenset({"chat", "completions", "embeddings"})
    forward_headers = frozenset({"openai-beta", "openai-organization", "openai-project", "idempotency-key"})
    base_url = "https://api.openai.com"
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
    }
    dialect = OPENAI
    passes_through = True

    def dialect_for(self, call: Call) -> Dialect:
        return COMPATIBLE if call.options.upstream_url else OPENAI


PROVIDER: Final = OpenAI()
