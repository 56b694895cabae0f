"""OpenAI's SDK puts our chunks together: recorded streams of the native formats through its own accumulator.
"""

from __future__ import annotations

from typing import Any

from exchange_support import events
from native_support import assemble, make_call, read_stream, recorded_streams, wire_bytes
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from recordings_support import load_recording

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.cohere import CHAT_V1, CHAT_V2
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT
from kong_ai_proxy.formats.huggingface import TEXT_CHAT
from kong_ai_proxy.formats.ollama import CHAT as OLLAMA_CHAT
from kong_ai_proxy.formats.openai.client import CLIENT
from kong_ai_proxy.mockllm.recorded import recorded_body

ADAPTERS: dict[str, Any] = {
    "gemini/": PUBLIC_CHAT,
    "vertex/": VERTEX_CHAT,
    "cohere/native-chat-v1": CHAT_V1,
    "cohere/native-chat-v2": CHAT_V2,
    "ollama/native-chat": OLLAMA_CHAT,
    "huggingface/native-inference": TEXT_CHAT,
}


@recorded_streams(
    "gemini/native-generate",
    "vertex/native-generate",
    "cohere/native-chat",
    "ollama/native-chat",
    "huggingface/native-inference-stream",
)
def test_sdk_accumulates(recording_id: str) -> None:
    recording = load_recording(recording_id)
    adapter = next(found for prefix, found in ADAPTERS.items() if recording_id.startswith(prefix))
    call = make_call(
        recording_id.partition("/")[0].replace("vertex", "gemini"), recording["model"] or "m", stream=True
    )
    items = read_stream(adapter, call, [wire_bytes(recording)])
    if isinstance(items[-1], ApiError):
        return
    state: Any = ChatCompletionStreamState()
    for item in items:
        state.handle_chunk(ChatCompletionChunk.model_validate(item))
    snapshot = state.current_completion_snapshot
    expected = assemble(items)
    assert len(snapshot.choices) == len(expected["choices"])
    for choice in snapshot.choices:
        known = expected["choices"][choice.index]
        assert (choice.message.content or "") == known["content"]
        assert choice.finish_reason == known["finish_reason"]
        calls = [
            (one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls or []
        ]
        assert calls == [(one["id"], one["name"], one["arguments"]) for one in known["tool_calls"]]
        extra = choice.message.model_extra or {}
        if "extra_content" in known["extra"]:
            assert extra["extra_content"] == known["extra"]["extra_content"]
        if "provider_specific_fields" in known["extra"]:
            assert extra["provider_specific_fields"] == known["extra"]["provider_specific_fields"]
    if expected["usage"]:
        assert snapshot.usage.total_tokens == expected["usage"]["total_tokens"]


WITH_BLOCKS: dict[str, Any] = {"anthropic": MessagesAdapter, "bedrock": ConverseAdapter}


@recorded_streams("anthropic/native-messages", "bedrock/converse")
def test_sdk_accumulates_blocks_of_the_gateways_own(recording_id: str) -> None:
    recording = load_recording(recording_id)
    provider = recording_id.partition("/")[0]
    call = make_call(provider, recording["model"] or "m", stream=True, include_usage=True)
    items = read_stream(WITH_BLOCKS[provider](), call, [recorded_body(recording["response"])])
    if isinstance(items[-1], ApiError):
        return
    expected = assemble(items)["choices"][0]
    encoder = CLIENT.stream(call)
    state: Any = ChatCompletionStreamState()
    for event in events(b"".join(map(encoder.encode, items))):
        state.handle_chunk(ChatCompletionChunk.model_validate(event))
    message = state.current_completion_snapshot.choices[0].message
    assert (message.content or "") == expected["content"]
    told = [block for item in items for block in _delta(item).get("thinking_blocks") or []]
    assert ((message.model_extra or {}).get("thinking_blocks") or []) == told
    own = [_delta(item).get("provider_specific_fields") or {} for item in items]
    blocks = [block for one in own for block in one.get("content_blocks") or []]
    kept = (message.model_extra or {}).get("provider_specific_fields") or {}
    assert kept.get("content_blocks", []) == blocks


def _delta(item: Any) -> dict[str, Any]:
    return item["choices"][0]["delta"] if item["choices"] else {}
