"""Mistral: its own API, or a self-hosted server in Mistral's or Ollama's form (`mistral_format`).

It refuses every field it does not know (422, "Extra inputs are not permitted"): `seed` is `random_seed` here,
`max_completion_tokens` is `max_tokens`. Usage comes on a stream's last chunk without asking (recorded).

Source: https://docs.mistral.ai/api/#tag/chat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..formats.base import Adapter
from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider


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
                "safety_identifier",
                "store",
                "top_k",
                "user",
                "verbosity",
                "web_search_options",
            }
        ),
        roles={"developer": "system"},
        thinking_parts=True,
    )

    def adapter(self, call: Call) -> Adapter:
        if call.options.mistral_format == "ollama":
            from ..formats.ollama import ollama_adapter

            return ollama_adapter(call.operation)
        return super().adapter(call)


PROVIDER: Final = Mistral()
