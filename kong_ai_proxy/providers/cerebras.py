"""Cerebras.

Sources: https://inference-docs.cerebras.ai/resources/openai (there is no `developer` role);
https://inference-docs.cerebras.ai/api-reference/chat-completions and its SDK,
https://github.com/Cerebras/cerebras-cloud-sdk-python (types/chat/completion_create_params.py), for the fields
it takes: penalties and `logit_bias` are among them now. Fields it does not know get a 400 ("property 'store'
is unsupported", the same for `reasoning_content` in a message): earlier reasoning goes back as `reasoning`
(recorded).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider


class Cerebras(CompatibleProvider):
    name = "cerebras"
    operations = frozenset({"chat"})
    base_url = "https://api.cerebras.ai"
    paths: ClassVar[Mapping[str, str]] = {"chat": "/v1/chat/completions"}
    dialect = Dialect(
        "cerebras",
        rejected=frozenset(
            {
                "audio",
                "function_call",
                "functions",
                "metadata",
                "modalities",
                "moderation",
                "prompt_cache_options",
                "prompt_cache_retention",
                "safety_identifier",
                "store",
                "thinking",
                "top_k",
                "verbosity",
                "web_search_options",
            }
        ),
        values={"reasoning_effort": {"minimal": "low", "xhigh": "high", "max": "high"}},
        known=frozenset({"reasoning"}),
        reasoning_field="reasoning",
        roles={"developer": "system"},
    )


PROVIDER: Final = Cerebras()
