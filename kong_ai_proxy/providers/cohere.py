"""Cohere. Sources: https://docs.cohere.com/reference/about, shared/kong/providers.json.

Chat goes to v2 (Kong does since 3.14), unless `upstream_url` or `upstream_path` leads to v1.
"""

from __future__ import annotations

from typing import ClassVar

from ..core.call import Call
from ..core.http import Url
from ..formats.base import Adapter
from ..formats.cohere import CHAT_V1, CHAT_V2, EMBED_V1, EMBED_V2, GENERATE
from .base import Provider
from .compatible import upstream_base, with_path

_PATHS = {"chat": "/v2/chat", "completions": "/v1/generate", "embeddings": "/v2/embed"}


class Cohere(Provider):
    """api.cohere.com. Clients authenticate with `Authorization: Bearer`."""

    name: ClassVar[str] = "cohere"
    operations: ClassVar[frozenset[str]] = frozenset({"chat", "completions", "embeddings"})

    def adapter(self, call: Call) -> Adapter:
        first = "/v1/" in self.url(call).path
        if call.operation == "chat":
            return CHAT_V1 if first else CHAT_V2
        if call.operation == "embeddings":
            return EMBED_V1 if first else EMBED_V2
        return GENERATE

    def url(self, call: Call) -> Url:
        path = call.options.upstream_path or _PATHS[call.operation]
        if call.options.upstream_url:
            return upstream_base(call.options.upstream_url, path)
        return with_path(Url("https", "api.cohere.com", 443, "/"), path)


PROVIDER = Cohere()
