"""How much a Claude model shall think, and what sampling it takes beside that; wherever it is hosted.

OpenAI's `reasoning_effort` becomes what the model's generation understands: adaptive thinking with an effort,
or a token budget. Source: https://platform.claude.com/docs/en/build-with-claude/thinking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import number
from .models import Traits

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_000, "xhigh": 20_000, "max": 20_000}
"""`reasoning_effort` → thinking budget, for models that take one. Ours to choose: Anthropic names none."""
_MIN_BUDGET = 1024
_ANSWER_ROOM = 8192
"""Tokens left for the answer beside a budget where the request names no limit."""
_EFFORTS = {
    "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max",
}  # fmt: skip


@dataclass(slots=True)
class Thought:
    """What to send."""

    thinking: Json | None = None
    """The `thinking` object."""
    effort: str | None = None
    """Of `output_config.effort`."""
    max_tokens: int | None = None
    """The limit that makes room for a budget; None where the request's own stands."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What else in the request bears on thinking."""

    limit: Any
    """The request's own token limit; None where it names none."""
    forced_tools: bool
    """tool_choice forces a tool: excludes thinking."""
    unsigned_loop: bool
    """The turn that tool results answer has no thinking: with a budget, the API refuses that."""
    takes_effort: bool = True


def plan_thinking(body: Json, model: Traits, conditions: Conditions, call: Call) -> Thought:
    """From `thinking` (Anthropic's form) or `reasoning_effort`. What cannot be had is noted as dropped."""
    explicit = body.get("thinking")
    effort, config = body.get("reasoning_effort"), body.get("output_config")
    if isinstance(explicit, dict) and explicit:
        thought = _explicit(explicit, model, conditions, call)
        if conditions.takes_effort and (thought.thinking or {}).get("type") == "adaptive" and effort:
            thought.effort = _level(str(effort), model)
        return thought
    if effort is None:
        return Thought()
    if conditions.takes_effort and isinstance(config, dict) and config.get("effort"):
        return Thought()  # said in Anthropic's own words already
    effort = str(effort)
    if effort == "none":
        return _none(model, conditions, call)
    if effort not in _EFFORTS:
        raise BadRequest(f"reasoning_effort {effort!r} is unknown", param="reasoning_effort")
    adaptive = model.thinking == "adaptive" or (
        model.thinking == "adaptive_or_budget" and conditions.takes_effort
    )
    if adaptive:
        return _adaptive(effort, model, conditions, call)
    if model.thinking == "none":
        call.drop("reasoning_effort")
        return Thought()
    return _budget(effort, model, conditions, call)


def sampling(body: Json, model: Traits, thinking: Json | None, call: Call) -> Json:
    """`temperature`, `top_p` and `top_k` as far as the model takes them beside this thinking."""
    given = {name: body[name] for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
    if not model.sampling:
        for name in given:
            call.drop(name)
        return {}
    if (number(given.get("temperature")) or 0) > 1:
        given["temperature"] = 1  # OpenAI's range ends at 2, Anthropic's at 1
    if thinking and thinking.get("type") in ("enabled", "adaptive"):
        # https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility
        for name, value in list(given.items()):
            fits = {"temperature": value == 1, "top_p": (number(value) or 0) >= 0.95}
            if not fits.get(name, False):
                call.drop(name)
                del given[name]
    if "temperature" in given and "top_p" in given and not model.temperature_and_top_p:
        call.drop("top_p")
        del given["top_p"]
    return given


def _explicit(explicit: Json, model: Traits, conditions: Conditions, call: Call) -> Thought:
    """The client's own `thinking`, moved to the nearest form that the model takes."""
    kind = explicit.get("type")
    shown = {"display": explicit["display"]} if explicit.get("display") is not None else {}
    if model.thinking == "none":
        if kind != "disabled":
            call.drop("thinking")
        return Thought()
    if kind == "enabled" and model.thinking == "adaptive":
        call.drop("thinking.budget_tokens")
        return Thought({"type": "adaptive", **shown})
    if kind == "adaptive" and model.thinking == "budget":
        budget = _fitted(_BUDGETS["medium"], conditions.limit)
        if budget is None:
            call.drop("thinking")
            return Thought()
        room = budget + _ANSWER_ROOM if conditions.limit is None else None
        return Thought({"type": "enabled", "budget_tokens": budget, **shown}, max_tokens=room)
    if kind == "disabled" and model.thinking_off == "between_tools":
        return Thought({"type": "between_tools"})
    if kind == "disabled" and model.thinking_off == "lowest_effort":
        call.drop("thinking")
        return Thought()
    budget = explicit.get("budget_tokens")
    if kind == "enabled" and isinstance(budget, int) and conditions.limit is None:
        return Thought(explicit, max_tokens=budget + _ANSWER_ROOM)
    return Thought(explicit)


def _none(model: Traits, conditions: Conditions, call: Call) -> Thought:
    if model.thinking_off in ("disabled", "between_tools"):
        return Thought({"type": model.thinking_off})
    if model.thinking_off == "lowest_effort":
        if conditions.takes_effort:
            return Thought(effort="low")
        call.drop("reasoning_effort")
    return Thought()


def _adaptive(effort: str, model: Traits, conditions: Conditions, call: Call) -> Thought:
    if conditions.forced_tools and not model.thinks_unasked:
        call.drop("reasoning_effort")
        return Thought()
    thought = Thought(None if model.thinks_unasked else {"type": "adaptive"})
    if conditions.takes_effort:
        thought.effort = _level(effort, model)
    else:
        call.drop("reasoning_effort")
    return thought


def _budget(effort: str, model: Traits, conditions: Conditions, call: Call) -> Thought:
    budget = _fitted(_BUDGETS[effort], conditions.limit)
    if budget is None or conditions.forced_tools or conditions.unsigned_loop:
        call.drop("reasoning_effort")
        return Thought()
    room = max(model.max_tokens, budget + _ANSWER_ROOM) if conditions.limit is None else None
    return Thought({"type": "enabled", "budget_tokens": budget}, max_tokens=room)


def _fitted(budget: int, limit: Any) -> int | None:
    """The budget, below the limit as the API demands; None where no budget fits."""
    if number(limit) is None or budget < limit:
        return budget
    budget = int(limit) // 2
    return budget if budget >= _MIN_BUDGET else None


def _level(effort: str, model: Traits) -> str | None:
    level = _EFFORTS.get(effort)
    if level is None or not model.efforts:
        return None
    return level if level in model.efforts else "max"
