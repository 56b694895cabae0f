"""Hugging Face: the router to inference providers, or a dedicated endpoint by `upstream_url`.

Both speak OpenAI's form.

Sources: https://huggingface.co/docs/inference-providers and
https://huggingface.co/docs/text-generation-inference/messages_api.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..core.http import Headers, Url
from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider, upstream_base


class HuggingFace(CompatibleProvider):
    name = "huggingface"
    operations = frozenset({"chat"})
    base_url = "https://router.huggingface.co"
    paths: ClassVar[Mapping[str, str]] = {"chat": "/v1/chat/completions"}
    dialect = Dialect(
        "huggingface",
        token_limit="max_tokens",
        roles={"developer": "system"},
    )

    def url(self, call: Call) -> Url:
        if call.options.upstream_url:
            path = call.options.upstream_path or self.paths[call.operation]
            return upstream_base(call.options.upstream_url, path)
        return super().url(call)

    def headers(self, call: Call) -> Headers:
        """As headers, for the router refuses unknown members of a body:
        https://huggingface.co/docs/api-inference/parameters."""
        options = call.options.huggingface
        headers: Headers = {}
        if options is not None and options.use_cache is not None:
            headers["x-use-cache"] = str(options.use_cache).lower()
        if options is not None and options.wait_for_model is not None:
            headers["x-wait-for-model"] = str(options.wait_for_model).lower()
        return headers


PROVIDER: Final = HuggingFace()
