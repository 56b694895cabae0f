"""xAI. Its usage counts reasoning beside `completion_tokens`: the total is prompt + completion + reasoning.

Source: https://docs.x.ai/docs/api-reference#chat-completions; the sum is recorded in xai/chat*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider


class XAI(CompatibleProvider):
    name = "xai"
    operations = frozenset({"chat"})
    base_url = "https://api.x.ai"
    paths: ClassVar[Mapping[str, str]] = {"chat": "/v1/chat/completions"}
    dialect = Dialect(
        "xai",
        known=frozenset({"reasoning_content"}),
        reasoning_field="reasoning_content",
        reasoning_is_extra=True,
    )


PROVIDER: Final = XAI()
