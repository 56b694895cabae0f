"""Alibaba Cloud Model Studio (DashScope), by its OpenAI-compatible API; images and videos by its own.

Sources: https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope, and for
`cache_control` https://www.alibabacloud.com/help/en/model-studio/context-cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..config.models import Options
from ..core.call import Call
from ..core.http import Url
from ..formats.images.dashscope import DASHSCOPE_IMAGES
from ..formats.openai.dialect import Dialect
from ..formats.steps import Step, StepsTranslation
from ..formats.videos.dashscope import DashscopeVideos
from .compatible import CompatibleProvider, file_url, upstream_url, with_path

RESULTS: Final = ".aliyuncs.com"
"""The end of hosts of Alibaba's object storage, where finished images and videos lie."""
_VIDEOS: Final = DashscopeVideos()


class Dashscope(CompatibleProvider):
    name = "dashscope"
    operations = frozenset({"chat", "embeddings", "image.generations", "image.edits", "video.generations"})
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
        if call.operation == "video.generations":
            return _VIDEOS
        return DASHSCOPE_IMAGES if call.operation.startswith("image.") else None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        return frozenset({_VIDEOS.form if operation == "video.generations" else None})

    def step_url(self, call: Call, step: Step) -> Url:
        own = upstream_url(call.options.upstream_url or self.base(call))
        return with_path(own, step.path) if step.path.startswith("/") else file_url(step, own, RESULTS)


PROVIDER: Final = Dashscope()
