"""Anthropic. Source: https://platform.claude.com/docs/en/api/overview.

Kong's documentation contradicts itself about completions (by /v1/complete; not supported). The legacy
endpoint takes no current model, so completions are served by Messages.

Translations speak API version 2023-06-01, or the configured `anthropic_version`; from 2026-10-21 on there are
no temperature, top_p and top_k (https://platform.claude.com/docs/en/api/versioning).
"""

from __future__ import annotations

from typing import ClassVar, Final

from ..config.models import Options
from ..core.call import Call
from ..core.http import Headers, Url
from ..formats.anthropic.adapter import MessagesAdapter
from ..formats.anthropic.observer import MessagesObserver
from ..formats.base import Adapter, Observer
from ..formats.batches.anthropic import AnthropicBatches
from ..formats.over_chat import CompletionsOverChat
from ..formats.steps import Step, StepsTranslation
from .base import Provider
from .compatible import upstream_url, with_path

DEFAULT_VERSION: Final = "2023-06-01"
"""https://platform.claude.com/docs/en/api/versioning"""

_BASE: Final = Url("https", "api.anthropic.com", 443, "/v1/messages")
_ADAPTER: Final = MessagesAdapter()
_COMPLETIONS: Final = CompletionsOverChat(_ADAPTER)
_OBSERVER: Final = MessagesObserver()
_BATCHES: Final = AnthropicBatches(_ADAPTER)


class Anthropic(Provider):
    """api.anthropic.com, or a host that speaks its API (Azure AI Foundry) by `upstream_url`."""

    name: ClassVar[str] = "anthropic"
    operations: ClassVar[frozenset[str]] = frozenset({"chat", "completions", "files", "batches"})
    forward_headers: ClassVar[frozenset[str]] = frozenset({"anthropic-beta", "anthropic-user-profile-id"})

    def adapter(self, call: Call) -> Adapter:
        return _COMPLETIONS if call.operation == "completions" else _ADAPTER

    def observer(self, call: Call) -> Observer | None:
        return _OBSERVER if call.client_format == "anthropic" else None

    def url(self, call: Call) -> Url:
        if call.options.upstream_url:
            return upstream_url(call.options.upstream_url)
        return with_path(_BASE, call.options.upstream_path or _BASE.path)

    def steps(self, call: Call) -> StepsTranslation | None:
        return _BATCHES if call.operation in ("files", "batches") else None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        return frozenset({_BATCHES.form})

    def step_errors(self, call: Call) -> Adapter | None:
        return _ADAPTER

    def step_url(self, call: Call, step: Step) -> Url:
        """An `upstream_url` that leads to messages stands for its server's other APIs too."""
        base = upstream_url(call.options.upstream_url) if call.options.upstream_url else _BASE
        prefix = base.path.removesuffix(_BASE.path) if base.path.endswith(_BASE.path) else ""
        return with_path(base, prefix + step.path)

    def headers(self, call: Call) -> Headers:
        """A client that speaks Messages itself knows best for which version its body and its reading are made
        (https://code.claude.com/docs/en/llm-gateway-protocol: to be forwarded unchanged)."""
        sent = call.request.headers.get("anthropic-version") if call.client_format == "anthropic" else None
        return {"anthropic-version": sent or call.options.anthropic_version or DEFAULT_VERSION}


PROVIDER: Final = Anthropic()
