"""An answer's `content` where it is a list of parts, and reasoning in the places that providers have for it.

Parts: Mistral's (https://docs.mistral.ai/api/#tag/chat and the types of its SDK, mistralai 3.7: `thinking`
with text and references, `reference`, `document_url`, …), Databricks' (`reasoning` with a summary whose texts
are signed, https://docs.databricks.com/aws/en/machine-learning/model-serving/query-reason-models and
https://github.com/BerriAI/litellm/issues/9700), OpenAI's `text` and `refusal`.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.json import Json
from ..pivot import obj, objects, text

_THOUGHTS: Final = frozenset({"thinking", "reasoning"})
_TEXTS: Final = ("text", "thinking", "summary", "content")
"""Members of an object that hold reasoning, by provider; the first that holds any counts."""


class Parts:
    """What a list of parts says."""

    __slots__ = ("others", "reasoning", "refusal", "text", "thinking")

    def __init__(self, content: list[Any]) -> None:
        self.text = ""
        self.reasoning = ""
        self.refusal = ""
        self.thinking: list[Json] = []
        """Reasoning that must come back unchanged, as `thinking_blocks` (see `kong_ai_proxy.formats`)."""
        self.others: list[Json] = []
        """Parts that OpenAI's form has no place for."""
        for part in content:
            if isinstance(part, str):
                self.text += part
            elif isinstance(part, dict):
                self._part(part)

    def _part(self, part: Json) -> None:
        kind = part.get("type")
        if isinstance(kind, str) and kind in _THOUGHTS:
            self._thought(part)
        elif isinstance(part.get("text"), str):
            self.text += part["text"]
        elif kind == "refusal":
            self.refusal += text(part.get("refusal"))
        elif kind != "text":
            self.others.append(part)

    def _thought(self, part: Json) -> None:
        found = part.get("thinking") or part.get("summary") or part.get("text")
        said: list[str] = []
        for one in found if isinstance(found, list) else [found]:
            piece = one if isinstance(one, str) else text(obj(one).get("text"))
            said.append(piece)
            if isinstance(one, dict):
                if signature := text(one.get("signature")):
                    self.thinking.append({"type": "thinking", "thinking": piece, "signature": signature})
                elif data := text(one.get("data")):
                    self.thinking.append({"type": "redacted_thinking", "data": data})
                elif not isinstance(one.get("text"), str):
                    self.others.append(one)
        self.reasoning += "".join(said)


def reasoning_text(value: Any) -> str:
    """Reasoning as text: a text, an object that holds one, or a list of either."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(reasoning_text, value))
    for name in _TEXTS:
        if isinstance(found := obj(value).get(name), (str, list)) and found:
            return reasoning_text(found)
    return ""


def take_reasoning(said: Json) -> str:
    """The reasoning of a message or a delta; in place, the members that others have for it are taken out.

    `reasoning_content`: DeepSeek, xAI, DashScope and most; `reasoning`: Ollama, Cerebras, Groq, OpenRouter,
    which sends `reasoning_details` too, and some models' reasoning there alone
    (https://openrouter.ai/docs/use-cases/reasoning-tokens). That member stays: it must come back.
    """
    first, second = said.pop("reasoning_content", None), said.pop("reasoning", None)
    return (
        reasoning_text(first)
        or reasoning_text(second)
        or reasoning_text(objects(said.get("reasoning_details")))
    )

