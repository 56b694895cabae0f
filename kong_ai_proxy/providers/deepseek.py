"""DeepSeek.

After a tool call its thinking models demand the `reasoning_content` of that turn back and ignore all other
(https://api-docs.deepseek.com/guides/thinking_mode), so it goes along wherever a client has kept it.

Source: https://api-docs.deepseek.com/api/create-chat-completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider


class DeepSeek(CompatibleProvider):
    name = "deepseek"
    operations = frozenset({"chat"})
    base_url = "https://api.deepseek.com"
    paths: ClassVar[Mapping[str, str]] = {"chat": "/v1/chat/completions"}
    dialect = Dialect(
        "deepseek",
        token_limit="max_tokens",
        known=frozenset({"reasoning_content"}),
        reasoning_field="reasoning_content",
        roles={"developer": "system"},
    )


PROVIDER: Final = DeepSeek()
