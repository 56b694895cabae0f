"""Anthropic. Source: https://platform.claude.com/docs/en/api/overview."""

from __future__ import annotations

from typing import ClassVar

from ..core.call import Call
from ..core.http import Headers, Url
from ..formats.anthropic.adapter import MessagesAdapter
from ..formats.base import Adapter
from .base import Provider

DEFAULT_VERSION = "2023-06-01"
_ADAPTER = MessagesAdapter()


class Anthropic(Provider):
    """api.anthropic.com. Clients authenticate with `x-api-key`."""

    name: ClassVar[str] = "anthropic"
    operations: ClassVar[frozenset[str]] = frozenset({"chat"})
    forward_headers: ClassVar[frozenset[str]] = frozenset({"anthropic-beta"})

    def adapter(self, call: Call) -> Adapter:
        return _ADAPTER

    def url(self, call: Call) -> Url:
        path = call.options.upstream_path or "/v1/messages"
        if call.options.upstream_url:
            return Url.parse(call.options.upstream_url)
        return Url("https", "api.anthropic.com", 443, path)

    def headers(self, call: Call) -> Headers:
        return {"anthropic-version": call.options.anthropic_version or DEFAULT_VERSION}


PROVIDER = Anthropic()
