"""What the mocks say: deterministic, and enough of an echo to assert on.

The same question gets the same answer from every provider, so that answers through different wire formats
can be compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..core.json import Json, dumps_text, loads
from .answers import Answer, Drop, Hang, Pause, Reset, Step


@dataclass(slots=True)
class Tool:
    """A function the client offers."""

    name: str
    parameters: Json


@dataclass(slots=True)
class Ask:
    """A chat request, whatever its wire format."""

    model: str = ""
    texts: list[str] = field(default_factory=list)
    """Every text of the conversation, for counting."""
    last_user: str = ""
    """The text of the last message, if it is the user's."""
    tools: list[Tool] = field(default_factory=list)
    tool_choice: str = "auto"
    """"auto", "none", "required", or a function's name."""
    tool_results: list[str] = field(default_factory=list)
    """Results at the end of the conversation: the next answer is built from them."""
    schema: Json | None = None
    """A JSON schema the answer must match; {} for any JSON object."""
    max_tokens: int | None = None
    thinking: bool = False


@dataclass(slots=True)
class Call:
    """A function call in an answer."""

    id: str
    name: str
    arguments: Json

    @property
    def text(self) -> str:
        return dumps_text(self.arguments)


@dataclass(slots=True)
class Reply:
    """An answer, whatever its wire format."""

    text: str
    calls: list[Call]
    thinking: str
    finish: str
    """"stop", "length" or "tool_calls"."""
    prompt_tokens: int
    completion_tokens: int
    """Thinking included."""
    thinking_tokens: int

    @property
    def pieces(self) -> list[str]:
        """The text in the pieces a stream delivers it in: words with the white space before them."""
        return split_words(self.text)

    @property
    def thinking_pieces(self) -> list[str]:
        return split_words(self.thinking)


def split_words(text: str) -> list[str]:
    """Words with the white space before them; together exactly the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def think(ask: Ask) -> Reply:
    """The answer to a question."""
    knobs = Knobs.of(ask.model)
    thinking = f"The user said: {ask.last_user}" if ask.thinking else ""
    calls = _calls(ask)
    if calls:
        text = ""
    elif knobs.judge:
        text = _score(ask.last_user)
    elif ask.schema is not None:
        text = dumps_text(_example(ask.schema, ask.last_user) if ask.schema else {"echo": ask.last_user})
    elif knobs.words:
        text = " ".join(f"word{i}" for i in range(knobs.words))
    elif ask.tool_results:
        text = "The tools said: " + "; ".join(ask.tool_results)
    else:
        text = f"You said: {ask.last_user}"
    finish = "tool_calls" if calls else "stop"
    words = split_words(text)
    if ask.max_tokens is not None and len(words) > ask.max_tokens:
        text, finish = "".join(words[: ask.max_tokens]), "length"
    thinking_tokens = len(split_words(thinking))
    answered = len(split_words(text)) + sum(3 + len(call.arguments) for call in calls)
    return Reply(
        text=text,
        calls=calls,
        thinking=thinking,
        finish=finish,
        prompt_tokens=3 + sum(len(split_words(t)) for t in ask.texts) + 10 * len(ask.tools),
        completion_tokens=answered + thinking_tokens,
        thinking_tokens=thinking_tokens,
    )


def _score(material: str) -> str:
    """A judge's reply: how many of the question's words the answer has, from 1 (none) to 100 (all)."""
    try:
        judged = loads(material)
        asked = str(judged["request"][-1]["content"]).split()
        answered = set(str(judged["response"]).split())
    except (ValueError, LookupError, TypeError):
        return "There is nothing to judge."
    return str(round(1 + 99 * sum(word in answered for word in asked) / max(len(asked), 1)))


def _calls(ask: Ask) -> list[Call]:
    if not ask.tools or ask.tool_choice == "none" or ask.tool_results:
        return []
    wanted = [tool for tool in ask.tools if ask.tool_choice == tool.name]
    if not wanted:
        said = ask.last_user.lower()
        wanted = [tool for tool in ask.tools if _asked_for(tool.name.lower(), said)]
    if not wanted and ask.tool_choice == "required":
        wanted = ask.tools[:1]
    return [
        Call(f"call_mock_{i}", tool.name, _example(tool.parameters, ask.last_user))
        for i, tool in enumerate(wanted, 1)
    ]


def _asked_for(name: str, said: str) -> bool:
    """The message speaks of a tool: by its name or by a word of it."""
    return name in said or any(len(word) > 3 and word in said for word in re.split(r"[_\W]+", name))


def _example(schema: Json, said: str) -> Any:
    """A value that fits a JSON schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return _example(schema[union][0], said)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    kind = str(kind or ("object" if "properties" in schema else "string")).lower()  # Gemini writes STRING
    if kind == "object":
        properties: Json = schema.get("properties") or {}
        names = schema.get("required") or list(properties)
        return {name: _example(properties.get(name) or {}, said) for name in names}
    if kind == "array":
        return [_example(schema.get("items") or {}, said)]
    simple: dict[str, Any] = {"integer": 7, "number": 1.5, "boolean": True, "null": None}
    return simple[kind] if kind in simple else _last_name(said)


def _last_name(said: str) -> str:
    """The last capitalised word, so that "weather in Paris" calls with Paris."""
    names = re.findall(r"\b[A-ZÄÖÜ]\w+", said)
    return names[-1] if names else (said or "value")


@dataclass(slots=True)
class Knobs:
    """Behaviour asked for by a model's name: `mock-` and settings joined by `+`, anywhere in the name.

    `mock-status-429` answers an error, `mock-delay-500` waits (ms) before the answer, `mock-pace-20` waits
    (ms) before each token, `mock-words-50` answers so many words, `mock-hang` never answers, `mock-hang-5`
    hangs after 5 tokens, `mock-reset` resets the connection before the head, `mock-cut` in the middle of
    the head, `mock-truncate-5` ends a stream after 5 tokens, `mock-gzip` is left to scripted answers.
    `mock-judge` scores an answer that it is asked about (config.kong_ai_proxy.judge).
    """

    status: int = 200
    delay: float = 0.0
    pace: float = 0.0
    words: int = 0
    hang: int | None = None
    truncate: int | None = None
    reset: bool = False
    cut: bool = False
    judge: bool = False

    @classmethod
    def of(cls, model: str) -> Knobs:
        knobs = cls()
        found = re.search(r"mock-([a-z]+(?:-\d+)?(?:\+[a-z]+(?:-\d+)?)*)", model)
        for setting in found.group(1).split("+") if found else ():
            name, _, digits = setting.partition("-")
            number = int(digits or 0)
            match name:
                case "status":
                    knobs.status = number
                case "delay":
                    knobs.delay = number / 1000
                case "pace":
                    knobs.pace = number / 1000
                case "words":
                    knobs.words = number
                case "hang":
                    knobs.hang = number
                case "truncate":
                    knobs.truncate = number
                case "reset":
                    knobs.reset = True
                case "cut":
                    knobs.cut = True
                case "judge":
                    knobs.judge = True
        return knobs

    def apply(self, answer: Answer) -> Answer:
        """The answer, slowed down or broken as asked."""
        if self.delay:
            answer.before.append(Pause(self.delay))
        if self.hang == 0:
            answer.before.append(Hang())
        if self.reset:
            answer.before.append(Reset())
        if self.cut:
            answer.head_cut = 24
        if answer.steps is not None:
            answer.steps = self._steps(answer.steps)
        return answer

    def _steps(self, steps: list[Step]) -> list[Step]:
        end: Step | None = None
        if self.truncate is not None:
            steps, end = steps[: self.truncate], Drop()
        elif self.hang:
            steps, end = steps[: self.hang], Hang()
        if self.pace:
            steps = [each for step in steps for each in (step, Pause(self.pace))]
        return [*steps, end] if end is not None else steps
