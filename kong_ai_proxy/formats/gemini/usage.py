"""Gemini's `usageMetadata` → token counts.

Every count is a running total of the request: a later one replaces an earlier one, and one that is missing
stays what it was. `toolUsePromptTokenCount` is beside `promptTokenCount`, `thoughtsTokenCount` beside
`candidatesTokenCount` (recording gemini/native-generate/007: 1107 + 1171 + 21 + 41 = 2340, the total); cached
tokens are in the prompt's. Source: https://ai.google.dev/api/generate-content#UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..pivot import count, objects

_COUNTS = (
    "promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "responseTokenCount",
    "thoughtsTokenCount", "cachedContentTokenCount", "totalTokenCount",
)  # fmt: skip

# Numbers where enums were asked for as such. google/ai/generativelanguage/v1beta/content.proto (Modality),
# google/cloud/aiplatform/v1/prediction_service.proto (TrafficType).
_MODALITIES: dict[Any, str] = {1: "TEXT", 2: "IMAGE", 3: "VIDEO", 4: "AUDIO", 5: "DOCUMENT"}
_TRAFFIC: dict[Any, str] = {
    1: "ON_DEMAND",
    2: "PROVISIONED_THROUGHPUT",
    3: "ON_DEMAND_PRIORITY",
    4: "ON_DEMAND_FLEX",
}


class UsageReader:
    """Takes every `usageMetadata` of one answer; `usage()` is what they come to."""

    def __init__(self) -> None:
        self._latest: Json = {}

    def take(self, metadata: Any) -> None:
        """One answer's, or one event's."""
        if isinstance(metadata, dict):
            self._latest.update({key: value for key, value in metadata.items() if value is not None})

    def usage(self) -> Usage:
        """Empty (source NONE) while no count has come."""
        latest = self._latest
        counts = {name: found for name in _COUNTS if (found := count(latest.get(name))) is not None}
        tier = latest.get("serviceTier") or latest.get("trafficType")
        tier = _TRAFFIC.get(tier, tier) if isinstance(tier, (str, int)) else None
        usage = Usage(service_tier=tier if isinstance(tier, str) else None)
        if not counts:
            return usage
        answered = counts.get("candidatesTokenCount", counts.get("responseTokenCount", 0))
        usage.source = UsageSource.REPORTED
        usage.prompt_tokens = counts.get("promptTokenCount", 0) + counts.get("toolUsePromptTokenCount", 0)
        usage.completion_tokens = answered + counts.get("thoughtsTokenCount", 0)
        usage.total_tokens = counts.get("totalTokenCount")
        usage.cached_tokens = counts.get("cachedContentTokenCount")
        usage.reasoning_tokens = counts.get("thoughtsTokenCount")
        prompt = self._by_modality("promptTokensDetails", "toolUsePromptTokensDetails")
        usage.audio_prompt_tokens = prompt.get("AUDIO")
        usage.image_prompt_tokens = prompt.get("IMAGE")
        answer = self._by_modality("candidatesTokensDetails", "responseTokensDetails")
        usage.audio_completion_tokens = answer.get("AUDIO")
        usage.image_completion_tokens = answer.get("IMAGE")
        # Text alone says nothing new; beside other modalities it has its own price.
        if prompt.keys() & {"AUDIO", "IMAGE"}:
            usage.text_prompt_tokens = prompt.get("TEXT")
        if answer.keys() & {"AUDIO", "IMAGE"}:
            usage.text_completion_tokens = answer.get("TEXT")
        return usage

    def _by_modality(self, *names: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name in names:
            for entry in objects(self._latest.get(name)):
                modality = entry.get("modality")
                if not isinstance(modality, (str, int)):
                    continue
                modality = str(_MODALITIES.get(modality, modality))
                counts[modality] = counts.get(modality, 0) + (count(entry.get("tokenCount")) or 0)
        return counts
