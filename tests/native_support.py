"""Helpers for tests of provider formats: a call, and streams read the way an OpenAI client reads them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from recordings_support import index, recorded

from kong_ai_proxy.config.models import Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import dumps


def recorded_streams(*prefixes: str) -> pytest.MarkDecorator:
    """Like `recorded`, for streams only."""
    ids = [entry["id"] for entry in index() if entry["id"].startswith(prefixes) and entry["stream"]]
    if not ids:
        return recorded(*prefixes)
    return pytest.mark.parametrize("recording_id", ids)


ROUTES = {"chat": "llm/v1/chat", "completions": "llm/v1/completions", "embeddings": "llm/v1/embeddings"}


def make_call(
    provider: str,
    model: str = "",
    operation: str = "chat",
    *,
    options: dict[str, Any] | None = None,
    body: Any = None,
    stream: bool = False,
    include_usage: bool = False,
) -> Call:
    """One attempt at a target of this provider."""
    given = Options.model_validate(options or {})
    target = Target.model_validate(
        {
            "model": {"provider": provider, "name": model or None, "options": options or {}},
            "route_type": ROUTES[operation],
        }
    )
    request = ClientRequest("POST", "/", "", {"content-type": "application/json"}, dumps(body))
    call = Call(target, given, model, operation, request, stream=stream, include_usage=include_usage)
    call.created = 1_700_000_000
    return call


def wire_bytes(recording: dict[str, Any]) -> bytes:
    """A recorded body as it was on the wire."""
    body = recording["response"]["body"]
    return body.encode() if isinstance(body, str) else dumps(body)


def read_stream(adapter: Any, call: Call, pieces: Iterable[bytes]) -> list[Any]:
    """All items of a stream that arrives in these pieces."""
    decoder = adapter.stream(call)
    items: list[Any] = []
    for piece in pieces:
        items.extend(decoder.feed(piece))
    items.extend(decoder.finish())
    return items


def two_way_splits(data: bytes, most: int = 300) -> list[tuple[bytes, bytes]]:
    """Every split in two; a sample of them where there are many."""
    points = list(range(len(data) + 1))
    if len(points) > most:
        points = sorted(random.Random(len(data)).sample(points, most))
    return [(data[:point], data[point:]) for point in points]


def normalised(items: list[Any]) -> list[Any]:
    """Items without what is made anew each time (ids), for comparing one run with another."""
    made: list[Any] = []
    for item in items:
        if isinstance(item, ApiError):
            made.append((item.status, item.code, item.message))
            continue
        choices = []
        for choice in item["choices"]:
            delta = dict(choice.get("delta") or {})
            if delta.get("tool_calls"):
                delta["tool_calls"] = [{**one, "id": bool(one.get("id"))} for one in delta["tool_calls"]]
            if delta.get("audio"):
                delta["audio"] = {**delta["audio"], "id": ""}
            choices.append({**choice, "delta": delta})
        made.append({**item, "id": "", "choices": choices})
    return made


def assemble(items: list[Any]) -> dict[str, Any]:
    """What an OpenAI client makes of the chunks: a message per choice. Fails on errors and invalid chunks."""
    answer: dict[str, Any] = {"choices": {}, "usage": None, "model": None, "id": None}
    for item in items:
        assert not isinstance(item, ApiError), item.message
        ChatCompletionChunk.model_validate(item)
        answer["model"] = item["model"]
        assert answer["id"] in (None, item["id"]), "the id changed within a stream"
        answer["id"] = item["id"]
        if item.get("usage"):
            answer["usage"] = item["usage"]
        for choice in item["choices"]:
            known = answer["choices"].setdefault(
                choice["index"],
                {
                    "content": "",
                    "reasoning_content": "",
                    "tool_calls": [],
                    "finish_reason": None,
                    "extra": {},
                },
            )
            delta = choice["delta"]
            if not known["extra"] and not known["content"] and not known["tool_calls"]:
                known.setdefault("role", delta.get("role"))
            known["content"] += delta.get("content") or ""
            known["reasoning_content"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or []:
                calls = known["tool_calls"]
                if call["index"] == len(calls):
                    assert call["id"] and call["function"]["name"]
                    calls.append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
                    if "extra_content" in call:
                        calls[-1]["extra_content"] = call["extra_content"]
                assert call["index"] < len(calls), "tool call indexes must be dense"
                calls[call["index"]]["arguments"] += call["function"].get("arguments") or ""
            for key in (
                "extra_content",
                "annotations",
                "provider_specific_fields",
                "images",
                "audio",
                "refusal",
            ):
                if key in delta:
                    known["extra"][key] = delta[key]
            if choice["finish_reason"]:
                assert known["finish_reason"] is None, "a choice finished twice"
                known["finish_reason"] = choice["finish_reason"]
    return answer


def flat(answer: dict[str, Any]) -> dict[str, Any]:
    """A whole chat completion in the shape `assemble` gives."""
    ChatCompletion.model_validate(answer)
    choices = {}
    for choice in answer["choices"]:
        message = choice["message"]
        calls = [
            {
                "id": call["id"],
                "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
                **({"extra_content": call["extra_content"]} if "extra_content" in call else {}),
            }
            for call in message.get("tool_calls") or []
        ]
        choices[choice["index"]] = {
            "role": message["role"],
            "content": message.get("content") or "",
            "reasoning_content": message.get("reasoning_content") or "",
            "tool_calls": calls,
            "finish_reason": choice["finish_reason"],
            "extra": {
                key: message[key]
                for key in (
                    "extra_content",
                    "annotations",
                    "provider_specific_fields",
                    "images",
                    "audio",
                    "refusal",
                )
                if message.get(key) is not None
            },
        }
    return {"choices": choices, "usage": answer.get("usage"), "model": answer["model"], "id": answer["id"]}


def check_embeddings(answer: dict[str, Any]) -> None:
    CreateEmbeddingResponse.model_validate(answer)


def check_completion(answer: dict[str, Any]) -> None:
    Completion.model_validate(answer)
