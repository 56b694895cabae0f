"""What each generation of Claude takes and refuses, as data.

Sources: Kong's changelog (3.14.0.7, 3.15: no temperature, top_p, top_k for Opus 4.7, 4.8 and Fable);
https://platform.claude.com/docs/en/build-with-claude/thinking-troubleshooting (thinking by model);
https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5 (thinking always on, no forced tools);
https://platform.claude.com/docs/en/build-with-claude/structured-outputs (models with `output_config.format`);
recording anthropic/native-messages/008 (effort levels of Opus 4.6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Thinking = Literal["none", "budget", "adaptive_or_budget", "adaptive"]

_EFFORTS = ("low", "medium", "high", "max")
_EFFORTS_XHIGH = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model takes."""

    thinking: Thinking
    """none: no thinking at all; budget: `enabled` with `budget_tokens`; adaptive: only `adaptive`."""
    max_tokens: int
    """Sent where the request names no limit (Messages requires one): fit for every model it stands for."""
    efforts: tuple[str, ...] = ()
    """Levels of `output_config.effort` that `reasoning_effort` may be mapped to."""
    thinks_unasked: bool = False
    """Thinking is on where the request does not say."""
    thinking_off: Literal["omit", "disabled", "between_tools", "lowest_effort"] = "omit"
    """How `reasoning_effort: none` is said."""
    sampling: bool = True
    """Takes temperature, top_p and top_k."""
    temperature_and_top_p: bool = True
    """Takes both in one request."""
    json_schema: bool = True
    """Has `output_config.format` and strict tools."""
    forced_tools: bool = True
    """Takes tool_choice `any` and `tool`."""


_ANY: frozenset[str] = frozenset()
_ALWAYS_THINKING = Traits(
    "adaptive", 32_000, _EFFORTS_XHIGH, thinks_unasked=True, thinking_off="lowest_effort", sampling=False,
    temperature_and_top_p=False, forced_tools=False,
)  # fmt: skip
_THINKING_BY_DEFAULT = Traits(
    "adaptive", 32_000, _EFFORTS_XHIGH, thinks_unasked=True, thinking_off="disabled", sampling=False,
    temperature_and_top_p=False,
)  # fmt: skip
_GENERATIONS: tuple[tuple[frozenset[str], tuple[int, int], Traits], ...] = (
    # (families, from version, traits): the first that fits counts.
    (frozenset({"fable", "mythos"}), (5, 1), _ALWAYS_THINKING),
    (
        frozenset({"fable", "mythos"}), (0, 0),
        Traits("adaptive", 32_000, _EFFORTS_XHIGH, thinks_unasked=True, thinking_off="lowest_effort",
               sampling=False, temperature_and_top_p=False),
    ),
    (
        frozenset({"sonnet"}), (5, 5),
        Traits("adaptive", 32_000, _EFFORTS_XHIGH, thinks_unasked=True, thinking_off="between_tools",
               sampling=False, temperature_and_top_p=False, forced_tools=False),
    ),
    (_ANY, (5, 5), _ALWAYS_THINKING),
    (_ANY, (5, 0), _THINKING_BY_DEFAULT),
    (
        frozenset({"opus"}), (4, 7),
        Traits("adaptive", 32_000, _EFFORTS_XHIGH, sampling=False, temperature_and_top_p=False),
    ),
    (_ANY, (4, 6), Traits("adaptive_or_budget", 32_000, _EFFORTS, temperature_and_top_p=False)),
    (_ANY, (4, 5), Traits("budget", 32_000, temperature_and_top_p=False)),
    (frozenset({"opus"}), (4, 1), Traits("budget", 16_384, temperature_and_top_p=False, json_schema=False)),
    (_ANY, (3, 7), Traits("budget", 16_384, json_schema=False)),
    (_ANY, (3, 5), Traits("none", 8_192, json_schema=False)),
    (_ANY, (0, 0), Traits("none", 4_096, json_schema=False)),
)  # fmt: skip

UNKNOWN = Traits("adaptive_or_budget", 16_384, _EFFORTS)
"""For names that do not tell (deployment names, inference profiles): nothing is held back."""

# claude-opus-4-5-20251101, claude-sonnet-4@20250514, us.anthropic.claude-haiku-4-5-20251001-v1:0
_NEW_NAME = re.compile(r"claude-(fable|mythos|opus|sonnet|haiku)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
# claude-3-7-sonnet-20250219, claude-3-opus
_OLD_NAME = re.compile(r"claude-(\d)(?:-(\d))?-(opus|sonnet|haiku)")
_ANCIENT_NAME = re.compile(r"claude-(?:instant|v?[12])")


@lru_cache(maxsize=256)
def traits(model: str) -> Traits:
    """What a model of this name (Anthropic's, Bedrock's or Vertex's spelling) takes."""
    name = model.lower().replace(".", "-").replace("_", "-")
    if found := _NEW_NAME.search(name):
        family, version = found[1], (int(found[2]), int(found[3] or 0))
    elif found := _OLD_NAME.search(name):
        family, version = found[3], (int(found[1]), int(found[2] or 0))
    elif _ANCIENT_NAME.search(name):
        family, version = "", (2, 0)
    else:
        return UNKNOWN
    for families, since, result in _GENERATIONS:
        if version >= since and (not families or family in families):
            return result
    return UNKNOWN  # pragma: no cover - the last generation takes every version
