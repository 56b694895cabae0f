"""Alibaba Cloud Model Studio (DashScope), by its OpenAI-compatible API.

Sources: https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope, and for
`cache_control` https://www.alibabacloud.com/help/en/model-studio/context-cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider


class Dashscope(CompatibleProvider):
    name = "dashscope"
    operations = frozenset({"chat", "embeddings"})
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/compatible-mode/v1/chat/completions",
        "embeddings": "/compatible-mode/v1/embeddings",
    }
    dialect = Dialect(
        "dashscope",
        token_limit="max_tokens",
        known=frozenset({"reasoning_content"}),
        cache_control=True,
        roles={"developer": "system"},
    )

    def base(self, call: Call) -> str:
        region = call.options.dashscope
        if region is None or region.international:
            return "https://dashscope-intl.aliyuncs.com"
        return "https://dashscope.aliyuncs.com"


PROVIDER: Final = Dashscope()
