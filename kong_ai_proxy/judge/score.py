"""What a judge is asked, and the number in its reply."""

from __future__ import annotations

import re
from typing import Final

from ..config.models import Judge
from ..core.json import Json, dumps_text
from .calls import Said
from .said import Asked

WORST: Final = 1.0
BEST: Final = 100.0

_THOUGHT: Final = "</think>"
"""Some servers leave a model's reasoning at the beginning of its reply."""
_LONGEST: Final = 2000
"""Characters of a reply that could be a score with some words around it."""
_SCALE: Final = re.compile(
    r"(?:/|\bout\s+of|\bof)\s*100\b|\b1\s*(?:-|–|to|and|through)\s*100\b", re.IGNORECASE
)  # fmt: skip
"""How a reply repeats what the number is measured against."""
_NUMBER: Final = re.compile(r"(?<![\w.,-])(\d{1,3}(?:\.\d{1,6})?)(?!\w|[.,]\d)", re.ASCII)


def question(judge: Judge, asked: Asked, answered: Said) -> Json:
    """The request to the judge, in OpenAI's form.

    What is judged is JSON inside one message: no text in it can pass for the end of the material. Tools are
    told of where some were called.
    """
    shown: Json = {"request": asked.messages, "response": answered.text}
    if answered.calls:
        shown["tools"] = asked.tools
        shown["tool_calls"] = answered.calls
    material = dumps_text(shown)
    return {
        "model": judge.llm.model.name or "",
        "messages": [
            {"role": "system", "content": judge.prompt},
            {"role": "user", "content": material},
        ],
    }


def score_in(reply: str) -> float | None:
    """The one number from 1 to 100 that a reply names, such as "87", "**87**/100" or "Score: 87.5". None
    where there is none, or it could be one of several."""
    text = reply.rpartition(_THOUGHT)[2].strip()
    if len(text) > _LONGEST:
        return None
    text = _SCALE.sub(" ", text)
    numbers = {float(found) for found in _NUMBER.findall(text)}
    if len(numbers) != 1:
        return None
    number = numbers.pop()
    return number if WORST <= number <= BEST else None
