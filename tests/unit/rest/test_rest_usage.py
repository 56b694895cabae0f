"""What is billed otherwise than by tokens: images, seconds, characters. And that no image gets into a log."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import first_attempt, proxy

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.redact import without_base64

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
SPEECH = "audio/v1/audio/speech"
IMAGES = "image/v1/images/generations"
EDITS = "image/v1/images/edits"
TOKENS = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}


def usage_of(route_type: str, body: Any, headers: dict[str, str], answer: bytes, status: int = 200) -> Any:
    """`usage` of the record; None where there is none."""
    request = ClientRequest("POST", "/x", "", dict(JSON), json.dumps(body).encode())
    exchange, attempt = first_attempt(proxy("openai", "m", route_type=route_type), request)
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    stream = attempt.translation.stream(status, headers)
    if stream is None:
        attempt.translation.response(status, headers, answer)
    else:
        stream.feed(answer)
        stream.finish()
    attempt.ended()
    record = exchange.record()
    assert record is not None
    return record.get("usage")


def test_spoken_characters() -> None:
    usage = usage_of(SPEECH, {"input": "Grüße", "voice": "v"}, {"content-type": "audio/mpeg"}, b"mp3")
    assert (usage["characters"], usage["total_tokens"], "source" in usage) == (5, 0, False)
    whole = {"content-type": "audio/mpeg", "content-length": "3"}
    assert usage_of(SPEECH, {"input": "abc"}, whole, b"mp3")["characters"] == 3


def test_speech_that_is_billed_by_tokens() -> None:
    events = [{"type": "speech.audio.delta", "audio": "AA"}, {"type": "speech.audio.done", "usage": TOKENS}]
    answer = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    usage = usage_of(SPEECH, {"input": "abc", "stream_format": "sse"}, SSE, answer)
    assert "characters" not in usage
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 5)


def test_refused_speech_is_not_billed() -> None:
    error = json.dumps({"error": {"message": "no", "type": "t"}}).encode()
    assert usage_of(SPEECH, {"input": "abc"}, JSON, error, 400) is None


@pytest.mark.parametrize("used", [{}, {"usage": TOKENS}, {"usage": {"cost_in_usd_ticks": 5}}])
def test_images_are_counted(used: Any) -> None:
    answer = json.dumps({"created": 1, "data": [{"url": "u"}, {"b64_json": "AA"}], **used}).encode()
    usage = usage_of(IMAGES, {"prompt": "x", "n": 2}, JSON, answer)
    assert usage["images"] == 2
    assert usage["total_tokens"] == (8 if used == {"usage": TOKENS} else 0)


def test_images_of_a_stream_are_counted() -> None:
    events = [
        {"type": "image_generation.partial_image", "b64_json": "AA"},
        {"type": "image_generation.completed", "b64_json": "AA"},
        {"type": "image_generation.completed", "b64_json": "AA", "usage": TOKENS},
    ]
    answer = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    usage = usage_of(IMAGES, {"prompt": "x", "stream": True}, SSE, answer)
    assert (usage["images"], usage["output_tokens"]) == (2, 5)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"task": "translate", "duration": 4.5, "text": "x"}, 4.5),
        ({"task": "transcribe", "duration": 1.7, "usage": {"type": "duration", "seconds": 2}}, 2),
        ({"task": "transcribe", "duration": "long"}, None),
        ({"text": "x"}, None),
    ],
)
def test_seconds_of_sound(answer: Any, seconds: float | None) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--B--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=B"}
    instance = proxy("openai", "m", route_type="audio/v1/audio/translations")
    exchange, attempt = first_attempt(instance, ClientRequest("POST", "/x", "", headers, body))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.translation.response(200, JSON, json.dumps(answer).encode())
    attempt.ended()
    record = exchange.record()
    assert record is not None
    assert record.get("usage", {}).get("seconds") == seconds


@pytest.mark.parametrize("data", [None, "x", [None, 5], []])
def test_no_images_are_none(data: Any) -> None:
    assert usage_of(IMAGES, {"prompt": "x"}, JSON, json.dumps({"data": data}).encode()) is None


DATA_URL = "data:image/png;base64," + "QUJD" * 400
CHAT = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA_URL}}]}]}


@pytest.mark.parametrize(
    ("route_type", "body", "answer"),
    [
        (EDITS, {"prompt": "x", "images": [{"image_url": DATA_URL}]}, {"data": [{"b64_json": "QUJD" * 400}]}),
        ("llm/v1/chat", CHAT, {"choices": [{"message": {"images": [{"image_url": {"url": DATA_URL}}]}}]}),
    ],
)
def test_no_image_is_in_a_log(route_type: str, body: Any, answer: Any) -> None:
    request = ClientRequest("POST", "/x", "", dict(JSON), json.dumps(body).encode())
    logging = {"log_payloads": True, "log_statistics": True}
    exchange, attempt = first_attempt(proxy("openai", "m", route_type=route_type, logging=logging), request)
    sent = attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.translation.response(200, JSON, json.dumps(answer).encode())
    attempt.ended()
    assert b"QUJDQUJD" in sent.body
    record = exchange.record()
    assert record is not None
    assert "QUJDQUJD" not in json.dumps(record)
    assert "[base64 not logged]" in record["payload"]["request"]
    assert "[base64 not logged]" in record["payload"]["response"]


def test_a_cut_image_is_in_no_log() -> None:
    assert without_base64(b'{"a": "' + b"QUJD" * 400) == b'{"a": "[base64 not logged]"'
    assert without_base64(b'{"a": "' + b"word " * 400) == b'{"a": "' + b"word " * 400
