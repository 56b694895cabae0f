"""What judging came to, for /metrics: labels are the judging provider and model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from ..config.models import Target
from ..core.usage import Usage
from ..metrics.exposition import Family
from ..metrics.llm import DURATIONS, Histogram, Labels

Outcome: TypeAlias = Literal[
    "scored", "no_score", "failed", "dropped", "too_long", "no_text", "unreadable", "judging"
]
OUTCOMES: Final[dict[Outcome, str]] = {
    "scored": "it has a score",
    "no_score": "the judge named no number from 1 to 100",
    "failed": "the judge could not be asked, or did not answer",
    "dropped": "too much was waiting, or the judge had asked to be left alone",
    "too_long": "request or answer were too long to be kept",
    "no_text": "nothing in it to judge: an empty answer",
    "unreadable": "request or answer could not be read as text",
    "judging": "it was asked for by a judge (header x-kong-ai-judging): its URL leads here",
}
"""What became of an answer that was to be judged."""


class Counts:
    """Of this process."""

    def __init__(self) -> None:
        self._answers: dict[Labels, float] = {}
        self._tokens: dict[Labels, float] = {}
        self._cost: dict[Labels, float] = {}
        self._duration = Histogram(
            "kong_ai_proxy_judge_duration_seconds", "From the question to the judge to its reply.", DURATIONS
        )
        self.waiting = 0
        """Answers that wait to be judged."""
        self.running = 0
        """Questions under way."""
        self.held = 0
        """Bytes of requests and answers that are kept for it."""

    def answer(self, judge: Target, outcome: Outcome) -> None:
        """One answer that was sampled has come to this."""
        labels = (*_of(judge), ("outcome", outcome))
        self._answers[labels] = self._answers.get(labels, 0) + 1

    def spent(self, judge: Target, usage: Usage, cost: float, seconds: float) -> None:
        """The judge has replied."""
        labels = _of(judge)
        self._duration.observe(seconds, labels)
        for kind, tokens in (("input", usage.prompt_tokens), ("output", usage.completion_tokens)):
            where = (*labels, ("type", kind))
            self._tokens[where] = self._tokens.get(where, 0) + tokens
        self._cost[labels] = self._cost.get(labels, 0) + cost

    def collect(self) -> Iterator[Family]:
        for name, text, samples in (
            ("answers_total", "Answers that were to be judged, by outcome.", self._answers),
            ("tokens_total", "Tokens of the judge's own; in no other metric here.", self._tokens),
            ("cost_total", "What the judge cost, by its prices; in no other metric here.", self._cost),
        ):
            yield Family(f"kong_ai_proxy_judge_{name}", "counter", text, dict(samples))
        yield self._duration.family()
        for name, text, number in (
            ("waiting", "Answers that wait to be judged.", self.waiting),
            ("running", "Questions to a judge under way.", self.running),
            ("held_bytes", "Bytes of requests and answers that are kept to be judged.", self.held),
        ):
            yield Family(f"kong_ai_proxy_judge_{name}", "gauge", text).add(number)


def _of(judge: Target) -> Labels:
    model = judge.model
    name = model.name or model.options.azure_deployment_id or ""
    return (("provider", model.provider), ("model", name))
