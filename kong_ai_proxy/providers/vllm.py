"""vLLM, wherever `upstream_url` says it is: the full URL of an operation, or the server's address alone.

Source: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..core.http import Url
from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider, missing, upstream_base


class Vllm(CompatibleProvider):
    name = "vllm"
    operations = frozenset({"chat", "completions", "embeddings"})
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
    }
    dialect = Dialect(
        "vllm",
        known=frozenset({"reasoning", "reasoning_content"}),
    )

    def url(self, call: Call) -> Url:
        if not call.options.upstream_url:
            raise missing("upstream_url", self.name)
        path = call.options.upstream_path or self.paths[call.operation]
        return upstream_base(call.options.upstream_url, path)


PROVIDER: Final = Vllm()
