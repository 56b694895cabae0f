"""generateContent's answers, whole and streamed → OpenAI's. Fixtures are written after the API's reference.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from native_support import assemble, flat, make_call, normalised, read_stream, two_way_splits

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT
from kong_ai_proxy.formats.gemini.grounding import Said
from kong_ai_proxy.formats.json_mode import JSON_TOOL


def part(said: str, **more: Any) -> dict[str, Any]:
    return {"text": said, **more}


def answer(*parts: dict[str, Any], reason: Any = "STOP", **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "gemini-x-1", "responseId": "r1", **more}


def sse(*elements: Any) -> bytes:
    return b"".join(f"data: {json.dumps(one)}\r\n\r\n".encode() for one in elements)


def whole(body: Any, vertex: bool = False) -> tuple[dict[str, Any], Any]:
    call = make_call("gemini", "gemini-x")
    return flat((VERTEX_CHAT if vertex else PUBLIC_CHAT).response(body, call)), call


def streamed(data: bytes, vertex: bool = False) -> tuple[list[Any], Any]:
    call = make_call("gemini", "gemini-x", stream=True)
    return read_stream(VERTEX_CHAT if vertex else PUBLIC_CHAT, call, [data]), call


REASONS = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "LANGUAGE": "content_filter", "OTHER": "stop", "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter", "MALFORMED_FUNCTION_CALL": "stop",
    "IMAGE_SAFETY": "content_filter", "MODEL_ARMOR": "content_filter", "SOMETHING_NEW": "stop",
    "UNEXPECTED_TOOL_CALL": "stop", "TOO_MANY_TOOL_CALLS": "stop", "IMAGE_RECITATION": "content_filter",
}  # fmt: skip


@pytest.mark.parametrize(("reason", "expected"), REASONS.items())
def test_finish_reasons(reason: str, expected: str) -> None:
    choice = whole(answer(part("a"), reason=reason))[0]["choices"][0]
    assert choice["finish_reason"] == expected
    items, call = streamed(sse(answer(part("a"), reason=reason)))
    assert assemble(items)["choices"][0]["finish_reason"] == expected
    assert call.finish_reasons == [expected]
    if reason not in ("STOP", "MAX_TOKENS"):
        assert choice["extra"]["provider_specific_fields"]["finishReason"] == reason


@pytest.mark.parametrize(
    ("number", "vertex", "expected"),
    [
        (1, False, "stop"), (2, True, "length"), (3, False, "content_filter"), (6, False, "content_filter"),
        (9, True, "stop"), (9, False, "content_filter"), (10, False, "stop"), (10, True, "content_filter"),
        (12, False, "stop"), (99, False, "stop"), (-1, False, "stop"), (2.0, False, "length"),
        ([], False, "stop"),
    ],
)  # fmt: skip
def test_finish_reasons_as_numbers(number: Any, vertex: bool, expected: str) -> None:
    """`enum-encoding=int`; the two APIs number them differently from 6 on."""
    assert whole(answer(part("a"), reason=number), vertex)[0]["choices"][0]["finish_reason"] == expected


def test_parts_of_all_kinds() -> None:
    body = answer(
        part("Let me think. ", thought=True),
        part("Hello "),
        {"executableCode": {"language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
        {"inlineData": {"mimeType": "image/png", "data": "QQ=="}, "thoughtSignature": "imgsig"},
        part("world", thoughtSignature="textsig"),
        {"functionCall": {"name": "f", "args": {"a": [1]}}, "thoughtSignature": "callsig"},
        {"functionCall": {"name": "g", "id": "own"}},
    )
    found, _ = whole(body)
    items, _ = streamed(sse(body))
    choice = found["choices"][0]
    assert choice["content"] == "Hello world"
    assert choice["reasoning_content"] == "Let me think. "
    assert choice["finish_reason"] == "tool_calls"
    first, second = choice["tool_calls"]
    assert first["id"].startswith("call_")
    assert first["arguments"] == '{"a":[1]}'
    assert first["extra_content"] == {"google": {"thought_signature": "callsig"}}
    assert second == {"id": "own", "name": "g", "arguments": "{}"}
    extra = choice["extra"]
    assert extra["extra_content"] == {"google": {"thought_signature": "textsig"}}
    assert extra["images"][0]["image_url"] == {"url": "data:image/png;base64,QQ=="}
    assert [sorted(one) for one in extra["provider_specific_fields"]["parts"]] == [
        ["executableCode"], ["codeExecutionResult"],
    ]  # fmt: skip
    again = assemble(items)["choices"][0]
    for key in ("content", "reasoning_content", "finish_reason", "extra"):
        assert again[key] == choice[key]


def test_tool_loop_gives_back_all_it_was_given() -> None:
    """Signatures and code parts survive the way to the client and back, byte for byte."""
    parts: list[dict[str, Any]] = [
        {"executableCode": {"language": "PYTHON", "code": "1+1"}, "thoughtSignature": "A/+="},
        part("Hi", thoughtSignature="B/+="),
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": "C/+="},
        {"functionCall": {"name": "f", "args": {"a": 2}, "id": "c2"}},
    ]
    call = make_call("gemini", "gemini-3-pro-preview")
    message = PUBLIC_CHAT.response(answer(*parts), call)["choices"][0]["message"]
    history = [{"role": "user", "content": "Go"}, json.loads(json.dumps(message))]
    sent: Any = PUBLIC_CHAT.request({"messages": history}, call)
    assert sent["contents"][1] == {"role": "model", "parts": parts}
    assert call.dropped == []


def test_emulated_json_answer_is_text() -> None:
    body = answer({"functionCall": {"name": JSON_TOOL, "args": {"city": "Bern"}}, "thoughtSignature": "S"})
    for found in (whole(body)[0], assemble(streamed(sse(body))[0])):
        choice = found["choices"][0]
        assert (choice["content"], choice["finish_reason"]) == ('{"city":"Bern"}', "stop")
        assert choice["tool_calls"] == []
        assert choice["extra"]["extra_content"]["google"]["thought_signature"] == "S"


def test_signature_alone_at_the_end_of_a_stream() -> None:
    """Recorded: generation 3 signs an empty text in the last event."""
    items, _ = streamed(
        sse(answer(part("Hi"), reason=None), answer(part("", thoughtSignature="S"), reason="STOP"))
    )
    choice = assemble(items)["choices"][0]
    assert choice["extra"]["extra_content"] == {"google": {"thought_signature": "S"}}


def test_usage_is_a_running_total() -> None:
    """Kong's bug 3.15.0.4: totals were summed, and an event without usage set them to zero."""
    first = {
        "promptTokenCount": 5,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 35,
        "serviceTier": "standard",
    }
    last = {
        "promptTokenCount": 5,
        "candidatesTokenCount": 7,
        "toolUsePromptTokenCount": 2,
        "totalTokenCount": 44,
    }
    items, call = streamed(
        sse(
            answer(part("a"), reason=None, usageMetadata=first),
            answer(part("b"), reason=None),
            answer(part("c"), reason=None, usageMetadata=last),
            answer(part("d"), usageMetadata={"trafficType": "ON_DEMAND"}),
        )
    )
    usage = assemble(items)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 37, 44)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 30}
    assert items[-1]["choices"] == [] and items[-1]["usage"] == usage
    assert call.usage.service_tier == "standard"


def test_usage_by_modality() -> None:
    metadata = {
        "promptTokenCount": 10,
        "candidatesTokenCount": 3,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 13,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 2}, {"modality": "AUDIO", "tokenCount": 5}, {"modality": 2,
            "tokenCount": 3},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}],
    }  # fmt: skip
    _, call = whole(answer(part("x"), usageMetadata=metadata))
    usage = call.usage
    assert (usage.text_prompt_tokens, usage.audio_prompt_tokens, usage.image_prompt_tokens) == (2, 5, 3)
    assert (usage.cached_tokens, usage.image_completion_tokens) == (4, 3)


def test_blocked_prompt() -> None:
    """Kong's bug 3.9: a failed content safety check was an error."""
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "No."}
    body = {"promptFeedback": feedback, "modelVersion": "m", "usageMetadata": {"trafficType": "ON_DEMAND"}}
    found, call = whole(body)
    items, _ = streamed(sse(body))
    for choices in (found["choices"], assemble(items)["choices"]):
        assert choices[0]["finish_reason"] == "content_filter"
        assert choices[0]["content"] == ""
        assert choices[0]["extra"]["refusal"] == "No."
        assert choices[0]["extra"]["provider_specific_fields"] == {"promptFeedback": feedback}
    assert call.usage.source is UsageSource.NONE


@pytest.mark.parametrize(
    "candidate",
    [
        {"finishReason": "STOP"}, {"finishReason": "STOP", "content": None}, {"finishReason": "STOP",
        "content": {}}, {"finishReason": "STOP", "content": {"parts": None}}, {"finishReason": "STOP",
        "content": {"parts": [None, 3, {}]}}, {"finishReason": "STOP", "content": {"parts": [{"text": None},
        {"functionCall": None}]}},
    ],
)  # fmt: skip
def test_candidates_without_content(candidate: dict[str, Any]) -> None:
    body = {"candidates": [candidate], "modelVersion": "m"}
    assert whole(body)[0]["choices"][0]["content"] == ""
    assert assemble(streamed(sse(body))[0])["choices"][0]["finish_reason"] == "stop"


def test_several_candidates() -> None:
    def one(index: int, said: str, reason: str | None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": index, "content": {"parts": [part(said)]}}
        return {**candidate, "finishReason": reason} if reason else candidate

    items, call = streamed(
        sse(
            {"candidates": [one(0, "a", None), one(1, "x", None)]},
            {"candidates": [one(1, "y", "MAX_TOKENS")]},
            {"candidates": [one(0, "b", "STOP")]},
        )
    )
    choices = assemble(items)["choices"]
    assert (choices[0]["content"], choices[0]["finish_reason"]) == ("ab", "stop")
    assert (choices[1]["content"], choices[1]["finish_reason"]) == ("xy", "length")
    assert call.finish_reasons == ["stop", "length"]
    items, _ = streamed(sse({"candidates": [one(0, "a", "STOP"), one(1, "x", None)]}))
    assert isinstance(items[-1], ApiError), "one of the two has not ended"


def test_grounding_counts_bytes() -> None:
    said = "Zürich – ok"
    end = len("Zürich".encode())
    metadata = {
        "groundingChunks": [{"web": {"uri": "https://e.test/", "title": "E"}}, {"retrievedContext": {"text":
        "no URL"}}], "groundingSupports": [ {"segment": {"endIndex": end}, "groundingChunkIndices": [0, 1, 7,
        None]}, {"segment": None, "groundingChunkIndices": [0]}, ],
    }  # fmt: skip
    body = answer(part(said))
    body["candidates"][0]["groundingMetadata"] = metadata
    body["candidates"][0]["citationMetadata"] = {
        "citationSources": [{"uri": "https://c.test/", "startIndex": 2}]
    }
    extra = whole(body)[0]["choices"][0]["extra"]
    first = extra["annotations"][0]["url_citation"]
    assert first == {"url": "https://e.test/", "title": "E", "start_index": 0, "end_index": len("Zürich")}
    assert extra["annotations"][-1]["url_citation"]["url"] == "https://c.test/"
    assert len(extra["annotations"]) == 3
    assert extra["provider_specific_fields"]["groundingMetadata"] == metadata


def test_positions_over_pieces() -> None:
    pieces = ["plain ", "text ", "é", "🙂 plain ", "ü"]
    whole_text = "".join(pieces)
    said = Said()
    for piece in pieces:
        said.add(piece)
    for at in range(len(whole_text) + 1):
        assert said.character(len(whole_text[:at].encode())) == at


def test_logprobs() -> None:
    body = answer(part("Hi"))
    body["candidates"][0]["logprobsResult"] = {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "é", "logProbability": None}],
        "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}]}],
    }
    call = make_call("gemini", "m")
    content = PUBLIC_CHAT.response(body, call)["choices"][0]["logprobs"]["content"]
    assert content[0]["top_logprobs"] == [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}]
    assert content[1] == {"token": "é", "logprob": 0.0, "bytes": [195, 169], "top_logprobs": []}
    chunk = streamed(sse(body))[0][0]
    assert chunk["choices"][0]["logprobs"]["content"] == content


def test_audio() -> None:
    body = answer({"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "QUI="}})
    audio = whole(body)[0]["choices"][0]["extra"]["audio"]
    assert audio["data"] == "QUI="
    assert audio["expires_at"]


@pytest.mark.parametrize("body", [{}, {"hello": 1}, [], None, "x", {"error": {"message": "m"}}])
def test_what_is_no_answer(body: Any) -> None:
    with pytest.raises(ApiError) as caught:
        PUBLIC_CHAT.response(body, make_call("gemini", "m"))
    assert caught.value.status == 502


# Streams.


def test_first_text_comes_with_its_bytes() -> None:
    decoder = PUBLIC_CHAT.stream(make_call("gemini", "m", stream=True))
    items = decoder.feed(sse(answer(part("a"), reason=None)))
    assert [item["choices"][0]["delta"] for item in items] == [{"role": "assistant", "content": "a"}]


def test_json_array_stream_however_split() -> None:
    """Without `alt=sse`; brackets, quotes and backslashes inside of strings."""
    elements = [answer(part('[{"\\ é 🙂 ]}'), reason=None), answer(part('"\\\\"'), reason="STOP")]
    data = json.dumps(elements, indent=1, ensure_ascii=False).encode()
    expected = normalised(streamed(data)[0])
    assert assemble(streamed(data)[0])["choices"][0]["content"] == '[{"\\ é 🙂 ]}"\\\\"'
    for pieces in [[data[at : at + 1] for at in range(len(data))], *two_way_splits(data)]:
        call = make_call("gemini", "gemini-x", stream=True)
        assert normalised(read_stream(PUBLIC_CHAT, call, pieces)) == expected


@pytest.mark.parametrize("array", [False, True])
def test_error_in_a_stream(array: bool) -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    elements = [answer(part("a"), reason=None), error, answer(part("b"))]
    items, _ = streamed(json.dumps(elements).encode() if array else sse(*elements))
    assert items[0]["choices"][0]["delta"]["content"] == "a"
    assert len(items) == 2, "nothing follows an error"
    assert (items[1].status, items[1].code) == (503, "UNAVAILABLE")


@pytest.mark.parametrize(
    "data", [b"", b"data: {}\n\n", b"data: {broken\n\n", b"[", b"[]", b": hello\n\n", b"<html>"]
)
def test_streams_that_say_nothing(data: bytes) -> None:
    items, _ = streamed(data)
    assert isinstance(items[-1], ApiError)
    assert items[-1].status == 502


def test_parts_after_the_finish_reason() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    items, _ = streamed(sse(answer(part("a"), reason="STOP"), answer(call, reason="STOP")))
    choice = assemble(items)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert len(choice["tool_calls"]) == 1


def test_tool_call_indexes_are_dense_over_events() -> None:
    calls = [{"functionCall": {"name": name, "args": {}}} for name in "abc"]
    items, _ = streamed(sse(answer(calls[0], calls[1], reason=None), answer(part("x"), calls[2])))
    assert [one["name"] for one in assemble(items)["choices"][0]["tool_calls"]] == ["a", "b", "c"]


# Errors.


def test_error_details() -> None:
    body = {
        "error": {
            "code": 429,
            "message": "Quota exceeded.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.2s"},
                {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            ],
        }
    }
    for data in (body, [body]):
        call = make_call("gemini", "m")
        error = PUBLIC_CHAT.error(429, {"x-other": "1"}, json.dumps(data).encode(), call)
        assert (error.status, error.code, error.type) == (429, "RESOURCE_EXHAUSTED", "rate_limit_error")
        assert error.headers == {"retry-after": "8"}
    error = PUBLIC_CHAT.error(429, {"retry-after": "3"}, json.dumps(body).encode(), make_call("gemini", "m"))
    assert error.headers == {"retry-after": "3"}


def test_bad_key_is_about_authentication() -> None:
    details = [{"reason": "API_KEY_INVALID"}]
    body = {
        "error": {
            "code": 400,
            "message": "API key not valid.",
            "status": "INVALID_ARGUMENT",
            "details": details,
        }
    }
    error = PUBLIC_CHAT.error(400, {}, json.dumps(body).encode(), make_call("gemini", "m"))
    assert (error.status, error.type, error.code) == (400, "authentication_error", "API_KEY_INVALID")


def test_keys_are_not_repeated() -> None:
    key = "AIza" + "x" * 35
    body = {"error": {"code": 403, "message": f"Consumer 'api_key:{key}' has been suspended; {key}"}}
    error = PUBLIC_CHAT.error(403, {}, json.dumps(body).encode(), make_call("gemini", "m"))
    assert key not in error.message
    assert "suspended" in error.message


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"null", b"[]", b'{"error":null}', b'{"error":3}']
)
def test_errors_of_no_form(body: bytes) -> None:
    error = PUBLIC_CHAT.error(502, {}, body, make_call("gemini", "m"))
    assert error.status == 502
    assert "502" in error.message
