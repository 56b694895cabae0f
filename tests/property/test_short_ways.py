"""What is quick because it is usual has the same result as what is not: messages and parts that are nothing
but a text, ids of the usual letters."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.config.models import Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import Json
from kong_ai_proxy.formats.anthropic.messages import tool_id as claude_id
from kong_ai_proxy.formats.bedrock.messages import tool_id as converse_id
from kong_ai_proxy.formats.openai.messages import short_id
from kong_ai_proxy.formats.pivot import plain_parts
from kong_ai_proxy.providers import provider

_TEXTS = st.sampled_from(["", " ", "\n\t", "Hello.", " x ", "é🙂", '{"a": 1}'])
_ROLES = st.sampled_from(["user", "assistant"])
_ODD = st.sampled_from([
    None, 1, "x", [], ["type", "text"], {}, {"type": "text"}, {"text": "x", "kind": "text"},
    {"type": "text", "text": 1}, {"type": ["text"], "text": "x"},
    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
])  # fmt: skip


def _made(name: str, messages: list[Any]) -> Any:
    config: dict[str, Any] = {"route_type": "llm/v1/chat", "model": {"provider": name, "name": "m"}}
    config["model"]["options"] = {"upstream_url": "https://provider.test/chat"}
    target = Target.model_validate(config)
    request = ClientRequest("POST", "/chat", "", {})
    call = Call(target=target, options=target.model.options, model="m", operation="chat", request=request)
    try:
        return provider(name).adapter(call).request({"model": "m", "messages": messages}, call), call.dropped
    except BadRequest as error:
        return error.message, error.param


def _usual(value: Any) -> Any:
    """A text as one block as the text, which is the same to Anthropic; no name, which OpenAI's has."""
    if isinstance(value, (list, tuple)):
        return [_usual(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _usual(one) for name, one in value.items() if (name, one) != ("name", None)}
    match kept.get("content"):
        case [{"type": "text", "text": text}]:
            kept["content"] = text
    return kept


@pytest.mark.parametrize("name", ["openai", "mistral", "anthropic", "gemini", "bedrock", "cohere"])
@given(said=st.lists(st.tuples(_ROLES, _TEXTS), min_size=1, max_size=8))
@examples(10)
def test_messages(name: str, said: list[tuple[str, str]]) -> None:
    short = [{"role": role, "content": text} for role, text in said]
    long: list[Json] = [{**message, "name": None} for message in short]
    assert _usual(_made(name, short)) == _usual(_made(name, long))


@pytest.mark.parametrize("name", ["anthropic", "gemini", "bedrock", "cohere"])
@given(said=st.lists(st.tuples(_ROLES, st.lists(_TEXTS, max_size=4)), min_size=1, max_size=4))
@examples(10)
def test_parts(name: str, said: list[tuple[str, list[str]]]) -> None:
    def with_parts(kind: str) -> list[Json]:
        return [
            {"role": role, "content": [{"type": kind, "text": text} for text in texts]}
            for role, texts in said
            if role == "user" or name != "cohere"
        ]

    assert _made(name, with_parts("text")) == _made(name, with_parts("input_text"))


@given(st.lists(_ODD | st.fixed_dictionaries({"type": st.just("text"), "text": _TEXTS}), max_size=5))
@examples(40)
def test_plain_parts(parts: list[Any]) -> None:
    plain = [isinstance(part, dict) and part == {"type": "text", "text": part.get("text")} for part in parts]
    texts = [part["text"] if is_plain else None for part, is_plain in zip(parts, plain, strict=True)]
    assert plain_parts(parts) == [text if isinstance(text, str) else None for text in texts]


_IDS = st.from_regex(r"[a-zA-Z0-9_:. é-]{1,70}", fullmatch=True) | st.text(min_size=1, max_size=10)


@given(_IDS)
@examples(100)
def test_ids(identity: str) -> None:
    assert claude_id(identity) == re.sub("[^a-zA-Z0-9_-]", "_", identity)
    converse = re.sub("[^a-zA-Z0-9_.:-]", "_", identity)
    if len(converse) > 64:
        converse = f"call_{hashlib.sha256(converse.encode()).hexdigest()[:40]}"
    assert converse_id(identity) == converse
    mistral = identity
    if not re.fullmatch("[A-Za-z0-9]{9}", identity):
        number = int.from_bytes(hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        mistral = "".join(digits[number // 62**place % 62] for place in range(9))
    assert short_id(identity) == mistral
