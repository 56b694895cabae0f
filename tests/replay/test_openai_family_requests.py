"""Every recorded request of the OpenAI-shaped APIs, put through our client format and the provider's adapter.

A recorded client that spoke to its provider directly and one that speaks to us mean the same, so what we send
must be what was recorded, but for what is listed here:

- members that are null mean "not set", and `stream: false` is the default: neither is compared;
- `stream_options` is ours to set, for usage;
- `functions` are the former name of `tools`, which every provider takes;
- the limit of output tokens, the seed, the embedding's size, earlier reasoning and the developer's role have
  another name at some providers (the tables below, from their documentation);
- at Mistral, an id of a tool call stands for whichever it is, the same for call and result;
- what the provider does not take is dropped, and must then be reported as dropped.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from openai_support import adapter_for, call_for, family, operation_of
from recordings_support import load_recording

from kong_ai_proxy.core.json import dumps, loads
from kong_ai_proxy.formats.openai.client import CLIENT
from kong_ai_proxy.formats.openai.observer import openai_observer
from kong_ai_proxy.providers import provider


def _recorded() -> list[str]:
    found = family(stream=False) + family(stream=True) + family(stream=False, ok=False)
    return [one for one in found if one not in NOT_A_REQUEST]


NOT_A_REQUEST = {
    # Recorded with no messages, to see the provider's error: we give that error ourselves.
    "openai/chat/005-cassettes-chat-no-messages",
    "huggingface/chat-stream/003-hf-tape-ea7f34cdc99e",
    "huggingface/chat-stream/014-hf-tape-2e0134943b32",
}
REQUESTS = _recorded()

pytestmark = pytest.mark.skipif(not REQUESTS, reason="no recordings here")

_RENAMED = {
    "mistral": {"seed": "random_seed", "dimensions": "output_dimension"},
}
_ONE_LIMIT = {
    "mistral": "max_tokens",
    "deepseek": "max_tokens",
    "databricks": "max_tokens",
    "huggingface": "max_tokens",
    "dashscope": "max_tokens",
}
_REASONING = ("o1", "o3", "o4", "gpt-5")
_NO_DEVELOPER = {"mistral", "deepseek", "databricks", "huggingface", "dashscope", "cerebras"}

_MAY_DROP = {
    "xai": {"reasoning_effort"},
    "mistral": {"user", "store", "logit_bias"},
    "dashscope": {"messages.provider_specific_fields"},
    "openai": {
        "messages.reasoning", "messages.reasoning_content", "logprobs", "top_logprobs", "temperature", "stop",
    },
}  # fmt: skip


def _meaning(body: dict[str, Any], name: str, model: str) -> dict[str, Any]:
    renamed = _RENAMED.get(name, {})
    body = {renamed.get(key, key): value for key, value in body.items() if value is not None}
    body.update(body.pop("extra_body", {}))
    body.pop("stream_options", None)
    if "functions" in body:
        body["tools"] = [{"type": "function", "function": one} for one in body.pop("functions")]
        named = body.pop("function_call", None)
        if named is not None:
            body["tool_choice"] = (
                {"type": "function", "function": named} if isinstance(named, dict) else named
            )
    if body.get("stream") is False:
        del body["stream"]
    limit = _ONE_LIMIT.get(name)
    if name in ("openai", "azure") and model.startswith(_REASONING):
        limit = "max_completion_tokens"
    if limit:
        values = body.pop("max_tokens", None), body.pop("max_completion_tokens", None)
        if values != (None, None):
            body[limit] = values[0] if values[1] is None else values[1]
    if name == "mistral":
        _number_calls(body)
    if name == "deepseek":
        for message in body.get("messages", []):
            if "reasoning" in message:
                message.setdefault("reasoning_content", message.pop("reasoning"))
                message.pop("reasoning", None)
    if name in _NO_DEVELOPER:
        for message in body.get("messages", []):
            message["role"] = "system" if message["role"] == "developer" else message["role"]
    return body


def _number_calls(body: dict[str, Any]) -> None:
    """Ids of tool calls by the order they appear in: Mistral's must be nine letters and digits."""
    seen: dict[str, int] = {}
    for message in body.get("messages", []):
        for one in message.get("tool_calls") or []:
            one["id"] = seen.setdefault(one["id"], len(seen))
        if "tool_call_id" in message:
            message["tool_call_id"] = seen.setdefault(message["tool_call_id"], len(seen))


def _without(body: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    for path in dropped:
        where, _, member = path.rpartition(".")
        places = body.get(where, []) if where else [body]
        for place in places:
            place.pop(member, None)
    return body


def _client_body(recording: dict[str, Any]) -> dict[str, Any]:
    body = copy.deepcopy(recording["request"]["body"])
    if recording["id"].startswith("azure/"):
        # The deployment in the path names the model.
        body.setdefault("model", recording["model"])
    return body


@pytest.mark.parametrize("recording_id", REQUESTS)
def test_a_request_means_what_was_recorded(recording_id: str) -> None:
    recording = load_recording(recording_id)
    sent = _client_body(recording)
    call = call_for(recording)
    call.stream = sent.get("stream") is True
    call.model = sent.get("model") or call.model
    before = copy.deepcopy(sent)
    made = loads(dumps(adapter_for(call).request(CLIENT.request(sent, call), call)))
    assert sent == before, "the client's request was changed in place"

    name = call.provider
    assert set(call.dropped) <= _MAY_DROP.get(name, set())
    expected = _without(_meaning(before, name, call.model), call.dropped)
    expected["model"] = call.model
    assert _meaning(made, name, call.model) == expected
    assert None not in made.values()
    asks = made.get("stream_options", {}).get("include_usage")
    takes = name not in ("databricks", "mistral") and operation_of(recording_id) != "embeddings"
    assert bool(asks) is (call.stream and takes)


@pytest.mark.parametrize("recording_id", [one for one in REQUESTS if one.startswith(("openai/", "azure/"))])
def test_a_request_passes_through_untouched_where_nothing_must_change(recording_id: str) -> None:
    recording = load_recording(recording_id)
    call = call_for(recording)
    body = _client_body(recording)
    raw = json.dumps(body, indent=1).encode()
    call.stream = body.get("stream") is True
    call.model = body.get("model") or call.model
    made = provider(call.provider).observer(call).request(raw, loads(raw), call)
    assert not call.dropped
    same = loads(made) == loads(raw)
    assert (made is raw) is same
    assert _meaning(loads(made), call.provider, call.model) == {
        **_meaning(body, call.provider, call.model),
        "model": call.model,
    }
    must_change = (
        None in body.values()
        or (call.stream and not (body.get("stream_options") or {}).get("include_usage"))
        or ("max_tokens" in body and call.model.startswith(_REASONING))
    )
    assert same is not must_change


def test_an_observer_of_the_dialect_is_shared() -> None:
    dialect = provider("openai").adapter(call_for(load_recording(REQUESTS[0]))).dialect  # type: ignore[attr-defined]
    assert openai_observer(dialect) is openai_observer(dialect)
