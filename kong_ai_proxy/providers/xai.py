"""xAI. Its usage counts reasoning beside `completion_tokens`: the total is prompt + completion + reasoning.

Source: https://docs.x.ai/docs/api-reference#chat-completions; the sum is recorded in xai/chat*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ..core.call import Call
from ..core.http import Url
from ..formats.images.xai import XAI_EDITS
from ..formats.openai.dialect import Dialect, Refusal
from ..formats.steps import Step, StepsTranslation
from .compatible import CompatibleProvider, upstream_url, with_path


class XAI(CompatibleProvider):
    name = "xai"
    operations = frozenset({"chat", "responses", "image.generations", "image.edits"})
    base_url = "https://api.x.ai"
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
        return XAI_EDITS if call.operation == "image.edits" else None

    def step_url(self, call: Call, step: Step) -> Url:
        return with_path(upstream_url(call.options.upstream_url or self.base_url), step.path)


PROVIDER: Final = XAI()
