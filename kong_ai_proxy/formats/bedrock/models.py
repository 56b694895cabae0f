"""What Bedrock's model families take, as data.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (parameters by model),
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html (JSON schema),
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolChoice.html (forced tools).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ..anthropic.models import UNKNOWN, Traits, traits

_VENDOR = re.compile(
    r"(?:^|[./:])(anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai|qwen|google|nvidia|minimax|moonshotai"
    r"|moonshot|zai|writer|twelvelabs)\.([a-z0-9.:_-]+)"
)


@dataclass(frozen=True, slots=True)
class Family:
    """What the models of one family take beyond Converse's common fields."""

    vendor: str = ""
    top_k: tuple[str, ...] = ()
    """Where `top_k` goes inside `additionalModelRequestFields`; () where there is none."""
    json_schema: bool = False
    """Takes `outputConfig.textFormat`."""
    forced_tools: Literal["none", "any", "named"] = "none"
    """Which forced tool choices it takes: none, `any`, or `any` and `tool`."""
    effort: Literal["", "claude", "nova", "field"] = ""
    """How `reasoning_effort` is said: not at all, Claude's thinking, Nova's reasoningConfig, a field."""
    cache_points: bool = False
    """Takes `cachePoint` blocks."""
    claude: Traits | None = None
    """What this Claude takes."""


_FAMILIES: tuple[tuple[str, re.Pattern[str], Family], ...] = (
    ("amazon", re.compile(r"nova-2"),
     Family("amazon", ("inferenceConfig", "topK"), forced_tools="named", effort="nova", cache_points=True)),
    ("amazon", re.compile(r"nova"),
     Family("amazon", ("inferenceConfig", "topK"), forced_tools="named", cache_points=True)),
    ("amazon", re.compile(r""), Family("amazon")),
    ("cohere", re.compile(r"command-r"), Family("cohere", ("k",))),
    ("cohere", re.compile(r""), Family("cohere", ("k",))),
    ("mistral", re.compile(r"ministral|magistral|voxtral|mistral-large-3|devstral"),
     Family("mistral", ("top_k",), json_schema=True, forced_tools="any")),
    ("mistral", re.compile(r"mistral-(large|small)"), Family("mistral", ("top_k",), forced_tools="any")),
    ("mistral", re.compile(r""), Family("mistral", ("top_k",))),
    ("openai", re.compile(r""), Family("openai", json_schema=True, effort="field")),
    ("deepseek", re.compile(r"v3"), Family("deepseek", json_schema=True)),
    ("qwen", re.compile(r""), Family("qwen", ("top_k",), json_schema=True)),
    ("google", re.compile(r""), Family("google", ("top_k",), json_schema=True)),
    ("nvidia", re.compile(r""), Family("nvidia", json_schema=True)),
    ("minimax", re.compile(r""), Family("minimax", json_schema=True)),
    ("moonshotai", re.compile(r""), Family("moonshot", json_schema=True)),
    ("moonshot", re.compile(r""), Family("moonshot", json_schema=True)),
    ("zai", re.compile(r""), Family("zai", json_schema=True)),
)  # fmt: skip
"""(vendor, what the model's name holds, family): the first that fits counts."""


@lru_cache(maxsize=256)
def family(model: str) -> Family:
    """The family of a model id, inference profile or ARN. What hides its model takes what is asked."""
    name = model.lower()
    found = _VENDOR.search(name)
    if found is None:
        if "claude" in name:
            return _claude(traits(name))
        # An application inference profile or an imported model: nothing is held back.
        return Family("", ("top_k",), json_schema=True, forced_tools="named", cache_points=True)
    vendor, rest = found[1], found[2]
    if vendor == "anthropic":
        return _claude(traits(rest))
    for known, pattern, result in _FAMILIES:
        if known == vendor and pattern.search(rest):
            return result
    return Family(vendor)


def _claude(claude: Traits) -> Family:
    return Family(
        "anthropic",
        ("top_k",),
        json_schema=claude.json_schema,
        forced_tools="named" if claude.forced_tools else "none",
        effort="claude",
        cache_points=True,
        claude=claude,
    )


def is_claude(model: str) -> bool:
    """Whether the model speaks Anthropic's Messages behind InvokeModel."""
    return family(model).claude not in (None, UNKNOWN)
