"""Mistral: its own API, or a self-hosted server in Mistral's or Ollama's form (`mistral_format`).

It refuses every field it does not know (422, "Extra inputs are not permitted"): `seed` is `random_seed` here,
`max_completion_tokens` is `max_tokens`, and a message has what the schema of its role lists. A tool call's id
must be nine letters and digits (400, "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9").
Usage comes on a stream's last chunk without asking (recorded).

Source: https://docs.mistral.ai/api/#tag/chat; the request's members as in its SDK, mistralai 3.7
(ChatCompletionRequest; https://github.com/mistralai/client-python).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..core.http import Url
from ..formats.base import Adapter
from ..formats.ollama import ollama_adapter
from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider, missing
from .ollama import served_at


class Mistral(CompatibleProvider):
    name = "mistral"
    operations = frozenset({"chat", "embeddings"})
    base_url = "https://api.mistral.ai"
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        "embeddings": "/v1/embeddings",
    }
    dialect = Dialect(
        "mistral",
        stream_options=False,
        token_limit="max_tokens",
        renamed={"seed": "random_seed", "dimensions": "output_dimension"},
        rejected=frozenset(
            {
                "audio",
                "function_call",
                "functions",
                "logit_bias",
                "modalities",
                "moderation",
                "prompt_cache_options",
                "prompt_cache_retention",
                "safety_identifier",
                "store",
                "thinking",
                "user",
                "verbosity",
                "web_search_options",
            }
        ),
        # Its two tiers (RequestedServiceTier): "auto" may be served with priority, the other never is.
        values={
            "service_tier": {
                "default": "standard_only",
                "priority": "auto",
                "fast": "auto",
                "flex": None,
                "scale": None,
            }
        },
        message_members={
            "system": frozenset({"role", "content"}),
            "user": frozenset({"role", "content"}),
            "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
            "tool": frozenset({"role", "content", "tool_call_id", "name"}),
        },
        roles={"developer": "system"},
        short_ids=True,
        # mistralai 3.7: client/models/function.py.
        needs_parameters=True,
        thinking_parts=True,
    )

    def adapter(self, call: Call) -> Adapter:
        return ollama_adapter(call.operation) if _is_ollama(call) else super().adapter(call)

    def url(self, call: Call) -> Url:
        if not _is_ollama(call):
            return super().url(call)
        if not call.options.upstream_url:
            raise missing("upstream_url", self.name)
        return served_at(call.options.upstream_url, call)


def _is_ollama(call: Call) -> bool:
    return call.options.mistral_format == "ollama"


PROVIDER: Final = Mistral()
