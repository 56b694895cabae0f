"""xAI. Its usage counts reasoning beside `completion_tokens`: the total is prompt + completion + reasoning.

Source: https://docs.x.ai/docs/api-reference#chat-completions; the sum is recorded in xai/chat*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..config.models import Options
from ..core.call import Call
from ..core.http import Url
from ..formats.images.xai import XAI_EDITS
from ..formats.openai.dialect import Dialect, Refusal
from ..formats.steps import Step, StepsTranslation
from ..formats.videos.xai import XAIVideos
from .compatible import CompatibleProvider, file_url, is_absolute, upstream_url, with_path

_FILES: Final = ".x.ai"
"""The end of hosts where finished files lie."""
_VIDEOS: Final = XAIVideos()


class XAI(CompatibleProvider):
    name = "xai"
    operations = frozenset({"chat", "responses", "image.generations", "image.edits", "video.generations"})
    base_url = "https://api.x.ai"
    forward_headers = frozenset({"x-grok-conv-id"})
    """Which cache a conversation is in:
    https://docs.x.ai/developers/advanced-api-usage/prompt-caching/maximizing-cache-hits."""
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
        "image.generations": "/v1/images/generations",
    }
    dialect = Dialect(
        "xai",
        known=frozenset({"reasoning_content"}),
        reasoning_field="reasoning_content",
        reasoning_is_extra=True,
        refusals=(
            # Models that reason: https://docs.x.ai/docs/guides/reasoning ("would result in an error").
            Refusal(
                r"grok-(3-mini|4|code)(?!.*non-reasoning).*",
                {"presence_penalty": 0, "frequency_penalty": 0, "stop": None},
            ),
            # Models whose effort cannot be set (same page; grok-code-fast-1 in recording xai/chat/003).
            Refusal(r"grok-(3|3-fast.*|4|4-.*|4\.20.*|code-.*)", {"reasoning_effort": None}),
        ),
    )

    def steps(self, call: Call) -> StepsTranslation | None:
        if call.operation == "video.generations":
            return _VIDEOS
        return XAI_EDITS if call.operation == "image.edits" else None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        return frozenset({_VIDEOS.form if operation == "video.generations" else None})

    def step_url(self, call: Call, step: Step) -> Url:
        """An absolute URL is a finished file's, at another host of xAI's (recordings xai/video)."""
        own = upstream_url(call.options.upstream_url or self.base_url)
        return file_url(step, own, _FILES) if is_absolute(step.path) else with_path(own, step.path)


PROVIDER: Final = XAI()
