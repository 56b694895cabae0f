"""Whatever clients of Gemini's and Bedrock's forms send, and whatever answers they get: no crash, well-formed
output, the same however it is split."""

from __future__ import annotations

from typing import Any

from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st
from native_support import make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps, loads
from kong_ai_proxy.core.native import NativeApi, NativeCall
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.formats.bedrock.client import CLIENT as CONVERSE
from kong_ai_proxy.formats.bedrock.observer import CONVERSE_OBSERVER, INVOKE_OBSERVER
from kong_ai_proxy.formats.cohere.observer import OBSERVER as COHERE_OBSERVER
from kong_ai_proxy.formats.gemini.client import CLIENT as GEMINI
from kong_ai_proxy.formats.gemini.observer import EMBEDDINGS_OBSERVER, PUBLIC_OBSERVER
from kong_ai_proxy.formats.huggingface.observer import OBSERVER as HUGGINGFACE_OBSERVER
from kong_ai_proxy.wire.eventstream import EventStreamDecoder, encode_frame
from kong_ai_proxy.wire.jsonarray import JSONArrayDecoder

words = st.text(max_size=8)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**62) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def sloppy(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 7).flatmap(lambda number: junk if number == 0 else strategy)


def shaped(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: sloppy(value) for name, value in members.items()})


gemini_part = st.one_of(
    shaped(text=words, thought=st.booleans(), thoughtSignature=words),
    shaped(functionCall=shaped(name=words, args=junk, id=words), thought_signature=words),
    shaped(functionResponse=shaped(name=words, response=junk, id=words)),
    shaped(inlineData=shaped(mimeType=st.sampled_from(["image/png", "audio/wav", "x"]), data=words)),
    shaped(fileData=shaped(mimeType=words, fileUri=words), executableCode=junk),
)
gemini_body = shaped(
    contents=st.lists(
        sloppy(shaped(role=st.sampled_from(["user", "model", "x"]), parts=st.lists(sloppy(gemini_part)))),
        max_size=3,
    ),
    systemInstruction=shaped(parts=st.lists(gemini_part, max_size=2)),
    generation_config=shaped(
        temperature=junk, topK=junk, stopSequences=junk, responseSchema=junk, responseJsonSchema=junk,
        responseMimeType=words, thinkingConfig=shaped(thinkingBudget=junk, thinkingLevel=junk),
        responseModalities=junk,
    ),
    tools=st.lists(sloppy(shaped(functionDeclarations=st.lists(shaped(name=words, parameters=junk))))),
    toolConfig=shaped(functionCallingConfig=shaped(mode=words, allowedFunctionNames=junk)),
    safetySettings=junk,
)  # fmt: skip
converse_block = st.one_of(
    shaped(text=words),
    shaped(toolUse=shaped(toolUseId=words, name=words, input=junk)),
    shaped(toolResult=shaped(toolUseId=words, content=st.lists(shaped(text=words, json=junk)), status=words)),
    shaped(image=shaped(format=words, source=shaped(bytes=words))),
    shaped(document=shaped(format=words, name=words, source=shaped(text=words))),
    shaped(reasoningContent=shaped(reasoningText=shaped(text=words, signature=words), redactedContent=words)),
    shaped(cachePoint=junk, guardContent=junk, citationsContent=junk, searchResult=junk),
)
converse_body = shaped(
    messages=st.lists(
        sloppy(shaped(role=st.sampled_from(["user", "assistant"]), content=st.lists(sloppy(converse_block)))),
        max_size=3,
    ),
    system=st.lists(converse_block, max_size=2),
    inferenceConfig=junk,
    toolConfig=shaped(
        tools=st.lists(sloppy(shaped(toolSpec=shaped(name=words, inputSchema=shaped(json=junk))))),
        toolChoice=junk,
    ),
    additionalModelRequestFields=shaped(top_k=junk, thinking=junk, reasoningConfig=junk),
    outputConfig=shaped(textFormat=shaped(type=words, structure=shaped(jsonSchema=shaped(schema=words)))),
    serviceTier=junk,
    requestMetadata=junk,
)
providers = st.sampled_from(
    [("openai", "gpt"), ("anthropic", "claude-x"), ("gemini", "g"), ("bedrock", "nova")]
)


@examples(40)
@given(gemini_body, providers)
def test_gemini_requests(body: Any, target: tuple[str, str]) -> None:
    before = repr(body)
    try:
        made = GEMINI.request(body, make_call(*target))
    except ApiError as error:
        assert error.status == 400
    else:
        assert made["messages"]
        dumps(made)
    assert repr(body) == before


@examples(40)
@given(converse_body, providers)
def test_converse_requests(body: Any, target: tuple[str, str]) -> None:
    before = repr(body)
    try:
        made = CONVERSE.request(body, make_call(*target))
    except ApiError as error:
        assert error.status == 400
    else:
        assert made["messages"]
        dumps(made)
    assert repr(body) == before


tool_call = shaped(
    index=st.integers(0, 2),
    id=words,
    function=shaped(name=words, arguments=st.sampled_from(["", "{", '{"a":', "1}", "{}", '{"b": 2}'])),
    extra_content=shaped(google=shaped(thought_signature=words)),
)
message = shaped(
    content=words,
    refusal=words,
    reasoning_content=words,
    thinking_blocks=st.lists(shaped(type=words, thinking=words, signature=words, data=words), max_size=2),
    tool_calls=st.lists(sloppy(tool_call), max_size=3),
    images=st.lists(shaped(image_url=shaped(url=st.just("data:image/png;base64,QQ==")))),
    provider_specific_fields=shaped(parts=junk, finishReason=words, stop_reason=words),
)
chunks = st.lists(
    sloppy(
        shaped(
            id=words,
            model=words,
            choices=st.lists(sloppy(shaped(index=st.integers(0, 1), delta=message, finish_reason=words))),
            usage=junk,
        )
    ).filter(lambda chunk: isinstance(chunk, dict)),
    max_size=5,
)


def gemini_call(array: bool) -> Any:
    call = make_call("openai", "m", stream=True)
    api = NativeApi("streamGenerateContent", "chat", stream=True)
    call.native = NativeCall(api, "m", json_array=array)
    return call


@examples(30)
@given(message, words)
def test_answers(said: Any, finish: str) -> None:
    answer = {"id": "1", "choices": [{"index": 0, "message": said, "finish_reason": finish}]}
    for client in (GEMINI, CONVERSE):
        loads(dumps(client.response(answer, make_call("openai", "m"))))


@examples(30)
@given(chunks)
def test_gemini_array_is_json(given_chunks: Any) -> None:
    encoder = GEMINI.stream(gemini_call(array=True))
    out = b"".join(map(encoder.encode, given_chunks)) + encoder.finish()
    elements = loads(out)
    assert elements[-1]["candidates"]
    decoder = JSONArrayDecoder()
    assert [loads(element) for element in decoder.feed(out)] == elements
    broken = GEMINI.stream(gemini_call(array=True))
    failed = b"".join(map(broken.encode, given_chunks)) + broken.error(ApiError(502, "no"))
    assert loads(failed)[-1]["error"]["code"] == 502


@examples(30)
@given(chunks)
def test_converse_streams_are_in_order(given_chunks: Any) -> None:
    encoder = CONVERSE.stream(make_call("openai", "m", stream=True))
    out = b"".join(map(encoder.encode, given_chunks)) + encoder.finish()
    frames = EventStreamDecoder().feed(out)
    names = [frame.name for frame in frames]
    assert names[0] == "messageStart"
    assert names[-2:] == ["messageStop", "metadata"]
    open_block: int | None = None
    seen = -1
    for frame in frames:
        index = loads(frame.payload).get("contentBlockIndex")
        if frame.name in ("contentBlockStart", "contentBlockDelta") and open_block != index:
            assert open_block is None
            assert index == seen + 1
            open_block = seen = index
        elif frame.name == "contentBlockStop":
            assert index == open_block
            open_block = None
    assert open_block is None


@examples(40)
@given(junk, st.binary(max_size=40))
def test_observers_read_anything(body: Any, raw: bytes) -> None:
    for observer in (
        PUBLIC_OBSERVER, EMBEDDINGS_OBSERVER, CONVERSE_OBSERVER, INVOKE_OBSERVER, COHERE_OBSERVER,
        HUGGINGFACE_OBSERVER,
    ):  # fmt: skip
        for data in (dumps(body), raw):
            call = make_call("gemini", "m")
            call.answer_headers = {"x-amzn-bedrock-input-token-count": raw.decode("latin-1")}
            assert observer.response(data, call) == data


@examples(30)
@given(st.lists(junk, max_size=4), st.integers(1, 9))
def test_streams_pass_byte_for_byte(events: list[Any], size: int) -> None:
    sse = b"".join(b"data: %b\n\n" % dumps(event) for event in events)
    array = dumps(events)
    headers = {":event-type": "x", ":message-type": "event"}
    aws = b"".join(encode_frame(headers, dumps(event)) for event in events)
    for data, make in (
        (sse, PUBLIC_OBSERVER.stream), (sse, COHERE_OBSERVER.stream), (sse, HUGGINGFACE_OBSERVER.stream),
        (array, PUBLIC_OBSERVER.array), (aws, CONVERSE_OBSERVER.stream), (aws, INVOKE_OBSERVER.stream),
    ):  # fmt: skip
        call = make_call("gemini", "m")
        stream = make(call)
        out = b"".join(stream.feed(data[at : at + size]) for at in range(0, len(data), size))
        out += stream.finish()
        assert out == data or (stream.failed is not None and data.startswith(out))
        assert isinstance(call.usage, Usage)
        assert call.usage.source in UsageSource
