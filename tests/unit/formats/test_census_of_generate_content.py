"""generateContent: each member, part and value that Google's SDK knows of in answers has its treatment here,
and is treated so, whole and as a stream.

An upgrade of the SDK that brings new ones fails `test_nothing_is_unheard_of`: look at what reads such an
answer, then enter it here.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest
from census_support import fields
from google.genai import types
from native_support import assemble, flat, make_call, normalised, read_stream, two_way_splits

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats import client_format
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT
from kong_ai_proxy.formats.gemini.observer import PUBLIC_OBSERVER
from kong_ai_proxy.formats.gemini.response import _FINISH_REASONS

Json = dict[str, Any]

RESPONSE: Final = {
    "candidates": "choices",
    "createTime": "created",
    "modelVersion": "model",
    "promptFeedback": "the refusal of an answer without candidates",
    "responseId": "id",
    "usageMetadata": "usage",
    "modelStatus": "not told: when a model will be retired",
    **dict.fromkeys(("sdkHttpResponse", "automaticFunctionCallingHistory", "parsed"), "the SDK's own"),
}
CANDIDATE: Final = {
    "content": "message",
    "finishReason": "finish_reason",
    "index": "index",
    "logprobsResult": "logprobs",
    "safetyRatings": "own, where they blocked",
    "tokenCount": "not told: in usageMetadata",
    **dict.fromkeys(
        (
            "citationMetadata", "groundingMetadata", "urlContextMetadata", "finishMessage", "avgLogprobs",
            "continuationToken",
        ),
        "own",
    ),
}  # fmt: skip
PART: Final = {
    "text": "content",
    "thought": "reasoning",
    "thoughtSignature": "extra_content",
    "functionCall": "call",
    "inlineData": "images, audio; kept where it is another type, or a thought",
    "audioTranscription": "the transcript of the part's sound",
    **dict.fromkeys(
        (
            "executableCode", "codeExecutionResult", "fileData", "functionResponse", "toolCall",
            "toolResponse",
        ),
        "kept",
    ),
    **dict.fromkeys(
        (
            "mediaResolution", "videoMetadata", "partMetadata", "mediaProcessing", "speechMetadata",
            "documentMetadata", "spreadsheetMetadata", "audioMetadata",
        ),
        "about another member",
    ),
}  # fmt: skip
FUNCTION_CALL: Final = {
    "id": "id", "name": "name", "args": "arguments", "partialArgs": "arguments", "willContinue": "a piece",
}  # fmt: skip
PARTIAL_ARG: Final = {
    **dict.fromkeys(("boolValue", "nullValue", "numberValue", "stringValue"), "a value"),
    "jsonPath": "its place",
    "willContinue": "-",
}
USAGE: Final = {
    "promptTokenCount": "prompt",
    "toolUsePromptTokenCount": "prompt",
    "candidatesTokenCount": "completion",
    "thoughtsTokenCount": "completion, reasoning",
    "cachedContentTokenCount": "cached",
    "totalTokenCount": "total",
    "promptTokensDetails": "by modality",
    "toolUsePromptTokensDetails": "by modality",
    "candidatesTokensDetails": "by modality",
    "cacheTokensDetails": "not told",
    "trafficType": "tier",
}
GROUNDING: Final = {
    "web": "annotations",
    "maps": "annotations",
    "retrievedContext": "annotations",
    "image": "own",
}
MODALITIES: Final = {"MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"}
BLOCKED: Final = (
    "BLOCKED_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY",
    "MODEL_ARMOR", "JAILBREAK",
)  # fmt: skip
TRAFFIC: Final = {
    "TRAFFIC_TYPE_UNSPECIFIED", "ON_DEMAND", "ON_DEMAND_PRIORITY", "ON_DEMAND_FLEX", "ON_DEMAND_OFFPEAK",
    "PROVISIONED_THROUGHPUT",
}  # fmt: skip


def test_nothing_is_unheard_of() -> None:
    for cls, table in (
        (types.GenerateContentResponse, RESPONSE),
        (types.Candidate, CANDIDATE),
        (types.Part, PART),
        (types.FunctionCall, FUNCTION_CALL),
        (types.PartialArg, PARTIAL_ARG),
        (types.GenerateContentResponseUsageMetadata, USAGE),
        (types.GroundingChunk, GROUNDING),
    ):
        # Older releases have fewer.
        assert fields(cls).keys() <= table.keys(), cls.__name__
    for enum, values in (
        (types.FinishReason, _FINISH_REASONS),
        (types.BlockedReason, BLOCKED),
        (types.MediaModality, MODALITIES),
        (types.TrafficType, TRAFFIC),
    ):
        assert {one.value for one in enum} <= set(values), enum.__name__


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


USED: Final = {
    "promptTokenCount": 5,
    "toolUsePromptTokenCount": 7,
    "candidatesTokenCount": 11,
    "thoughtsTokenCount": 13,
    "cachedContentTokenCount": 3,
    "totalTokenCount": 36,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}, {"modality": "IMAGE", "tokenCount": 3}],
    "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
    "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 11}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
    "trafficType": "ON_DEMAND_PRIORITY",
}
SOUND: Final = {"mimeType": "audio/L16;rate=24000", "data": b64(b"sound")}
PARTS: Final[dict[str, Json]] = {
    "text": {"text": "Said é🙂.", "thoughtSignature": "dGV4dA=="},
    "thought": {"text": "Hm é.", "thought": True},
    "functionCall": {"functionCall": {"id": "id_call", "name": "look", "args": {"q": "é", "n": [1, None]}},
                     "thoughtSignature": "Y2FsbA=="},
    "image": {"inlineData": {"mimeType": "image/png", "data": b64(b"pixels")}},
    "audio": {"inlineData": SOUND, "audioTranscription": {"text": "heard"}},
    "signature": {"thoughtSignature": "YWxvbmU="},
    "no call": {"functionCall": {}},
    "thought image": {"inlineData": {"mimeType": "image/png", "data": "QQ=="}, "thought": True},
    "other data": {"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}},
    "unknown": {"news": {"x": 1}},
    **{name: {name: {"x": 1}} for name, how in PART.items() if how == "kept"},
}  # fmt: skip
TRANSLATED: Final = ("text", "thought", "functionCall", "image", "audio", "signature", "no call")


def answer_of(*parts: Json, reason: str | None = "STOP", used: Any = None, **more: Any) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    if reason is not None:
        candidate["finishReason"] = reason
    answer: Json = {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r1"}
    return answer | {"usageMetadata": USED if used is None else used}


def elements_of(*parts: Json, reason: str = "STOP", **more: Any) -> list[Json]:
    """A stream with a part in each element."""
    elements = [answer_of(part, reason=None, used={"promptTokenCount": 5}) for part in parts]
    return [*elements, answer_of({"text": ""}, reason=reason, **more)]


def sse(elements: list[Json], end: bytes = b"\r\n") -> bytes:
    return b"".join(b"data: %s%s%s" % (dumped(one), end, end) for one in elements)


def array(elements: list[Json], between: bytes = b",\r\n") -> bytes:
    return b"[" + between.join(map(dumped, elements)) + b"]"


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def call() -> Any:
    return make_call("gemini", "gemini-x", stream=True, include_usage=True)


def audio_id(answer: Json) -> None:
    """Leave out what differs from run to run, and what a stream does not say."""
    for choice in answer["choices"].values():
        for name in ("id", "expires_at"):
            choice["extra"].get("audio", {}).pop(name, None)


@pytest.mark.parametrize("name", PARTS)
def test_parts(name: str) -> None:
    parts = [{"text": "Before. "}, PARTS[name], {"text": " After."}]
    made = call()
    whole = PUBLIC_CHAT.response(answer_of(*parts), made)
    said = whole["choices"][0]["message"]
    middle = PARTS[name]["text"] if name == "text" else ""
    assert said["content"] == f"Before. {middle} After."
    assert said.get("reasoning_content", "") == ("Hm é." if name == "thought" else "")
    assert bool(said.get("tool_calls")) is (name == "functionCall")
    assert bool(said.get("images")) is (name == "image")
    assert bool(said.get("audio")) is (name == "audio")
    kept = said.get("provider_specific_fields", {}).get("parts", [])
    assert kept == ([] if name in TRANSLATED else [PARTS[name]])
    if name in ("text", "signature"):
        signature = PARTS[name]["thoughtSignature"]
        assert said["extra_content"] == {"google": {"thought_signature": signature}}
    if name == "audio":
        assert said["audio"] | {"id": ""} == {
            "id": "", "data": SOUND["data"], "transcript": "heard", "expires_at": made.created,
        }  # fmt: skip
    assert whole["choices"][0]["finish_reason"] == ("tool_calls" if name == "functionCall" else "stop")
    expected = flat(whole)
    audio_id(expected)
    for data in (sse(elements_of(*parts)), array(elements_of(*parts)), sse(elements_of(*parts), b"\n")):
        for split in two_way_splits(data, most=10):
            twin = call()
            found = assemble(read_stream(PUBLIC_CHAT, twin, split))
            audio_id(found)
            assert found == expected
            assert (twin.usage, twin.finish_reasons) == (made.usage, made.finish_reasons)


EVERYTHING: Final = list(PARTS.values())


@pytest.mark.parametrize("name", ["openai", "responses", "anthropic", "bedrock", "gemini"])
def test_every_client_format_has_all_that_it_can_say(name: str) -> None:
    client, made, twin = client_format(name), call(), call()
    answer = PUBLIC_CHAT.response(answer_of(*EVERYTHING), made)
    whole = json.dumps(client.response(answer, made), ensure_ascii=False)
    encoder = client.stream(twin)
    items = read_stream(PUBLIC_CHAT, twin, [sse(elements_of(*EVERYTHING))])
    out = b"".join(map(encoder.encode, items)) + encoder.finish()
    for words in ("Said é🙂.", "Hm é.", "id_call", "look"):
        assert words in whole
        assert words.encode() in out
    if name in ("openai", "bedrock", "gemini"):
        pixels = PARTS["image"]["inlineData"]["data"]
        assert pixels in whole and pixels.encode() in out


def test_a_sound_in_pieces_is_one() -> None:
    pieces = [{"inlineData": {**SOUND, "data": b64(raw)}} for raw in (b"so", b"u", b"nd")]
    said = PUBLIC_CHAT.response(answer_of(*pieces), call())["choices"][0]["message"]
    assert said["audio"]["data"] == SOUND["data"]
    items = read_stream(PUBLIC_CHAT, call(), [sse(elements_of(*pieces))])
    sounds = [
        choice["delta"]["audio"] for item in items for choice in item["choices"] if "audio" in choice["delta"]
    ]
    assert b"".join(base64.b64decode(one["data"]) for one in sounds) == b"sound"
    assert len({one["id"] for one in sounds}) == 1


# ---- members of a candidate


def test_members_without_a_place_go_along() -> None:
    own = {name: {"x": [name]} for name, how in CANDIDATE.items() if how == "own"}
    own["safetyRatings"] = [{"category": "HARM_CATEGORY_JAILBREAK", "blocked": True}]
    said = PUBLIC_CHAT.response(answer_of({"text": "a"}, **own), call())["choices"][0]["message"]
    assert said["provider_specific_fields"] == own
    elements = [answer_of({"text": "a"}, reason=None, **own), answer_of(groundingMetadata={})]
    last = read_stream(PUBLIC_CHAT, call(), [sse(elements)])[-2]["choices"][0]["delta"]
    assert last["provider_specific_fields"] == own


def test_citations_piece_by_piece() -> None:
    sources = [{"uri": f"https://example.com/{n}", "startIndex": 0, "endIndex": 1} for n in range(3)]
    told = ([sources[0]], sources[:2], [sources[2]])
    elements = [
        answer_of({"text": "a"}, reason=None, citationMetadata={"citationSources": one}) for one in told
    ]
    last = read_stream(PUBLIC_CHAT, call(), [sse([*elements, answer_of()])])[-2]["choices"][0]["delta"]
    assert [one["url_citation"]["url"] for one in last["annotations"]] == [one["uri"] for one in sources]


@pytest.mark.parametrize("reason", [*_FINISH_REASONS, "NEWS"])
def test_finish_reasons(reason: str) -> None:
    expected = _FINISH_REASONS.get(reason, "stop")
    choice = PUBLIC_CHAT.response(answer_of({"text": "a"}, reason=reason), call())["choices"][0]
    assert choice["finish_reason"] == expected
    if reason not in ("STOP", "MAX_TOKENS"):
        assert choice["message"]["provider_specific_fields"]["finishReason"] == reason
    items = read_stream(PUBLIC_CHAT, call(), [sse(elements_of({"text": "a"}, reason=reason))])
    assert assemble(items)["choices"][0]["finish_reason"] == expected


@pytest.mark.parametrize("reason", [*BLOCKED, "NEWS"])
def test_blocked_prompts(reason: str) -> None:
    feedback = {"blockReason": reason, "blockReasonMessage": "why", "safetyRatings": []}
    body = {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}
    made = call()
    whole = PUBLIC_CHAT.response(body, made)
    choice = whole["choices"][0]
    assert (choice["finish_reason"], choice["message"]["refusal"]) == ("content_filter", "why")
    assert choice["message"]["provider_specific_fields"] == {"promptFeedback": feedback}
    for data in (sse([body]), array([body])):
        twin = call()
        found = assemble(read_stream(PUBLIC_CHAT, twin, [data]))["choices"][0]
        assert (found["finish_reason"], found["extra"]["refusal"]) == ("content_filter", "why")
        assert twin.usage == made.usage


@pytest.mark.parametrize("kind", GROUNDING)
def test_grounding_chunks(kind: str) -> None:
    source = {"uri": "https://example.com", "title": "t", "imageUri": "https://example.com/i"}
    support = {"segment": {"startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}
    metadata = {"groundingChunks": [{kind: source}], "groundingSupports": [support]}
    said = PUBLIC_CHAT.response(answer_of({"text": "a"}, groundingMetadata=metadata), call())
    message = said["choices"][0]["message"]
    assert message["provider_specific_fields"]["groundingMetadata"] == metadata
    assert bool(message.get("annotations")) is (GROUNDING[kind] == "annotations")


# ---- usage


def test_usage_members() -> None:
    made = call()
    PUBLIC_CHAT.response(answer_of({"text": "a"}), made)
    used = made.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total) == (12, 24, 36)
    assert (used.cached_tokens, used.reasoning_tokens) == (3, 13)
    assert (used.text_prompt_tokens, used.image_prompt_tokens, used.audio_completion_tokens) == (9, 3, 11)
    assert (used.service_tier, used.source) == ("ON_DEMAND_PRIORITY", UsageSource.REPORTED)


@pytest.mark.parametrize("at", ["first", "last", "every", "null", "grows"])
def test_usage_wherever_it_stands(at: str) -> None:
    smaller = {**USED, "candidatesTokenCount": 1, "totalTokenCount": 26}
    first, middle, last = {
        "first": (USED, {}, {}),
        "last": ({}, {}, USED),
        "every": (USED, USED, USED),
        "null": (USED, dict.fromkeys(USED), {"candidatesTokenCount": None}),
        "grows": ({"promptTokenCount": 5}, smaller, USED),
    }[at]
    elements = [answer_of({"text": "a"}, reason=None, used=one) for one in (first, middle)]
    made = call()
    read_stream(PUBLIC_CHAT, made, [sse([*elements, answer_of(used=last)])])
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total) == (12, 24, 36)


# ---- calls whose arguments are streamed


def pieces_of_a_call() -> list[Json]:
    def piece(*partial: Json, **more: Any) -> Json:
        return {"functionCall": {**({"partialArgs": list(partial)} if partial else {}), **more}}

    return [
        {**piece(id="id_call", name="look", willContinue=True), "thoughtSignature": "c2ln"},
        piece({"jsonPath": "$.q", "stringValue": "l", "willContinue": True}, willContinue=True),
        piece({"jsonPath": "$.q", "stringValue": "l", "willContinue": True}, willContinue=True),
        piece(
            {"jsonPath": "$.q", "stringValue": "é🙂"},
            {"jsonPath": "$.list[1].n", "numberValue": 3.0},
            {"jsonPath": "$.list[0]", "numberValue": 0.5},
            {"jsonPath": "$['a b'][\"c\"]", "boolValue": False},
            willContinue=True,
        ),
        piece({"jsonPath": "$.none", "nullValue": "NULL_VALUE"}, willContinue=True),
        piece({"jsonPath": "$", "stringValue": "x"}, {"jsonPath": "$.list.x", "stringValue": "x"},
              {"jsonPath": "$.list[99999999]", "numberValue": 1}, {"jsonPath": "$[0]", "numberValue": 1},
              {"jsonPath": "$.q.deeper.still", "numberValue": 1}, {}, willContinue=True),
        piece(),
    ]  # fmt: skip


ARGS: Final = {"q": "llé🙂", "list": [0.5, {"n": 3}], "a b": {"c": False}, "none": None}


@pytest.mark.parametrize("ends", ["end", "cut", "next"])
def test_arguments_that_are_streamed(ends: str) -> None:
    pieces = pieces_of_a_call()
    if ends != "end":
        pieces.pop()
    if ends == "next":
        pieces.append({"functionCall": {"name": "other", "args": {"x": 1}}})
    for adapter in (VERTEX_CHAT, PUBLIC_CHAT):
        whole = adapter.response(answer_of(*pieces), call())
        (found, *more) = whole["choices"][0]["message"]["tool_calls"]
        assert (found["id"], found["function"]["name"]) == ("id_call", "look")
        assert json.loads(found["function"]["arguments"]) == ARGS
        assert found["extra_content"] == {"google": {"thought_signature": "c2ln"}}
        assert [one["function"]["name"] for one in more] == (["other"] if ends == "next" else [])
        assert whole["choices"][0]["finish_reason"] == "tool_calls"
        streamed = assemble(read_stream(adapter, call(), [sse(elements_of(*pieces))]))["choices"][0]
        expected = flat(whole)["choices"][0]
        for one in (*streamed["tool_calls"], *expected["tool_calls"]):
            one["id"] = one["id"][:5]
        assert streamed == expected


# ---- framing, and what is odd


PLAIN: Final = elements_of(PARTS["thought"], PARTS["text"], PARTS["functionCall"])
FRAMINGS: Final = {
    "lf": sse(PLAIN, b"\n"),
    "cr": sse(PLAIN, b"\r"),
    "bom": b"\xef\xbb\xbf" + sse(PLAIN),
    "comments": b": hello\n\n" + sse(PLAIN, b"\n").replace(b"\n\n", b"\n\n:\n\n: x\n"),
    "no space": sse(PLAIN).replace(b"data: ", b"data:"),
    "several lines": sse(PLAIN, b"\n").replace(b', "', b',\ndata: "'),
    "names and ids": sse(PLAIN, b"\n").replace(b"data: ", b"event: message\nid: 7\ndata: "),
    "empty data": sse(PLAIN, b"\n").replace(b"\n\n", b"\n\ndata:\n\nevent: ping\n\n"),
    "no last line": sse(PLAIN, b"\n").rstrip(b"\n"),
    "done": sse(PLAIN) + b"data: [DONE]\n\n",
    "nulls": sse([{**one, "promptFeedback": None, "news": None} for one in PLAIN]),
    "empty elements": sse([new for one in PLAIN for new in (one, {}, {"candidates": []}, {"news": 1})]),
    "array": array(PLAIN),
    "array on one line": array(PLAIN, b","),
    "array with escapes": b"[" + b",".join(json.dumps(one).encode() for one in PLAIN) + b"]",
    "indented array": json.dumps(PLAIN, indent=2).encode(),
    "array with a bom": b"\xef\xbb\xbf" + array(PLAIN),
    "objects without array": array(PLAIN, b"\n")[1:-1],
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMINGS)
def test_framings(name: str) -> None:
    data, made = FRAMINGS[name], call()
    expected = assemble(read_stream(PUBLIC_CHAT, made, [sse(PLAIN)]))
    assert expected["choices"][0]["tool_calls"]
    splits = two_way_splits(data, most=40)
    # In the middle of a character and of an escape, too.
    splits += [(data[:at], data[at:]) for mark in (b"\xc3", b"\xf0", b"\\u") for at in (data.find(mark) + 1,)]
    for split in [(data,), *splits]:
        twin = call()
        assert assemble(read_stream(PUBLIC_CHAT, twin, split)) == expected
        assert twin.usage == made.usage


@pytest.mark.parametrize("as_array", [True, False])
def test_the_observer_reads_the_same(as_array: bool) -> None:
    made, passed = call(), call()
    read_stream(PUBLIC_CHAT, made, [sse(PLAIN)])
    observer = PUBLIC_OBSERVER.array(passed) if as_array else PUBLIC_OBSERVER.stream(passed)
    data = array(PLAIN) if as_array else sse(PLAIN)
    assert observer.feed(data[:200]) + observer.feed(data[200:]) + observer.finish() == data
    assert observer.complete
    assert (passed.usage, passed.finish_reasons) == (made.usage, made.finish_reasons)


def test_candidates_side_by_side_and_without_number() -> None:
    def piece(words: str, **more: Any) -> Json:
        return {"content": {"parts": [{"text": words}]}, **more}

    elements = [
        {"candidates": [piece("a", index=1), piece("b")]},  # 0 is left out where numbers are written as such
        {
            "candidates": [
                piece("c", index=0, finishReason="STOP"),
                piece("d", index=1, finishReason="SAFETY"),
            ]
        },
    ]
    elements[0]["candidates"].reverse()
    choices = assemble(read_stream(PUBLIC_CHAT, call(), [sse(elements)]))["choices"]
    assert {index: choice["content"] for index, choice in choices.items()} == {0: "bc", 1: "ad"}
    assert [choices[index]["finish_reason"] for index in (0, 1)] == ["stop", "content_filter"]


def test_errors_with_status_200() -> None:
    error = {"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}
    with pytest.raises(ApiError) as raised:
        PUBLIC_CHAT.response(error, call())
    assert (raised.value.status, raised.value.message) == (429, "no")
    for data in (sse([error]), array([error]), sse([PLAIN[0], error]), array([PLAIN[0], error])):
        items = read_stream(PUBLIC_CHAT, call(), [data])
        assert isinstance(items[-1], ApiError) and items[-1].status == 429


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n"])
def test_an_error_that_stands_bare_in_a_stream_of_events(indent: int | None, end: bytes) -> None:
    error = {"error": {"code": 503, "message": "no {", "status": "UNAVAILABLE"}}
    data = sse(PLAIN[:1]) + json.dumps(error, indent=indent).encode() + end
    for split in two_way_splits(data, most=40):
        items = read_stream(PUBLIC_CHAT, call(), split)
        assert isinstance(items[-1], ApiError)
        assert (items[-1].status, items[-1].message) == (503, "no {")
    passed = call()
    observer = PUBLIC_OBSERVER.stream(passed)
    assert observer.feed(data) + observer.finish() == data
    assert not observer.complete


def test_the_same_whatever_the_split() -> None:
    data = sse(PLAIN)
    expected = normalised(read_stream(PUBLIC_CHAT, call(), [data]))
    assert normalised(read_stream(PUBLIC_CHAT, call(), (bytes((byte,)) for byte in data))) == expected
