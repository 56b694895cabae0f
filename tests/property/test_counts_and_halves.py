"""Tokens of anything are counted or estimated without a crash; a text survives wherever a stream cuts it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from exchange_support import open_exchange, proxy
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st
from native_support import make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import JSONEvents
from kong_ai_proxy.formats.passing import ResultLines
from kong_ai_proxy.formats.results import GENERATE_RESULTS, MESSAGE_RESULTS

AWS = {"bedrock": {"aws_region": "us-east-1"}}
VERTEX = {"gemini": {"api_endpoint": "h.test", "project_id": "p", "location_id": "l"}}
INSTANCES = [
    proxy(provider, model, llm_format=llm_format, options=options)
    for llm_format in ("anthropic", "gemini", "bedrock")
    for provider, model, options in (
        ("anthropic", "claude-sonnet-4-5", {}),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-v1:0", AWS),
        ("bedrock", "amazon.nova-pro-v1:0", AWS),
        ("gemini", "gemini-2.5-flash", {}),
        ("gemini", "claude-sonnet-4@1", VERTEX),
        ("openai", "gpt-5", {}),
        ("cohere", "command-a", {}),
    )
]
PATHS = {
    "anthropic": "/v1/messages/count_tokens",
    "gemini": "/v1beta/models/{}:countTokens",
    "bedrock": "/model/{}/count-tokens",
}
words = st.text(max_size=8)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**62) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
member = st.one_of(
    junk,
    st.just([{"role": "user", "content": "hi"}]),
    st.just([{"role": "user", "parts": [{"text": "hi"}]}]),
    st.just([{"role": "user", "content": [{"text": "hi"}]}]),
)
inner = st.dictionaries(
    st.sampled_from(
        ["messages", "contents", "system", "systemInstruction", "tools", "thinking", "toolConfig"]
    ),
    member,
    max_size=4,
)
bodies = st.one_of(
    inner,
    inner.map(lambda body: {"generateContentRequest": body}),
    inner.map(lambda body: {"input": {"converse": body}}),
    junk.map(lambda value: {"input": {"invokeModel": value}}),
)


@examples(60)
@given(st.sampled_from(INSTANCES), bodies, st.sampled_from([200, 400, 401, 500]), junk)
def test_anything_is_counted(instance: Any, body: Any, status: int, answer: Any) -> None:
    model = instance.targets[0].model.name
    path = PATHS[instance.llm_format].format(model.replace(":", "%3A"))
    request = ClientRequest("POST", path, "", {"content-type": "application/json"}, json.dumps(body).encode())
    try:
        exchange = open_exchange(instance, request)
    except ApiError as error:
        assert 400 <= error.status < 500
        return
    response = exchange.itself()
    if response is None:
        attempt = exchange.next_attempt()
        assert attempt is not None
        try:
            attempt.translation.request()
        except ApiError as error:
            response = exchange.refuse(error)
        else:
            response = attempt.translation.response(status, {}, json.dumps(answer).encode())
    if exchange.plan.counting or exchange.plan.estimated:  # else it passes as it is
        assert isinstance(json.loads(response.body), dict)
    assert response.status == 200 or response.status >= 400


def cut(whole: Any, places: list[int]) -> list[Any]:
    ends = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[start:end] for start, end in pairwise(ends)]


places = st.lists(st.integers(0, 60), max_size=12)
texts = st.text(st.sampled_from("aé✓🦍👩‍🚀") | st.characters(codec="utf-8"), max_size=20)


@given(texts, places)
def test_a_text_that_is_cut_anywhere_between_escapes(text: str, at: list[int]) -> None:
    units = text.encode("utf-16-be")
    pieces = cut([units[place : place + 2] for place in range(0, len(units), 2)], at)
    parser = JSONEvents()
    found = []
    for piece in pieces:
        escaped = "".join(f"\\u{unit.hex()}" for unit in piece)
        found.append(parser.loads(f'{{"index":0,"text":"{escaped}"}}'.encode())["text"])
    assert "".join(found) == text


@given(texts, places)
def test_a_text_that_is_cut_anywhere_between_bytes(text: str, at: list[int]) -> None:
    text = "".join(letter for letter in text if letter >= " " and letter not in '"\\')
    parser = JSONEvents()
    events = [b'{"text":"%b"}' % piece for piece in cut(text.encode(), at)]
    assert "".join(parser.loads(event)["text"] for event in events) == text


@given(st.lists(junk | st.builds(lambda used: {"result": {"message": {"usage": used}}}, junk)), places)
def test_files_of_results_hold_anything(lines: list[Any], at: list[int]) -> None:
    data = b"\n".join(json.dumps(line).encode() for line in lines)

    for observer in (MESSAGE_RESULTS, GENERATE_RESULTS):
        call = make_call("anthropic")
        reading = ResultLines(observer.reader(call))
        for piece in cut(data, at):
            reading.feed(piece)
        reading.finish()
        assert call.usage.prompt_tokens >= 0
