"""A whole answer in OpenAI's form as the chunks that its stream would have had."""

from __future__ import annotations

from typing import Any, Final

from ..core.json import Json

_CHUNK_OBJECTS: Final = {"chat.completion": "chat.completion.chunk"}
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


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
