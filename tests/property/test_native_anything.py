"""Any chat request goes through the native formats, and any answer comes out of them, or a clean error does.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from fuzz_support import examples
from hypothesis import given, note
from hypothesis import strategies as st
from native_support import make_call, normalised, read_stream
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps
from kong_ai_proxy.formats.cohere import CHAT_V1, CHAT_V2, EMBED_V2
from kong_ai_proxy.formats.cohere import GENERATE as COHERE_GENERATE
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, PUBLIC_EMBEDDINGS, VERTEX_CHAT, VERTEX_EMBEDDINGS
from kong_ai_proxy.formats.huggingface import FEATURE_EXTRACTION, TEXT_CHAT
from kong_ai_proxy.formats.llama2.raw import RAW_CHAT
from kong_ai_proxy.formats.ollama import CHAT as OLLAMA_CHAT
from kong_ai_proxy.formats.ollama import EMBED as OLLAMA_EMBED
from kong_ai_proxy.formats.ollama import GENERATE as OLLAMA_GENERATE

CHATS = {
    "gemini": (PUBLIC_CHAT, "gemini-3-pro"),
    "vertex": (VERTEX_CHAT, "gemini-2.0-flash"),
    "cohere": (CHAT_V2, "command-a-reasoning"),
    "cohere-v1": (CHAT_V1, "command-r"),
    "ollama": (OLLAMA_CHAT, "llama3.2"),
    "huggingface": (TEXT_CHAT, "meta-llama/Llama-3.1-8B"),
    "llama2": (RAW_CHAT, "llama2"),
}

words = st.text(max_size=10)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def sloppy(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is expected, sometimes anything."""
    return st.integers(0, 9).flatmap(lambda number: junk if number == 0 else strategy)


# Requests.

parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": words}),
    st.fixed_dictionaries(
        {
            "type": st.just("image_url"),
            "image_url": st.fixed_dictionaries(
                {"url": st.sampled_from(["data:image/png;base64,QQ==", "https://e.test/a.png", "x"])}
            ),
        }
    ),
    st.fixed_dictionaries({"type": st.just("input_audio"), "input_audio": sloppy(st.just({"data": "QQ=="}))}),
    st.fixed_dictionaries({"type": st.just("file"), "file": sloppy(st.just({"file_data": "QQ=="}))}),
)
tool_calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(["a", "b"]),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": words, "arguments": sloppy(st.just('{"x":1}'))}),
        },
        optional={"extra_content": junk},
    ),
    max_size=2,
)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
        "content": sloppy(words | st.none() | st.lists(parts, max_size=3)),
    },
    optional={
        "tool_calls": sloppy(tool_calls),
        "tool_call_id": st.sampled_from(["a", "b"]),
        "name": words,
        "function_call": sloppy(st.just({"name": "f", "arguments": "{}"})),
        "reasoning_content": sloppy(words),
        "provider_specific_fields": junk,
        "extra_content": junk,
        "refusal": sloppy(words),
        "images": junk,
    },
)
tools = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "type": st.just("function"),
                "function": sloppy(
                    st.fixed_dictionaries(
                        {"name": words}, optional={"parameters": junk, "strict": st.booleans()}
                    )
                ),
            }
        ),
        st.just({"googleSearch": {}}),
        junk,
    ),
    max_size=2,
)
bodies = st.fixed_dictionaries(
    {"messages": sloppy(st.lists(messages, max_size=4))},
    optional={
        "model": words,
        "temperature": sloppy(st.floats(0, 2)),
        "top_p": sloppy(st.floats(0, 1)),
        "max_tokens": sloppy(st.integers(0, 100)),
        "max_completion_tokens": sloppy(st.integers(0, 100)),
        "stop": sloppy(words | st.lists(words, max_size=2)),
        "n": sloppy(st.integers(1, 2)),
        "tools": sloppy(tools),
        "functions": junk,
        "tool_choice": sloppy(st.sampled_from(["auto", "none", "required"])),
        "parallel_tool_calls": st.booleans(),
        "response_format": sloppy(
            st.fixed_dictionaries({"type": st.just("json_schema"), "json_schema": junk})
        ),
        "reasoning_effort": sloppy(st.sampled_from(["none", "low", "high"])),
        "thinking": junk,
        "reasoning": junk,
        "modalities": junk,
        "audio": junk,
        "service_tier": junk,
        "web_search_options": junk,
        "extra_body": junk,
        "generationConfig": junk,
        "options": junk,
        "google": junk,
        "logprobs": sloppy(st.booleans()),
        "user": words,
    },
)


@examples(100)
@given(body=bodies)
def test_any_request(body: dict[str, Any]) -> None:
    for name in CHATS:  # making a body takes much longer than trying it
        note(name)
        _requested(name, body)


def _requested(name: str, body: dict[str, Any]) -> None:
    adapter, model = CHATS[name]
    before = json.dumps(body)
    try:
        sent: Any = adapter.request(
            body, make_call(name.partition("-")[0].replace("vertex", "gemini"), model)
        )
        dumps(sent)
    except ApiError as error:
        assert error.status == 400
    assert json.dumps(body) == before, "the client's body must stay as it is"


# Answers.

GEMINI = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "t", "thought": True},
                    {"text": "a", "thoughtSignature": "s"},
                    {"functionCall": {"name": "f", "args": {"a": 1}, "id": "i"}},
                    {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
            "groundingMetadata": {
                "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
                "groundingSupports": [
                    {"segment": {"startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}
                ],
            },
            "citationMetadata": {"citations": [{"uri": "u", "endIndex": 1}]},
            "logprobsResult": {
                "chosenCandidates": [{"token": "a", "logProbability": -1}],
                "topCandidates": [{"candidates": [{"token": "a", "logProbability": -1}]}],
            },
            "safetyRatings": [{"category": "c", "blocked": True}],
        }
    ],
    "promptFeedback": {"blockReason": None},
    "usageMetadata": {
        "promptTokenCount": 1,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 6,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}],
        "trafficType": 1,
    },
    "modelVersion": "m",
    "responseId": "r",
    "createTime": "2025-01-01T00:00:00.1Z",
}
COHERE = {
    "id": "i",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}],
        "tool_plan": "p",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "citations": [{"start": 0, "end": 1, "sources": [{"type": "document", "document": {"url": "u"}}]}],
    },
    "finish_reason": "TOOL_CALL",
    "usage": {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"reasoning_tokens": 1}},
}
COHERE_V1 = {
    "text": "a",
    "generation_id": "g",
    "tool_calls": [{"name": "f", "parameters": {"a": 1}}],
    "finish_reason": "COMPLETE",
    "citations": [{}],
    "meta": {"billed_units": {"input_tokens": 1, "output_tokens": 1}},
}
OLLAMA = {
    "model": "m",
    "created_at": "2025-01-01T00:00:00Z",
    "message": {
        "role": "assistant",
        "content": "a",
        "thinking": "t",
        "tool_calls": [{"id": "i", "function": {"name": "f", "arguments": {"a": 1}}}],
    },
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 1,
    "eval_count": 2,
    "logprobs": [{"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": []}],
}
HUGGINGFACE = [
    {"generated_text": "a", "details": {"finish_reason": "length", "generated_tokens": 1, "prefill": []}}
]

ANSWERS: dict[str, Any] = {
    "gemini": GEMINI,
    "vertex": GEMINI,
    "cohere": COHERE,
    "cohere-v1": COHERE_V1,
    "ollama": OLLAMA,
    "huggingface": HUGGINGFACE,
    "llama2": {"data": HUGGINGFACE},
}

STREAMS: dict[str, list[Any]] = {
    "gemini": [GEMINI, GEMINI],
    "vertex": [GEMINI],
    "cohere": [
        {"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "a"}}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "p"}}},
        {
            "type": "tool-call-start",
            "index": 0,
            "delta": {"message": {"tool_calls": {"id": "c", "function": {"name": "f", "arguments": ""}}}},
        },
        {
            "type": "tool-call-delta",
            "index": 0,
            "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}},
        },
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE["usage"]}},
    ],
    "cohere-v1": [
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "text-generation", "text": "a"},
        {"event_type": "tool-calls-generation", "tool_calls": COHERE_V1["tool_calls"]},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": COHERE_V1},
    ],
    "ollama": [{**OLLAMA, "done": False}, OLLAMA],
    "huggingface": [
        {"token": {"text": "a", "special": False}, "generated_text": None, "details": None},
        {
            "token": {"text": "</s>", "special": True},
            "generated_text": "a",
            "details": {"finish_reason": "length"},
        },
    ],
}
LINES = {"cohere-v1", "ollama"}


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with a few members lost, nulled or replaced by anything."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(value))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            holder[key] = draw(junk)
        elif isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = None
    return value


def _places(value: Any) -> Any:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def call_of(name: str, stream: bool = False) -> Any:
    provider = name.partition("-")[0].replace("vertex", "gemini")
    return make_call(provider, CHATS[name][1], stream=stream)


@pytest.mark.parametrize("name", ANSWERS)
@examples(30)
@given(data=st.data())
def test_any_answer(name: str, data: st.DataObject) -> None:
    adapter: Any = CHATS[name][0]
    body = data.draw(mutated(ANSWERS[name]))
    call = call_of(name)
    try:
        answer = adapter.response(body, call)
    except ApiError as error:
        assert error.status == 502
        return
    ChatCompletion.model_validate(json.loads(dumps(answer)))
    assert call.usage.prompt_tokens >= 0 or "usage" in str(body)


@pytest.mark.parametrize("name", STREAMS)
@examples(30)
@given(data=st.data())
def test_any_stream(name: str, data: st.DataObject) -> None:
    adapter: Any = CHATS[name][0]
    frames = [dumps(frame) for frame in data.draw(mutated(STREAMS[name]))]
    if data.draw(st.booleans()):
        frames.insert(data.draw(st.integers(0, len(frames))), data.draw(st.binary(max_size=8)))
    ends = b"\n" if name in LINES else b"\r\n\r\n"
    begins = b"" if name in LINES else b"data: "
    wire = b"".join(begins + frame + ends for frame in frames)
    wire = wire[: data.draw(st.integers(0, len(wire)))] if data.draw(st.booleans()) else wire
    items = read_stream(adapter, call_of(name, stream=True), [wire])
    for position, item in enumerate(items):
        if isinstance(item, ApiError):
            assert position == len(items) - 1, "nothing follows an error"
            assert 400 <= item.status <= 599
            continue
        ChatCompletionChunk.model_validate(json.loads(dumps(item)))
    finished = [item for item in items if not isinstance(item, ApiError) and _finishes(item)]
    assert bool(finished) != isinstance(items[-1], ApiError), (
        "a stream ends well or with an error, never both"
    )
    at = data.draw(st.integers(0, len(wire)))
    again = read_stream(adapter, call_of(name, stream=True), [wire[:at], wire[at:]])
    assert normalised(again) == normalised(items)


def _finishes(chunk: dict[str, Any]) -> bool:
    return any(choice["finish_reason"] for choice in chunk["choices"])


@pytest.mark.parametrize(
    ("adapter", "answer"),
    [
        (PUBLIC_EMBEDDINGS, {"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 1}}),
        (
            VERTEX_EMBEDDINGS,
            {"predictions": [{"embeddings": {"values": [0.1], "statistics": {"token_count": 1}}}]},
        ),
        (
            EMBED_V2,
            {"id": "i", "embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 1}}},
        ),
        (OLLAMA_EMBED, {"model": "m", "embeddings": [[0.1]], "prompt_eval_count": 1}),
        (FEATURE_EXTRACTION, [[0.1]]),
    ],
)
@examples(25)
@given(data=st.data())
def test_any_embeddings(adapter: Any, answer: Any, data: st.DataObject) -> None:
    for given_input in (["a"], data.draw(junk)):
        try:
            adapter.request({"input": given_input, "dimensions": 3}, make_call("gemini", "m", "embeddings"))
        except ApiError as error:
            assert error.status == 400
    try:
        made = adapter.response(data.draw(mutated(answer)), make_call("gemini", "m", "embeddings"))
    except ApiError as error:
        assert error.status == 502
        return
    CreateEmbeddingResponse.model_validate(json.loads(dumps(made)))


@pytest.mark.parametrize(
    ("adapter", "answer"),
    [
        (
            COHERE_GENERATE,
            {"id": "i", "generations": [{"text": "a", "finish_reason": "COMPLETE"}], "meta": {}},
        ),
        (OLLAMA_GENERATE, {"model": "m", "response": "a", "done": True, "done_reason": "length"}),
    ],
)
@examples(25)
@given(data=st.data())
def test_any_completion(adapter: Any, answer: Any, data: st.DataObject) -> None:
    for body in ({"prompt": data.draw(junk)}, data.draw(st.dictionaries(words, junk, max_size=3))):
        try:
            dumps(adapter.request(body, make_call("cohere", "m", "completions")))
        except ApiError as error:
            assert error.status == 400
    try:
        dumps(adapter.response(data.draw(mutated(answer)), make_call("cohere", "m", "completions")))
    except ApiError as error:
        assert error.status == 502


@examples(60)
@given(status=st.sampled_from([300, 400, 429, 500, 503]), body=st.binary(max_size=20) | junk.map(dumps))
def test_any_error(status: int, body: bytes) -> None:
    for name in CHATS:
        note(name)
        _refused(name, status, body)


def _refused(name: str, status: int, body: bytes) -> None:
    adapter: Any = CHATS[name][0]
    error = adapter.error(status, {"retry-after": "1", "set-cookie": "x"}, body, call_of(name))
    assert error.status == status
    assert error.message
    assert "set-cookie" not in error.headers
