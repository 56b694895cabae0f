"""A whole answer in OpenAI's form as the chunks that its stream would have had, and the other way round."""

from __future__ import annotations

from typing import Any, Final

from ..core.json import Json

_CHUNK_OBJECTS: Final = {"chat.completion": "chat.completion.chunk"}
_WHOLE_OBJECTS: Final = {part: whole for whole, part in _CHUNK_OBJECTS.items()}
_SAID_ONCE: Final = frozenset({"id", "type"})
"""Texts that a later piece repeats, and does not go on with."""
_ANSWER_ONLY: Final = frozenset({"choices", "usage", "object"})


def chunks_of(answer: Json) -> list[Json]:
    """Content first, then the finish reasons, then usage: the order of
    https://platform.openai.com/docs/api-reference/chat-streaming."""
    head: Json = {name: value for name, value in answer.items() if name not in _ANSWER_ONLY}
    kind = answer.get("object")
    head["object"] = _CHUNK_OBJECTS.get(kind, kind) if isinstance(kind, str) else "chat.completion.chunk"
    choices = [choice for choice in _list(answer.get("choices")) if isinstance(choice, dict)]
    chunks: list[Json] = []
    for position, choice in enumerate(choices):
        chunks.append({**head, "choices": [_content(choice, position)]})
    for position, choice in enumerate(choices):
        end: Json = {
            "index": choice.get("index", position),
            "finish_reason": choice.get("finish_reason") or "stop",
        }
        end["text" if "text" in choice else "delta"] = "" if "text" in choice else {}
        chunks.append({**head, "choices": [end]})
    usage = answer.get("usage")
    if isinstance(usage, dict):
        chunks.append({**head, "choices": [], "usage": usage})
    return chunks


def _content(choice: Json, position: int) -> Json:
    index = choice.get("index", position)
    made: Json = {"index": index, "finish_reason": None}
    if "logprobs" in choice:
        made["logprobs"] = choice["logprobs"]
    if "text" in choice:
        return {**made, "text": choice["text"]}
    message = choice.get("message")
    delta: Json = dict(message) if isinstance(message, dict) else {}
    delta.setdefault("role", "assistant")
    calls = [call for call in _list(delta.get("tool_calls")) if isinstance(call, dict)]
    if calls:
        delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(calls)]
    else:
        delta.pop("tool_calls", None)
    return {**made, "delta": delta}


def whole_of(chunks: list[Json]) -> Json:
    """The answer that a stream's chunks make, told whole."""
    answer: Json = {}
    choices: dict[int, Json] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name != "choices" and value is not None:
                answer[name] = value
        for choice in _list(chunk.get("choices")):
            if isinstance(choice, dict):
                _add(choices.setdefault(choice.get("index") or 0, {}), choice)
    kind = answer.get("object")
    answer["object"] = _WHOLE_OBJECTS.get(kind, kind) if isinstance(kind, str) else "chat.completion"
    answer["choices"] = [{"index": index, **_told(choices[index])} for index in sorted(choices)]
    return answer


def _add(choice: Json, piece: Json) -> None:
    for name, value in piece.items():
        if name == "delta" and isinstance(value, dict):
            _add_delta(choice.setdefault("message", {"role": "assistant", "content": None}), value)
        elif name == "text" and isinstance(value, str):
            choice["text"] = choice.get("text", "") + value
        elif name == "logprobs" and isinstance(value, dict):
            _merge(choice.setdefault("logprobs", {}), value)
        elif name != "index" and value is not None:
            choice[name] = value


def _add_delta(message: Json, delta: Json) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for fragment in _list(value):
                if isinstance(fragment, dict):
                    calls = message.setdefault("tool_calls", {})
                    _merge(calls.setdefault(fragment.get("index") or 0, {}), fragment)
        elif name == "role":
            message["role"] = value
        else:
            _merge(message, {name: value})


def _merge(known: Json, more: Json) -> None:
    """Add what came later, in place: texts and lists go on, of other values the last one holds."""
    for name, value in more.items():
        before = known.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            known[name] = [*before, *value]
        elif isinstance(value, str) and isinstance(before, str) and name not in _SAID_ONCE:
            known[name] = f"{before}{value}"
        elif value is not None or before is None:
            known[name] = dict(value) if isinstance(value, dict) else value


def _told(choice: Json) -> Json:
    message = choice.get("message")
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    if isinstance(message, dict) and calls:
        message["tool_calls"] = [
            {name: value for name, value in calls[index].items() if name != "index"}
            for index in sorted(calls)
        ]
    choice.setdefault("logprobs", None)
    choice.setdefault("finish_reason", "tool_calls" if calls else "stop")
    return choice


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
