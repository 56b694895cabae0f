"""Messages that are a role and a text take a short way through every format, with the same result."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from kong_ai_proxy.config.models import Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import Json
from kong_ai_proxy.formats.pivot import modern_messages, plain_texts
from kong_ai_proxy.providers import provider

_SAID = ["Hello.", "", "  \n", "ends in space \n", "Straße 🙂", " begins"]


def _conversations() -> list[list[Json]]:
    alternating = [
        {"role": "assistant" if number % 2 else "user", "content": said} for number, said in enumerate(_SAID)
    ]
    twice = [{"role": role, "content": said} for role in ("user", "assistant") for said in _SAID]
    result = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "I do.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "A tree."},
        {"role": "user", "content": "Thanks."},
        {"role": "tool", "tool_call_id": "call_1", "content": "Another tree."},
        {"role": "assistant", "content": "Trees. "},
    ]  # fmt: skip
    return [alternating, [{"role": "system", "content": "Be brief."}, *twice], result]


def _call(name: str) -> Call:
    config: dict[str, Any] = {"route_type": "llm/v1/chat", "model": {"provider": name, "name": "m"}}
    config["model"]["options"] = {"upstream_url": "https://provider.test/chat"}
    target = Target.model_validate(config)
    request = ClientRequest("POST", "/chat", "", {})
    return Call(target=target, options=target.model.options, model="m", operation="chat", request=request)


def _usual(value: Any) -> Any:
    """Without the member that makes a message unlike others, which whoever speaks OpenAI's form passes; and
    a text as one block as the text, which Anthropic takes for the same."""
    if isinstance(value, list):
        return [_usual(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _usual(one) for name, one in value.items() if (name, one) != ("name", None)}
    match kept.get("content"):
        case [{"type": "text", "text": text}]:
            kept["content"] = text
    return kept


@pytest.mark.parametrize("messages", _conversations())
@pytest.mark.parametrize("name", ["openai", "mistral", "anthropic", "gemini", "bedrock", "cohere", "ollama"])
def test_the_short_way_is_the_same(name: str, messages: list[Json]) -> None:
    given = deepcopy(messages)
    body = {"model": "m", "messages": messages}
    longer = {**body, "messages": [{**message, "name": None} for message in messages]}
    short, long = _call(name), _call(name)
    made = provider(name).adapter(short).request(body, short)
    assert _usual(made) == _usual(provider(name).adapter(long).request(longer, long))
    assert short.dropped == long.dropped
    assert messages == given, "the client's own body stays as it is"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "x"},
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": "x", "name": "Ada"},
        {"role": "user", "name": "x"},
        {"role": ["user"], "content": "x"},
        {"role": {}, "content": "x"},
        {"content": "x", "text": "x"},
        {},
    ],
)
def test_what_is_more_than_a_text(message: Json) -> None:
    assert plain_texts([message, {"role": "user", "content": "x"}]) == [None, "x"]


def test_a_text() -> None:
    assert plain_texts([{"content": "x", "role": "assistant"}, {"role": "user", "content": ""}]) == ["x", ""]


@pytest.mark.parametrize("stranger", [None, "x", 1, ["role", "content"]])
def test_what_is_no_message(stranger: Any) -> None:
    assert plain_texts([stranger]) == [None]
    with pytest.raises(BadRequest) as raised:
        modern_messages([{"role": "user", "content": "x"}, stranger])
    assert raised.value.param == "messages.1"


def test_messages_without_functions_stay_the_same_objects() -> None:
    messages: list[Json] = [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]
    assert all(a is b for a, b in zip(modern_messages(messages), messages, strict=True))
    null = {"role": "assistant", "content": "x", "function_call": None}
    assert modern_messages([null]) == [null]
