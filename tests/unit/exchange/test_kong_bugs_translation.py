"""Mistakes that Kong's changelog admits to, at every provider they could happen with.

Each test names the entry (https://developer.konghq.com/plugins/ai-proxy/changelog/, …-advanced/changelog/).
Those that concern one format alone are with that format's tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from exchange_support import answered, client_request, first_attempt, proxy, sent_body

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "golden"))

from golden_support import TARGETS, make
from test_answers import CONTENT_TYPES, WITH_TOOLS, ask, native_stream, streamed, whole

from kong_ai_proxy.exchange.carry import Carrier
from kong_ai_proxy.wire.eventstream import encode_frame

HELLO = {"role": "user", "content": "Hello"}


def pieces(form: str) -> list[bytes]:
    """A native stream, one event each."""
    data = native_stream(form)
    if form == "bedrock":
        found = []
        while data:
            size = int.from_bytes(data[:4], "big")
            found.append(data[:size])
            data = data[size:]
        return found
    mark = b"\n" if form == "ollama" else b"\n\n"
    data = data.replace(b"\r\n", b"\n")
    return [piece + mark for piece in data.split(mark) if piece]


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_each_piece_goes_on_when_it_comes(target: str) -> None:
    """3.10.0.0: streams of Gemini and Bedrock came as one chunk; 3.9.0.1: Azure's lost tokens."""
    _, carrier, form = ask(target, stream=True)
    running = carrier.stream(200, {"content-type": CONTENT_TYPES.get(form, "text/event-stream")})
    assert running is not None
    before_last = [running.feed(piece) for piece in pieces(form)[:-2]]
    assert sum(1 for out in before_last if out) >= 2


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_a_stream_ends_as_the_standard_says(target: str) -> None:
    """3.11.0.0: the terminator lacked its line ends."""
    _, out = streamed(target)
    assert out.endswith(b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_id_created_and_model_are_always_there(target: str) -> None:
    """3.14.0.0, 3.13.0.0: id and created were missing; 3.12.0.0: so was Gemini's model."""
    for answer in (whole(target), *streamed(target)[0]):
        assert isinstance(answer["id"], str) and answer["id"]
        assert isinstance(answer["created"], int) and answer["created"] > 0
        assert isinstance(answer["model"], str) and answer["model"]


@pytest.mark.parametrize("provider", ["gemini", "cohere", "anthropic", "bedrock", "ollama"])
def test_the_model_of_an_answer_that_names_none(provider: str) -> None:
    """3.12.0.0, 3.11.0.5: the template stood in the answer where the model's name came from a variable."""
    answers: dict[str, Any] = {
        "gemini": {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]},
        "cohere": {"message": {"content": [{"type": "text", "text": "a"}]}, "finish_reason": "COMPLETE"},
        "anthropic": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}]},
        "bedrock": {"output": {"message": {"role": "assistant", "content": [{"text": "a"}]}}},
        "ollama": {"message": {"role": "assistant", "content": "a"}, "done": True},
    }
    options: dict[str, Any] = {
        "bedrock": {"bedrock": {"aws_region": "us-east-1"}},
        "ollama": {"upstream_url": "http://ollama.test:11434"},
    }
    instance = proxy(provider, "$(headers.x-model)", options=options.get(provider, {}))
    request = client_request({"messages": [HELLO]}, headers={"x-model": "named-by-header"})
    done = answered(instance, answers[provider], request)
    assert done.json["model"] == "named-by-header"
    assert done.json["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize("target", TARGETS)
def test_the_model_in_the_request(target: str) -> None:
    """3.8.0.0: Cohere and Anthropic did not read the `model` of the request's body."""
    model = TARGETS[target]
    instance = proxy(model["provider"], None, options=model.get("options", {}))
    _, attempt = first_attempt(instance, client_request({"messages": [HELLO], "model": model["name"]}))
    request = attempt.translation.request()
    named = model["name"].replace(":", "%3A")
    # Azure's is the deployment, the raw prompt's server has one model.
    assert attempt.call.model == model["name"]
    if target not in ("azure", "llama2-raw"):
        assert model["name"].encode() in request.body or named in request.url.path


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_empty_arrays_stay_arrays(target: str) -> None:
    """3.12.0.0: an empty array became an object in structured output; 3.15.0.4: and in `required`."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string"}}},
        "required": [],
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":[]}'}}
    messages = [
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "[]"},
    ]
    made = make(target, {"messages": messages, "tools": [tool]})
    text = json.dumps(made.body, separators=(",", ":"))
    assert '"required":{}' not in text
    assert '"a":[]' in text or '\\"a\\":[]' in text


@pytest.mark.parametrize(
    "target", [name for name in TARGETS if name not in ("anthropic", "vertex-claude", "bedrock")]
)
def test_a_system_prompt_of_several_blocks_is_whole(target: str) -> None:
    """3.15.0.0: Claude Code's system prompt was cut in translation; Databricks had no such clients."""
    body = {
        "model": TARGETS[target]["name"],
        "max_tokens": 100,
        "system": [{"type": "text", "text": "First block."}, {"type": "text", "text": "Second block."}],
        "messages": [HELLO],
    }
    made = make(target, body, llm_format="anthropic")
    assert made.error is None, made.error
    text = json.dumps(made.body)
    assert "First block." in text and "Second block." in text and "Hello" in text


@pytest.mark.parametrize("target", ["bedrock-nova", "gemini", "openai", "cohere", "ollama", "databricks"])
@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_clients_get_usage_from_everybody(target: str, stream: bool) -> None:
    """3.15.0.4: zero usage for Bedrock's own models by conversion; 3.15.0.0: for Claude Code on Bedrock."""
    model = TARGETS[target]["name"]
    body = {"model": model, "max_tokens": 100, "messages": [HELLO], "stream": stream}
    made = make(target, body, llm_format="anthropic")
    carrier = made.attempt.translation
    assert made.error is None and isinstance(carrier, Carrier) and carrier._adapter is not None
    form = carrier._adapter.format
    if stream:
        running = carrier.stream(200, {"content-type": CONTENT_TYPES.get(form, "text/event-stream")})
        assert running is not None
        out = running.feed(native_stream(form)) + running.finish()
        events = [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: ")]
        (usage,) = [event["usage"] for event in events if event["type"] == "message_delta"]
    else:
        native = Path(__file__).resolve().parents[2] / "golden" / "native" / f"{form}.json"
        answer = carrier.response(200, {"content-type": "application/json"}, native.read_bytes())
        usage = json.loads(answer.body)["usage"]
    counted = made.attempt.call.usage
    assert counted.completion_tokens > 0 and usage["output_tokens"] >= counted.completion_tokens
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    assert usage["input_tokens"] + read + written == counted.prompt_tokens


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_a_stream_is_counted_as_the_whole_answer_is(target: str) -> None:
    """3.15.0.4: Gemini's running totals were added up; 3.14.0.0: Claude's on Vertex inflated."""
    stream_usage = [chunk["usage"] for chunk in streamed(target)[0] if chunk.get("usage")]
    assert stream_usage == [whole(target)["usage"]]
    usage = stream_usage[0]
    reasoning = usage.get("completion_tokens_details", {}).get("reasoning_tokens") or 0
    total = usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["total_tokens"] in (total, total + reasoning)


def test_geminis_tool_use_tokens_are_counted() -> None:
    """3.15.0.4: tokens of server-side tools were not."""
    counts = {
        "promptTokenCount": 10, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 5,
        "thoughtsTokenCount": 3, "totalTokenCount": 25,
    }  # fmt: skip
    candidate = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
    done = answered(proxy("gemini", "gemini-2.5-flash"), {"candidates": [candidate], "usageMetadata": counts})
    usage = done.json["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (17, 8, 25)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3


def test_azures_stream_names_its_model() -> None:
    """3.15.0.0: the model's name was not collected from Azure's streams."""
    made, _, _ = ask("azure", stream=True)
    carrier = made.attempt.translation
    running = carrier.stream(200, {"content-type": "text/event-stream"})
    assert running is not None
    running.feed(native_stream("openai"))
    running.finish()
    assert made.attempt.call.response_model
    assert made.attempt.call.response_model != "gpt-4o"


def test_a_tool_result_that_is_empty() -> None:
    """3.9.0.0: tool calls at Bedrock came back empty; Converse refuses a blank text in a result."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
    ]
    body = make("bedrock", {"messages": messages}).body
    (result,) = body["messages"][-1]["content"]
    assert all(block["text"].strip() for block in result["toolResult"]["content"])


def test_the_configured_version_of_anthropics_api() -> None:
    """The header that every call needs: configured, else the one that the translation was written for."""
    for options, expected in (({}, "2023-06-01"), ({"anthropic_version": "2024-01-01"}, "2024-01-01")):
        _, attempt = first_attempt(proxy("anthropic", "claude-sonnet-4-5", options=options))
        assert attempt.translation.request().headers["anthropic-version"] == expected


def test_a_broken_frame_of_awss_is_waited_for() -> None:
    """3.11.0.2: an incomplete frame was read as it was."""
    _, carrier, _ = ask("bedrock", stream=True)
    running = carrier.stream(200, {"content-type": "application/vnd.amazon.eventstream"})
    assert running is not None
    start = encode_frame(
        {":event-type": "messageStart", ":content-type": "application/json", ":message-type": "event"},
        b'{"role":"assistant"}',
    )
    assert running.feed(start[:7]) == b""
    running.feed(start[7:])
    assert running.failed is None


def test_a_null_model_parameter() -> None:
    """3.8.0.0: a parameter that an SDK sets to null kept the record from being written."""
    sent = sent_body(
        proxy("anthropic", "claude-sonnet-4-5"), {"messages": [HELLO], "top_p": None, "model": None}
    )
    assert "top_p" not in sent
