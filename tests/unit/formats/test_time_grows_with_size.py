"""No request costs more than its size. One that has a list looked through for each of its members would take
seconds, in which the one thread carries nobody else."""

from __future__ import annotations

import time
from typing import Any

import pytest
from native_support import make_call

from kong_ai_proxy.config.models import Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import Json
from kong_ai_proxy.formats.anthropic.client_stream import MessagesEncoder
from kong_ai_proxy.formats.bedrock.client_stream import ConverseEncoder
from kong_ai_proxy.formats.said import BlockEncoder
from kong_ai_proxy.providers import provider

_MANY = 12_000
_LIMIT = 0.6
"""Seconds of CPU. All of these take some 50 ms, and took 0.9 to 20 s where they looked through lists."""
_HELLO: Json = {"role": "user", "content": "x"}


def _called(*names: str) -> Json:
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for at, name in enumerate(names)
    ]
    return {"role": "assistant", "content": "I look.", "tool_calls": calls}


def _result(identity: str) -> Json:
    return {"role": "tool", "tool_call_id": identity, "content": "r"}


def _tools() -> Json:
    functions = [{"type": "function", "function": {"name": f"f{at}"}} for at in range(_MANY)]
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": functions[::-1]}}
    return {"messages": [_HELLO], "tools": functions, "tool_choice": allowed}


def _files() -> Json:
    file = {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}
    return {"messages": [{"role": "user", "content": [{"type": "file", "file": file}] * _MANY}]}


def _late_results() -> Json:
    return {"messages": [_HELLO, _called("f"), *[_HELLO] * _MANY, *[_result("call_0")] * _MANY]}


def _names() -> Json:
    return {"messages": [_HELLO, _called(*(f"f{at}" for at in range(_MANY))), _result("call_0")]}


def _unknown() -> Json:
    return {"messages": [_HELLO], **{f"member_{at}": 1 for at in range(_MANY)}}


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        *((name, "chat", _tools()) for name in ("bedrock", "cohere", "mistral", "ollama")),
        ("cohere", "v1/chat", _tools()),
        ("cohere", "v1/chat", _late_results()),
        ("bedrock", "chat", _files()),
        ("bedrock", "chat", _names()),
        ("anthropic", "chat", _unknown()),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_time(name: str, path: str, body: Json) -> None:
    options = {"upstream_url": f"https://provider.test/{path}"}
    config: dict[str, Any] = {"model": {"provider": name, "name": "m", "options": options}}
    target = Target.model_validate({"route_type": "llm/v1/chat", **config})
    request = ClientRequest("POST", "/chat", "", {})
    call = Call(target=target, options=target.model.options, model="m", operation="chat", request=request)
    began = time.thread_time()
    provider(name).adapter(call).request(body, call)
    assert time.thread_time() - began < _LIMIT


def test_a_result_goes_with_the_latest_call_of_its_id() -> None:
    """Cohere's v1 has no ids: https://docs.cohere.com/v1/reference/chat (`tool_results.call`)."""
    target = Target.model_validate(
        {
            "route_type": "llm/v1/chat",
            "model": {"provider": "cohere", "name": "m", "options": {"upstream_url": "https://x.test/v1/chat"}},
        }
    )
    request = ClientRequest("POST", "/chat", "", {})
    call = Call(target=target, options=target.model.options, model="m", operation="chat", request=request)
    messages = [_HELLO, _called("first"), _result("call_0"), _called("second"), _result("call_0")]
    made: Any = provider("cohere").adapter(call).request({"messages": messages}, call)
    results = [turn["tool_results"] for turn in made["chat_history"] if "tool_results" in turn]
    assert [one["call"]["name"] for each in results for one in each] == ["first"]
    assert [one["call"]["name"] for one in made["tool_results"]] == ["second"]


@pytest.mark.parametrize("encoder", [MessagesEncoder, ConverseEncoder])
def test_time_of_a_stream_with_many_calls(encoder: type[BlockEncoder]) -> None:
    stream = encoder(make_call("openai", stream=True))
    began = time.thread_time()
    for at in range(_MANY // 4):
        function = {"name": "f", "arguments": "{}"}
        fragments = [{"index": at, "id": f"call_{at}", "function": function}]
        stream.encode({"choices": [{"index": 0, "delta": {"tool_calls": fragments}}]})
    stream.finish()
    assert time.thread_time() - began < _LIMIT
