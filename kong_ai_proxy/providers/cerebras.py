"""Cerebras.

Source: https://inference-docs.cerebras.ai/resources/openai, which names the fields it answers with a 400, and
says that there is no `developer` role. Other fields it does not know get a 400 too ("property 'store' is
unsupported", the same for `reasoning_content` in a message): earlier reasoning goes back as `reasoning`
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
            {"frequency_penalty", "logit_bias", "presence_penalty", "store", "thinking", "verbosity"}
        ),
        known=frozenset({"reasoning"}),
        reasoning_field="reasoning",
        roles={"developer": "system"},
    )


PROVIDER: Final = Cerebras()
