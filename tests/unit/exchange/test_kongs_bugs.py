"""Bugs that Kong's own plugins had with streams, content types, logs and configurations (the changelogs of
ai-proxy and ai-proxy-advanced, https://developer.konghq.com/plugins/ai-proxy/changelog/): none of them here.

Those of single providers' formats are beside the formats' other tests.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import (
    USAGE_CHUNK,
    advanced,
    answered,
    chunk,
    client_request,
    events,
    first_attempt,
    open_exchange,
    openai_answer,
    proxy,
    sent_body,
    sse,
    target_config,
)

from kong_ai_proxy.exchange.instance import Instance

STREAM = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
ANTHROPIC = b"".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    for event in [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
                "usage": {
                    "input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7,
                    "output_tokens": 3,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße, 世界"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " und mehr"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
)  # fmt: skip


def streamed(
    instance: Instance, pieces: list[bytes], body: Any = None, content_type: str = "text/event-stream"
) -> tuple[bytes, dict[str, Any]]:
    """What the client gets, and the record."""
    exchange, attempt = first_attempt(instance, client_request(STREAM if body is None else body))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": content_type})
    assert stream is not None
    out = b""
    for piece in pieces:
        out += stream.feed(piece)
        if out:
            attempt.first_output()
    out += stream.finish()
    attempt.ended()
    return out, exchange.record() or {}


def text_of(stream: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events(stream)
        if isinstance(event, dict)
        for choice in event["choices"]
    )


# -- streams


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_an_event_cut_anywhere_is_neither_lost_nor_doubled(provider: str) -> None:
    """3.11.0.2: content dropped or doubled where an event was truncated; 3.9.0.1 (Azure), 3.12 (Anthropic):
    tokens missing."""
    whole = ANTHROPIC
    if provider == "openai":
        deltas = [chunk({"content": "Grüße, 世界"}), chunk({"content": " und mehr"}), chunk({}, "stop")]
        whole = sse(*deltas, "[DONE]")
    instance = proxy(provider)
    for at in range(1, len(whole)):
        out, _ = streamed(instance, [whole[:at], whole[at:]])
        assert text_of(out) == "Grüße, 世界 und mehr", at
        assert out.endswith(b"data: [DONE]\n\n"), "3.11: the terminator had the wrong ending"
        assert out.count(b"[DONE]") == 1


def test_tokens_are_passed_on_one_by_one() -> None:
    """3.10: Gemini and Bedrock streams came as one chunk."""
    _, attempt = first_attempt(proxy("anthropic"), client_request(STREAM))
    attempt.translation.request()
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    came = [text_of(stream.feed(frame + b"\n\n")) for frame in ANTHROPIC.split(b"\n\n") if frame]
    assert [text for text in came if text] == ["Grüße, 世界", " und mehr"]


def test_running_totals_are_replaced_not_summed() -> None:
    """3.15.0.4: message_start's provisional output was counted, message_delta's totals were summed, and
    cached tokens were missing from the prompt's."""
    for llm_format in ("openai", "anthropic"):
        body = {**STREAM, "max_tokens": 9}
        _, record = streamed(proxy("anthropic", "claude-x", llm_format=llm_format), [ANTHROPIC], body)
        usage = record["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (22, 9, 31)


def test_finish_reasons_of_streams_are_mapped() -> None:
    """3.14.0.7: not in streams from Anthropic."""
    out, _ = streamed(proxy("anthropic"), [ANTHROPIC])
    reasons = [e["choices"][0]["finish_reason"] for e in events(out) if e != "[DONE]" and e["choices"]]
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}


@pytest.mark.parametrize("line", [b"event: message\n", b"id: 7\n", b"retry: 10\n", b": a comment\n"])
def test_other_lines_of_an_event_do_not_hide_its_data(line: bytes) -> None:
    """3.14.0.9: events with headers were not handled."""
    for provider in ("openai", "mistral", "azure"):
        options = {"azure_instance": "i", "azure_deployment_id": "d"} if provider == "azure" else {}
        pieces = [line + sse(chunk({"content": "hi"})), line + sse(USAGE_CHUNK), sse("[DONE]")]
        out, record = streamed(proxy(provider, options=options), pieces)
        assert b'"hi"' in out
        assert record["usage"]["total_tokens"] == 7


@pytest.mark.parametrize("choices", [None, [], [None], [{}], [{"delta": None}]])
def test_choices_that_are_none(choices: Any) -> None:
    """3.14: `choices: null` crashed what counts."""
    for provider in ("openai", "mistral", "deepseek"):
        odd = chunk(choices=choices)
        out, record = streamed(
            proxy(provider), [sse(odd, chunk({"content": "hi"}, "stop")), sse(USAGE_CHUNK), sse("[DONE]")]
        )
        assert b'"hi"' in out
        assert record["usage"]["total_tokens"] == 7


def test_the_model_azure_tells_late() -> None:
    """3.14.0.5: the first event of Azure, with the filter's results, has an empty model."""
    first = chunk(choices=[], model="", id="", prompt_filter_results=[])
    options = {"azure_instance": "i", "azure_deployment_id": "d"}
    _, record = streamed(
        proxy("azure", options=options), [sse(first, chunk({"content": "hi"}, "stop"), "[DONE]")]
    )
    assert record["meta"]["response_model"] == "gpt-4o-2024"


def test_streams_have_latencies_in_their_record() -> None:
    """3.11: no latency for streams; 3.14: no statistics at all where both sides speak the same format."""
    pieces = [sse(chunk({"content": "hi"})), sse(chunk({}, "stop"), USAGE_CHUNK, "[DONE]")]
    _, record = streamed(proxy(), pieces)
    assert record["meta"]["request_mode"] == "stream"
    assert isinstance(record["meta"]["llm_latency"], int)
    assert isinstance(record["usage"]["time_to_first_token"], int)
    assert isinstance(record["usage"]["time_per_token"], (int, float))


def test_stream_options_go_only_to_who_takes_them() -> None:
    """3.14.0.5: Databricks answers 400."""
    databricks = {"databricks": {"workspace_instance_id": "w"}}
    assert "stream_options" not in sent_body(proxy("databricks", options=databricks), STREAM)
    assert sent_body(proxy(), STREAM)["stream_options"] == {"include_usage": True}


# -- content types


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_type_nobody_expected_keeps_no_encoding(status: int) -> None:
    """3.14.0.7: answers of unsupported types came with a wrong gzip header. (The relay has decoded the
    body.)"""
    headers = {"content-type": "text/html", "content-encoding": "gzip", "content-length": "3"}
    for provider in ("openai", "anthropic"):
        response = answered(proxy(provider), b"<html>", status=status, headers=headers).response
        assert "content-encoding" not in response.headers
        assert response.headers["content-type"].startswith(("text/html", "application/json"))
        assert response.status == status or provider == "anthropic"


def test_an_error_to_a_stream_request_keeps_its_type() -> None:
    """3.14: overridden by that of streams."""
    _, attempt = first_attempt(proxy(), client_request(STREAM))
    attempt.translation.request()
    assert attempt.translation.stream(429, {"content-type": "application/json"}) is None
    done = answered(proxy(), {"error": {"message": "slow down"}}, client_request(STREAM), status=429)
    assert done.response.headers["content-type"] == "application/json"


# -- the log


@pytest.mark.parametrize(
    "details",
    [
        None, [], "odd", 3,
        {"cached_tokens": None, "never_heard_of": 5, "text_tokens": "x"},
        {"input_tokens_details": {"image_tokens": 3}},
    ],
)  # fmt: skip
def test_unknown_usage_details_do_no_harm(details: Any) -> None:
    """3.11.0.3: a panic in observability; 3.15: errors with new kinds of details."""
    usage = {
        "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": details, "completion_tokens_details": details,
    }  # fmt: skip
    done = answered(proxy(), openai_answer(usage=usage))
    assert done.response.status == 200
    record = done.exchange.record()
    assert record is not None and record["usage"]["total_tokens"] == 7
    assert json.dumps(record)


def test_a_client_that_sends_no_model() -> None:
    """3.8: with the model null nothing was logged."""
    body = {"model": None, "messages": [{"role": "user", "content": "hi"}]}
    record = answered(proxy(), openai_answer(), client_request(body)).exchange.record()
    assert record is not None
    assert record["meta"]["request_model"] == "gpt-4o"
    assert record["usage"]["total_tokens"] == 7


def test_a_large_payload_is_logged() -> None:
    """3.11: large payloads were missing."""
    instance = proxy(logging={"log_payloads": True, "log_statistics": True})
    body = {"messages": [{"role": "user", "content": "word " * 250_000}]}
    record = answered(instance, openai_answer("more " * 250_000), client_request(body)).exchange.record()
    assert record is not None
    assert len(record["payload"]["request"]) > 1_000_000
    assert len(record["payload"]["response"]) > 1_000_000


def test_the_payload_is_that_of_this_request() -> None:
    """3.11: stale data of an earlier one."""
    instance = proxy(logging={"log_payloads": True})
    for text in ("a long answer that was first", "short"):
        record = answered(instance, openai_answer(text)).exchange.record()
        assert record is not None
        assert json.loads(record["payload"]["response"])["choices"][0]["message"]["content"] == text


def test_the_last_try_is_in_the_record_as_the_others_are() -> None:
    """3.13: the last of the tries lacked fields."""
    instance = advanced(target_config(), target_config("mistral", "m"), balancer={"retries": 1})
    exchange = open_exchange(instance)
    first = exchange.next_attempt()
    assert first is not None
    first.translation.request()
    assert first.failed("error")
    last = exchange.next_attempt()
    assert last is not None
    last.translation.request()
    last.connected("192.0.2.7", 0.001)
    last.rejected(200, {})
    last.translation.response(200, {}, json.dumps(openai_answer()).encode())
    last.ended()
    record = exchange.record()
    assert record is not None
    tried = record["tried_targets"]
    assert len(tried) == 2
    for entry in tried:
        assert {"provider", "model", "host", "port", "upstream_uri", "route_type"} <= set(entry)
    assert tried[-1]["ip"] == "192.0.2.7"


def test_one_request_leaves_nothing_on_the_next() -> None:
    """3.8: the constructor set data on the class; 3.11: configurations were corrupted by use."""
    instance = proxy("anthropic", None, options={"max_tokens": 7, "temperature": 0.5})
    before = [target.model_dump() for target in instance.targets]
    body = {"model": "claude-a", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
    first = sent_body(instance, body)
    second = sent_body(instance, {**body, "model": "claude-b"})
    assert (first["model"], second["model"]) == ("claude-a", "claude-b")
    assert first["max_tokens"] == second["max_tokens"] == 3
    del body["max_tokens"]
    assert sent_body(instance, body)["max_tokens"] == 7
    assert [target.model_dump() for target in instance.targets] == before


def test_an_empty_array_stays_one() -> None:
    """3.12: an empty array in a schema was sent as an empty object."""
    schema = {"type": "object", "properties": {}, "required": [], "enum": []}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [tool], "max_tokens": 5}
    for provider in ("openai", "anthropic", "mistral", "cohere", "ollama"):
        options = {"upstream_url": "http://localhost/api/chat"} if provider == "ollama" else {}
        sent = json.dumps(sent_body(proxy(provider, options=options), body))
        assert '"required": []' in sent, provider
        assert '"properties": {}' in sent, provider


def test_a_configured_model_is_not_the_clients_to_choose() -> None:
    """3.8: callers could name any; 3.14.0.5: the configured name was never used for Azure."""
    azure = {"azure_instance": "i", "azure_deployment_id": "d"}
    for provider, options in (("openai", {}), ("anthropic", {}), ("azure", azure)):
        instance = proxy(provider, "configured", options=options)
        body = {"model": "configured", "messages": [{"role": "user", "content": "hi"}]}
        assert sent_body(instance, body).get("model", "configured") == "configured"
        other = client_request({**body, "model": "another"})
        with pytest.raises(Exception, match="model"):
            first_attempt(instance, other)
