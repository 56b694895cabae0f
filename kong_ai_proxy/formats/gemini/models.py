"""What differs between Gemini's model generations, by name."""

from __future__ import annotations

import re
from typing import Any

from ...core.json import Json

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")

NEWEST = (99, 0)
"""The generation of names that carry none (`gemini-flash-latest`, tuned models)."""


def generation(model: str) -> tuple[int, int]:
    """(major, minor) from a model's name: (2, 5) for "models/gemini-2.5-flash-lite"."""
    found = _GENERATION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else NEWEST


def takes_json_schema(model: str) -> bool:
    """Whether `responseJsonSchema` is understood: 2.5 and later.

    Source: https://ai.google.dev/gemini-api/docs/structured-output; recordings vertex/native-generate/012,
    021.
    """
    return generation(model) >= (2, 5)


def takes_thinking_level(model: str) -> bool:
    """Whether thinking is set as a level (3 and later) rather than as a budget of tokens (2.5).

    Source: https://ai.google.dev/gemini-api/docs/thinking. A name without a generation takes neither for
    certain.
    """
    return (3, 0) <= generation(model) < NEWEST


def needs_signatures(model: str) -> bool:
    """Whether a function call in the history without its thought signature is refused: 3 and later.

    Source: https://ai.google.dev/gemini-api/docs/thought-signatures.
    """
    return (3, 0) <= generation(model) < NEWEST


def takes_media_in_results(model: str) -> bool:
    """Whether a function's result may hold images (`functionResponse.parts`): 3 and later.

    Source: https://ai.google.dev/gemini-api/docs/function-calling (multimodal function responses); recording
    gemini/native-generate-vision-stream/002.
    """
    return (3, 0) <= generation(model) < NEWEST


def answers_json_beside_tools(model: str) -> bool:
    """Whether JSON answers and tools go together: 3 and later.

    Before, "Function calling with a response mime type: 'application/json' is unsupported"
    (https://github.com/googleapis/python-genai/issues/867).
    """
    return generation(model) >= (3, 0)


# Both tables: https://ai.google.dev/gemini-api/docs/openai#thinking, Google's own mapping.
# "max", which OpenAI has, too (openai 3.54: types/shared/reasoning_effort.py), is as "xhigh".
_LEVELS = {
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_BUDGETS = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576,
}  # fmt: skip

_PRO = re.compile(r"gemini-[\d.]+-pro")


def thinking_for_effort(effort: Any, model: str) -> Json | None:
    """`thinkingConfig` for OpenAI's `reasoning_effort`; None where there is no counterpart.

    Thoughts are asked for along with it, so that they can be shown as `reasoning_content`; Gemini bills them
    either way. Thinking cannot be switched off from generation 3 on, nor for 2.5 Pro: the least there is is
    used.
    """
    if not isinstance(effort, str):
        return None
    pro = _PRO.search(model) is not None
    if takes_thinking_level(model):
        if effort in ("none", "minimal"):
            # Pro models know no "minimal".
            return {"thinkingLevel": "low" if pro else "minimal"}
        level = _LEVELS.get(effort)
        if level == "medium" and pro and generation(model) == (3, 0):
            level = "high"
        return {"thinkingLevel": level, "includeThoughts": True} if level else None
    if generation(model) < (2, 5):
        return None
    budget = _BUDGETS.get(effort)
    if budget is None:
        return None
    if budget == 0:
        # 128 is the least that 2.5 Pro accepts.
        return {"thinkingBudget": 128 if pro else 0}
    return {"thinkingBudget": budget, "includeThoughts": True}
