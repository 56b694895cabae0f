"""Alibaba Cloud Model Studio (DashScope), by its OpenAI-compatible API; images by its own.

Sources: https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope, and for
`cache_control` https://www.alibabacloud.com/help/en/model-studio/context-cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Url
from ..formats.images.dashscope import DASHSCOPE_IMAGES
from ..formats.openai.dialect import Dialect
from ..formats.steps import Step, StepsTranslation
from .compatible import CompatibleProvider, upstream_url, with_path

RESULTS: Final = ".aliyuncs.com"
"""The end of hosts of Alibaba's object storage, where finished images lie."""


class Dashscope(CompatibleProvider):
    name = "dashscope"
    operations = frozenset({"chat", "embeddings", "image.generations", "image.edits"})
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

    def steps(self, call: Call) -> StepsTranslation | None:
        return DASHSCOPE_IMAGES if call.operation.startswith("image.") else None

    def step_url(self, call: Call, step: Step) -> Url:
        own = upstream_url(call.options.upstream_url or self.base(call))
        if step.path.startswith("/"):
            return with_path(own, step.path)
        try:
            url = Url.parse(step.path)
        except ValueError:
            url = Url("https", "", 443, "/")
        if not url.host.endswith(RESULTS) and (url.host, url.port) != (own.host, own.port):
            raise ApiError(502, "DashScope named an image at another's host", code="upstream_invalid_answer")
        return url


PROVIDER: Final = Dashscope()
