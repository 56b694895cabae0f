"""Every recorded stream gives what its twin gives: the same answer, had it not been asked for as a stream.

Hardly any answer was recorded both ways (a model does not say the same twice), so a twin is made from the
stream's own native events, by what each provider's reference says of the two forms, with nothing of the code
under test. Both go through the adapter; content, reasoning, tools, finish reason and usage must be the same.

Anthropic's streams, and Bedrock's (Converse, and those in other providers' forms), have such a test of their
own: test_anthropic_answers.py, test_bedrock_answers.py and test_bedrock_invoke.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from native_support import assemble, flat, make_call, read_stream, wire_bytes
from openai_support import adapter_for, call_for, family, stream_bytes
from recordings_support import index, load_recording

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.cohere import CHAT_V1, CHAT_V2
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT
from kong_ai_proxy.formats.huggingface import TEXT_CHAT
from kong_ai_proxy.formats.ollama import CHAT as OLLAMA_CHAT

Json = dict[str, Any]


def sse_events(text: str) -> list[Json]:
    """The JSON objects of a stream of server-sent events, whose data is one line each here."""
    rows = text.replace("\r\n", "\n").split("\n")
    lines = [row[5:].strip() for row in rows if row.startswith("data:")]
    return [json.loads(line) for line in lines if line not in ("", "[DONE]")]


def lines(text: str) -> list[Json]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def gemini(body: Any) -> Json:
    """https://ai.google.dev/api/generate-content: each event is a GenerateContentResponse."""
    answer: Json = {}
    candidates: dict[int, Json] = {}
    for event in body if isinstance(body, list) else sse_events(body):
        answer.update({name: value for name, value in event.items() if name != "candidates"})
        for piece in event.get("candidates", ()):
            new: Json = {"content": {"role": "model", "parts": []}}
            known = candidates.setdefault(piece.get("index", 0), new)
            known.update({name: value for name, value in piece.items() if name != "content"})
            known["content"]["parts"] += (piece.get("content") or {}).get("parts") or []
    return answer | ({"candidates": [candidates[at] for at in sorted(candidates)]} if candidates else {})


def cohere_v2(text: str) -> Json:
    """https://docs.cohere.com/v2/docs/streaming against https://docs.cohere.com/reference/chat."""
    answer: Json = {}
    message: Json = {}
    for event in sse_events(text):
        kind, delta = event["type"], event.get("delta") or {}
        given = delta.get("message") or {}
        if kind == "message-start":
            answer["id"], message = event["id"], answer.setdefault("message", {"role": "assistant"})
        elif kind == "content-start":
            message.setdefault("content", []).append(dict(given["content"]))
        elif kind == "content-delta":
            for name, piece in given["content"].items():
                if name != "type":
                    message["content"][-1][name] = message["content"][-1].get(name, "") + piece
        elif kind == "tool-plan-delta":
            message["tool_plan"] = message.get("tool_plan", "") + given["tool_plan"]
        elif kind == "tool-call-start":
            message.setdefault("tool_calls", []).append(json.loads(json.dumps(given["tool_calls"])))
        elif kind == "tool-call-delta":
            function = message["tool_calls"][-1]["function"]
            function["arguments"] = function.get("arguments") or ""
            function["arguments"] += given["tool_calls"]["function"]["arguments"]
        elif kind == "citation-start":
            message.setdefault("citations", []).append(given["citations"])
        elif kind == "message-end":
            answer.update(delta)
    return answer


def cohere_v1(text: str) -> Json:
    """https://docs.cohere.com/v1/reference/chat-stream: `stream-end` brings the whole answer."""
    last = lines(text)[-1]
    return {"finish_reason": last["finish_reason"], **last["response"]}


def ollama(text: str) -> Json:
    """https://docs.ollama.com/api/chat: pieces of a message, the counts with the last."""
    answer: Json = {}
    message: Json = {}
    for event in lines(text):
        piece = event.pop("message", None) or {}
        answer.update(event)
        message.setdefault("role", piece.get("role", "assistant"))
        for name in ("content", "thinking"):
            if piece.get(name):
                message[name] = message.get(name, "") + piece[name]
        if piece.get("tool_calls"):
            message.setdefault("tool_calls", []).extend(piece["tool_calls"])
    return answer | {"message": message}


def generated(text: str) -> list[Json]:
    """https://huggingface.github.io/text-generation-inference: what was generated, token by token, and the
    details with the last. (`generated_text` there may begin with the prompt: `return_full_text`.)"""
    events = sse_events(text)
    whole = "".join(event["token"]["text"] for event in events if not event["token"]["special"])
    assert events[-1]["generated_text"].strip().endswith(whole.strip())
    return [{"generated_text": whole, "details": events[-1].get("details")}]


def completion(raw: bytes) -> Json:
    """https://platform.openai.com/docs/api-reference/chat-streaming: chunks add up to messages by choice, the
    pieces of a tool call by its index (without one, by its id)."""
    answer: Json = {"object": "chat.completion", "choices": []}
    choices: dict[int, Json] = {}
    for chunk in sse_events(raw.decode()):
        answer.update({k: v for k, v in chunk.items() if k not in ("choices", "object") and v is not None})
        for piece in chunk.get("choices") or ():
            known = choices.setdefault(
                piece["index"], {"index": piece["index"], "message": {"role": "assistant", "content": None}}
            )
            if piece.get("finish_reason"):
                known["finish_reason"] = piece["finish_reason"]
            add_delta(known["message"], piece.get("delta") or {})
    return answer | {"choices": [choices[at] for at in sorted(choices)]}


def add_delta(message: Json, delta: Json) -> None:
    for name, piece in delta.items():
        if name == "tool_calls":
            for part in piece or ():
                add_call(message.setdefault("tool_calls", []), part)
        elif name != "role" and isinstance(piece, (str, list)) and piece:
            before = message.get(name)
            if before and type(before) is not type(piece):  # Mistral: a text goes on in parts, or the reverse
                before, piece = parts_of(before), parts_of(piece)
            message[name] = before + piece if before else piece


def parts_of(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def add_call(calls: list[Json], part: Json) -> None:
    at = part.get("index")
    known = next((one for one in calls if at is not None and one["index"] == at), None)
    if known is None or (part.get("id") and known["id"] and part["id"] != known["id"]):
        calls.append({"index": at, "type": "function", **json.loads(json.dumps(part))})
        calls[-1]["function"].setdefault("arguments", "")
        return
    function = part.get("function") or {}
    before = known["function"].get("arguments") or ""
    known["function"]["arguments"] = before + (function.get("arguments") or "")


NATIVE: dict[str, tuple[str, Any, Callable[[Any], Any]]] = {
    "gemini/native-generate": ("gemini", PUBLIC_CHAT, gemini),
    "vertex/native-generate": ("gemini", VERTEX_CHAT, gemini),
    "cohere/native-chat-v2": ("cohere", CHAT_V2, cohere_v2),
    "cohere/native-chat-v1": ("cohere", CHAT_V1, cohere_v1),
    "ollama/native-chat": ("ollama", OLLAMA_CHAT, ollama),
    "huggingface/native-inference": ("huggingface", TEXT_CHAT, generated),
}


def streams(prefix: str) -> list[str]:
    return [e["id"] for e in index() if e["id"].startswith(prefix) and e["stream"] and e["status"] == 200]


def said(answer: Json) -> Json:
    """What a client reads of an answer, whole or added up, but for tool calls' ids, which may be ours."""
    return {
        at: (
            choice["content"],
            choice["reasoning_content"],
            [(call["name"], arguments(call["arguments"])) for call in choice["tool_calls"]],
            choice["extra"].get("refusal"),
            choice["finish_reason"],
        )
        for at, choice in answer["choices"].items()
    }


def arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # cut off by max_tokens


def compare(streamed: list[Any], call: Call, whole: Json, twin: Call) -> None:
    added = assemble(streamed)
    assert said(added) == said(flat(whole))
    if twin.usage.source is UsageSource.REPORTED:
        assert call.usage == twin.usage
    else:
        assert call.usage.source is twin.usage.source
    assert call.finish_reasons == twin.finish_reasons


@pytest.mark.parametrize("prefix", NATIVE)
def test_native_forms(prefix: str) -> None:
    provider, adapter, whole_of = NATIVE[prefix]
    compared = 0
    for recording_id in streams(prefix):
        recording = load_recording(recording_id)
        call, twin = (make_call(provider, recording["model"] or "m", stream=each) for each in (True, False))
        items = read_stream(adapter, call, [wire_bytes(recording)])
        if isinstance(items[-1], ApiError):
            continue  # an error in the stream, or its recording ends early
        whole = adapter.response(whole_of(recording["response"]["body"]), twin)
        compare(items, call, whole, twin)
        compared += 1
    if not compared:
        pytest.skip("no recordings here")


OPENAI_FORM = sorted({recording_id.partition("/")[0] for recording_id in family(stream=True)})


@pytest.mark.parametrize("provider", OPENAI_FORM or ["none"])
def test_openais_form(provider: str) -> None:
    compared = 0
    for recording_id in family(stream=True):
        if not recording_id.startswith(f"{provider}/chat"):
            continue
        recording = load_recording(recording_id)
        call, twin = call_for(recording), call_for(recording)
        twin.stream = False
        raw = stream_bytes(recording)
        items = read_stream(adapter_for(call), call, [raw])
        if isinstance(items[-1], ApiError):
            continue
        native = completion(raw)
        if not any(choice.get("finish_reason") for choice in native["choices"]):
            continue  # a recording that was shortened
        whole = adapter_for(twin).response(native, twin)
        compare(items, call, whole, twin)
        compared += 1
    if not compared:
        pytest.skip("no chats recorded as streams here")
