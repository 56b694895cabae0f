"""Requests to OpenAI's REST APIs through an exchange: model rule, forms, streams, downloads, records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from exchange_support import advanced, answered, first_attempt, open_exchange, proxy, sent, sse, target_config

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest
from kong_ai_proxy.exchange.rest_carry import WHOLE_MAX

SPEECH = "audio/v1/audio/speech"
TRANSCRIPTION = "audio/v1/audio/transcriptions"
VIDEOS = "video/v1/videos/generations"
RESPONSES = "llm/v1/responses"
FILES = "llm/v1/files"
AUDIO = bytes(range(256)) * 400


def request(
    method: str,
    path: str,
    body: Any = None,
    content_type: str = "application/json",
    query: str = "",
    **headers: str,
) -> ClientRequest:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": content_type} if data else {}
    return ClientRequest(method, path, query, {**given, **headers}, data)


def form(**fields: str) -> ClientRequest:
    """A transcription's form; the file comes before the fields."""
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + AUDIO + b"\r\n"
    for name, value in fields.items():
        body += f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    return request("POST", "/audio/transcriptions", body + b"--B--\r\n", "multipart/form-data; boundary=B")


class Pieces:
    """An upload as the relay has them."""

    def __init__(self, body: bytes, length: int | None, size: int = 30_000) -> None:
        self.length = length
        self.started = False
        self._body = body
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        self.started = True
        for at in range(0, len(self._body), self._size):
            yield self._body[at : at + self._size]


def uploaded(whole: ClientRequest, *, length: bool = True) -> ClientRequest:
    whole.upload = Pieces(whole.body, len(whole.body) if length else None)
    whole.body = b""
    return whole


def refusal(instance: Any, asked: ClientRequest) -> ApiError:
    with pytest.raises(ApiError) as caught:
        sent(instance, asked)
    return caught.value


# The model rule.


def test_configured_model_is_added_and_others_are_refused() -> None:
    instance = proxy("openai", "gpt-4o", route_type=RESPONSES)
    assert json.loads(sent(instance, request("POST", "/responses", {"input": "x"})).body)["model"] == "gpt-4o"
    error = refusal(instance, request("POST", "/responses", {"input": "x", "model": "gpt-5"}))
    assert (error.status, error.message) == (400, "cannot use own model - must be: gpt-4o")


def test_what_need_not_change_is_not_touched() -> None:
    raw = b'{ "model":"gpt-4o",\n "input": "x" }'
    assert sent(proxy(route_type=RESPONSES), request("POST", "/responses", raw)).body == raw


def test_options_are_defaults_of_responses_only() -> None:
    options = {"temperature": 0.5, "max_tokens": 9}
    instance = proxy(route_type=RESPONSES, options=options)
    body = json.loads(sent(instance, request("POST", "/responses", {"input": "x", "temperature": 1})).body)
    assert body == {"input": "x", "temperature": 1, "max_output_tokens": 9, "model": "gpt-4o"}
    instance = proxy(name="tts-1", route_type=SPEECH, options=options)
    body = json.loads(sent(instance, request("POST", "/speech", {"input": "x", "voice": "alloy"})).body)
    assert body == {"input": "x", "voice": "alloy", "model": "tts-1"}


def test_assistant_runs_keep_their_assistants_model() -> None:
    instance = proxy(route_type="llm/v1/assistants")
    raw = b'{"assistant_id": "asst_1"}'
    assert sent(instance, request("POST", "/threads/thread_1/runs", raw)).body == raw
    error = refusal(instance, request("POST", "/threads/thread_1/runs", {"assistant_id": "a", "model": "o1"}))
    assert error.status == 400


def test_azure_names_its_deployment() -> None:
    options = {"azure_instance": "i", "azure_deployment_id": "mine"}
    instance = proxy("azure", "gpt-4o", route_type=RESPONSES, options=options)
    made = sent(instance, request("POST", "/responses", {"input": "x", "model": "gpt-4o"}))
    assert json.loads(made.body)["model"] == "mine"
    assert made.url.target == "/openai/v1/responses"


@pytest.mark.parametrize(
    ("route_type", "target"),
    [
        (TRANSCRIPTION, "/openai/deployments/mine/audio/transcriptions?api-version=2025-04-01-preview"),
        ("image/v1/images/edits", "/openai/deployments/mine/images/edits?api-version=2025-04-01-preview"),
        (FILES, "/openai/files?api-version=2025-04-01-preview"),
    ],
)
def test_azure_paths(route_type: str, target: str) -> None:
    options = {
        "azure_instance": "i", "azure_deployment_id": "mine", "azure_api_version": "2025-04-01-preview"
    }  # fmt: skip
    assert sent(proxy("azure", "m", route_type=route_type, options=options), form()).url.target == target


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        ("https://own.test", "/v1/threads/thread_1"),
        ("https://own.test/api/assistants", "/api/threads/thread_1"),
        ("https://own.test/api/threads", "/api/threads/thread_1"),
    ],
)
def test_upstream_url_is_the_collections(upstream: str, path: str) -> None:
    instance = proxy(route_type="llm/v1/assistants", options={"upstream_url": upstream})
    assert sent(instance, request("GET", "/threads/thread_1")).url.path == path


def test_get_keeps_its_query_and_drops_credentials_and_body() -> None:
    asked = request("GET", "/files", b"{}", query="limit=2&after=file-1&api_key=secret")
    made = sent(proxy(name=None, route_type=FILES), asked)
    assert (made.method, made.url.target, made.body) == ("GET", "/v1/files?limit=2&after=file-1", b"")
    assert "content-type" not in made.headers


# Forms.


def test_form_gets_the_configured_model() -> None:
    instance = proxy(name="whisper-1", route_type=TRANSCRIPTION)
    asked = form(language="de")
    made = sent(instance, asked)
    assert made.headers["content-type"] == "multipart/form-data; boundary=B"
    assert made.body == asked.body.replace(
        b"\r\n--B--", b'\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--B--'
    )
    assert sent(instance, form(model="whisper-1")).body == form(model="whisper-1").body
    assert refusal(instance, form(model="other")).status == 400


def read(made: UpstreamRequest) -> bytes:
    assert made.upload is not None
    body = b"".join(made.upload)
    assert made.upload.length in (None, len(body))
    return body


@pytest.mark.parametrize("length", [True, False])
def test_large_form_is_edited_while_it_passes(length: bool) -> None:
    instance = proxy(name="whisper-1", route_type=TRANSCRIPTION, alias=None)
    made = sent(instance, uploaded(form(language="de"), length=length))
    assert made.upload is not None and made.upload.length is None
    assert read(made).endswith(b'name="model"\r\n\r\nwhisper-1\r\n--B--\r\n')
    made = sent(proxy(name=None, route_type=TRANSCRIPTION), uploaded(form(model="m"), length=length))
    assert made.upload is not None and (made.upload.length is not None) is length
    assert read(made) == form(model="m").body


def test_other_model_behind_a_large_file_ends_the_upload() -> None:
    made = sent(proxy(name="whisper-1", route_type=TRANSCRIPTION), uploaded(form(model="other")))
    with pytest.raises(ApiError) as caught:
        read(made)
    assert caught.value.status == 400


def test_fields_before_a_large_file_keep_its_length() -> None:
    whole = form()
    field = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    whole.body = field + whole.body
    made = sent(proxy(name="whisper-1", route_type=TRANSCRIPTION), uploaded(whole))
    assert made.upload is not None and made.upload.length == len(field) + len(form().body)
    assert read(made) == field + form().body


def test_upload_may_be_tried_elsewhere_until_it_was_read() -> None:
    asked = uploaded(form(model="m"))
    exchange, attempt = first_attempt(proxy(name=None, route_type=TRANSCRIPTION), asked)
    assert exchange.request.upload is not None and not exchange.request.upload.started
    made = attempt.translation.request()
    assert read(made) == form(model="m").body
    assert exchange.request.upload.started


@pytest.mark.parametrize(
    ("route_type", "asked", "status"),
    [
        (TRANSCRIPTION, request("POST", "/t", {"model": "m"}), 415),
        (SPEECH, request("POST", "/t", b"x", "text/plain"), 415),
        (SPEECH, request("POST", "/t"), 415),
        (SPEECH, request("POST", "/t", b"{"), 400),
        (TRANSCRIPTION, request("POST", "/t", b"junk", "multipart/form-data; boundary=B"), 400),
        (FILES, request("POST", "/files", b"junk", "multipart/form-data"), 400),
    ],
)
def test_bodies_of_the_wrong_kind(route_type: str, asked: ClientRequest, status: int) -> None:
    assert refusal(proxy(name=None, route_type=route_type), asked).status == status


# Answers.


def test_usage_of_images_and_sound_is_input_and_output() -> None:
    usage = {
        "input_tokens": 17,
        "input_token_details": {"text_tokens": 2, "audio_tokens": 15},
        "output_tokens": 10,
        "total_tokens": 27,
    }
    instance = proxy(name="m", route_type=TRANSCRIPTION, options={"input_cost": 1.0, "output_cost": 10.0})
    done = answered(instance, {"text": "hello", "usage": usage}, form())
    record = done.exchange.record()
    assert record is not None
    logged = record["usage"]
    assert (logged["input_tokens"], logged["output_tokens"], logged["total_tokens"]) == (17, 10, 27)
    assert logged["input_tokens_details"] == {"text_tokens": 2, "audio_tokens_count": 15}
    assert logged["cost"] == pytest.approx((17 + 100) / 1e6)
    assert logged["prompt_tokens"] == 17


@pytest.mark.parametrize(
    ("route_type", "answer", "seconds"),
    [
        (TRANSCRIPTION, {"text": "hello", "usage": {"type": "duration", "seconds": 7}}, 7),
        (TRANSCRIPTION, {"text": "hello", "usage": {"type": "duration", "seconds": "7"}}, None),
        (TRANSCRIPTION, {"text": "hello", "usage": {"type": "duration", "seconds": -1}}, None),
        (VIDEOS, {"id": "video_1", "object": "video", "seconds": "8"}, 8),
        (VIDEOS, {"id": "video_1", "object": "video", "seconds": 4}, 4),
        (VIDEOS, {"id": "video_1", "object": "video", "seconds": None}, None),
        (VIDEOS, {"id": "video_1", "object": "video", "seconds": "eight"}, None),
    ],
)
def test_what_is_billed_by_time(route_type: str, answer: Any, seconds: int | None) -> None:
    done = answered(proxy(name="m", route_type=route_type), answer, form())
    record = done.exchange.record()
    assert record is not None
    assert record.get("usage", {}).get("seconds") == seconds
    again = answered(proxy(name="m", route_type=VIDEOS), answer, request("GET", "/videos/video_1"))
    record = again.exchange.record()
    assert record is not None and "usage" not in record


def test_reading_a_stored_response_is_not_paid_again() -> None:
    answer = {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 6}}
    done = answered(proxy(route_type=RESPONSES), answer, request("GET", "/responses/resp_1"))
    record = done.exchange.record()
    assert record is not None and "usage" not in record


def test_sound_streams_and_is_not_logged() -> None:
    instance = proxy(name="tts-1", route_type=SPEECH, logging={"log_statistics": True, "log_payloads": True})
    exchange, attempt = first_attempt(instance, request("POST", "/speech", {"input": "x"}))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    stream = attempt.translation.stream(200, {"content-type": "audio/mpeg", "x-request-id": "r"})
    assert stream is not None and stream.content_type == "audio/mpeg" and stream.binary
    assert stream.feed(AUDIO) == AUDIO
    assert stream.finish() == b""
    attempt.ended()
    record = exchange.record()
    assert record is not None
    assert list(record["payload"]) == ["request"]
    # Billed by the text's length.
    assert record["usage"]["characters"] == 1


def test_cut_sound_says_so_by_the_connection() -> None:
    _, attempt = first_attempt(proxy(name="t", route_type=SPEECH), request("POST", "/s", {"input": "x"}))
    attempt.translation.request()
    stream = attempt.translation.stream(200, {"content-type": "audio/mpeg"})
    assert stream is not None
    stream.feed(AUDIO)
    assert stream.abort(ApiError(502, "broke")) == b""
    assert stream.failed is not None and stream.binary


def test_images_are_not_logged() -> None:
    instance = proxy(
        name="m", route_type="image/v1/images/generations",
        logging={"log_statistics": True, "log_payloads": True},
    )  # fmt: skip
    answer = {"data": [{"b64_json": "A" * 5000}], "usage": {"input_tokens": 1, "output_tokens": 2}}
    done = answered(instance, answer, request("POST", "/images/generations", {"prompt": "a cat"}))
    assert done.json == answer
    record = done.exchange.record()
    assert record is not None
    assert "AAAA" not in record["payload"]["response"]
    assert "cat" in record["payload"]["request"]


@pytest.mark.parametrize("size", [10, WHOLE_MAX + 1])
def test_batch_output_tells_what_the_batch_used(size: int) -> None:
    lines = b"".join(
        json.dumps(
            {
                "custom_id": str(n),
                "response": {"body": {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}},
            }
        ).encode()
        + b"\n"
        for n in range(3)
    )
    exchange, attempt = first_attempt(
        proxy(name=None, route_type=FILES, options={"input_cost": 1.0, "output_cost": 1.0}),
        request("GET", "/files/file-1/content"),
    )
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    headers = {"content-type": "application/octet-stream", "content-length": str(size)}
    stream = attempt.translation.stream(200, headers)
    if stream is None:
        assert attempt.translation.response(200, headers, lines).body == lines
    else:
        assert b"".join(stream.feed(lines[at : at + 7]) for at in range(0, len(lines), 7)) == lines
        stream.finish()
    attempt.ended()
    record = exchange.record()
    assert record is not None
    assert (record["usage"]["prompt_tokens"], record["usage"]["completion_tokens"]) == (9, 12)
    assert record["usage"]["cost"] == pytest.approx(21 / 1e6)


def test_cut_responses_stream_ends_with_an_error_event() -> None:
    exchange, attempt = first_attempt(
        proxy(route_type=RESPONSES), request("POST", "/responses", {"input": "x", "stream": True})
    )
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    event = {"type": "response.output_text.delta", "delta": "hello there", "sequence_number": 4}
    out = stream.feed(sse(event))
    assert out == sse(event)
    last = stream.finish()
    error = json.loads(last.removeprefix(b"event: error\ndata: "))
    assert (error["type"], error["sequence_number"]) == ("error", 5)
    assert error["code"] == "upstream_stream_truncated"
    attempt.ended(partial=True)
    record = exchange.record()
    assert record is not None and record["usage"]["source"] == "partial"
    assert record["usage"]["completion_tokens"] == 3


# Preserve.


def test_preserve_passes_everything() -> None:
    instance = proxy("openai", "gpt-4o", route_type="preserve")
    made = sent(instance, request("PATCH", "/v1/any%20thing", b"\x00raw", "x/y", query="a=1"))
    assert (made.method, made.url.target, made.body) == ("PATCH", "/v1/any%20thing?a=1", b"\x00raw")
    assert made.headers["content-type"] == "x/y"
    body = {"model": "another", "messages": []}
    assert json.loads(sent(instance, request("POST", "/x", body)).body) == body


def test_preserve_with_upstream_path_and_url() -> None:
    instance = proxy("openai", "m", route_type="preserve", options={"upstream_path": "/v1/own"})
    assert sent(instance, request("POST", "/x", {})).url.target == "/v1/own"
    instance = proxy("openai", "m", route_type="preserve", options={"upstream_url": "https://own.test/a"})
    assert sent(instance, request("POST", "/x", {})).url.authority == "own.test"
    assert refusal(proxy(route_type="preserve"), request("GET", "/a/%2e%2e/b")).status == 400


def test_preserve_gives_the_answer_back_as_it_is() -> None:
    done = answered(
        proxy(route_type="preserve"), b"nope", request("POST", "/x", {}), status=418,
        headers={"content-type": "text/plain"},
    )  # fmt: skip
    assert (done.response.status, done.response.body) == (418, b"nope")
    assert done.response.headers["content-type"] == "text/plain"


def test_only_responses_are_translated() -> None:
    exchange = open_exchange(
        proxy("anthropic", "claude", route_type=RESPONSES), request("GET", "/responses/resp_1")
    )
    with pytest.raises(ApiError) as caught:
        exchange.next_attempt()
    assert (caught.value.status, caught.value.code) == (400, "unsupported_responses_api")


def test_chat_and_responses_on_one_route() -> None:
    instance = advanced(
        target_config(), target_config(route_type=RESPONSES), target_config(route_type=SPEECH)
    )
    chat = request("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
    assert sent(instance, chat).url.path == "/v1/chat/completions"
    assert sent(instance, request("POST", "/v1/responses", {"input": "x"})).url.path == "/v1/responses"
    assert sent(instance, request("POST", "/v1/audio/speech", {"input": "x"})).url.path == "/v1/audio/speech"
