"""Results of batches and other downloads of native APIs: they go on as they come, and their tokens count."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from exchange_support import first_attempt, proxy

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.exchange.attempt import Attempt

LINES = "application/x-jsonl"
RESULTS = "/v1/messages/batches/msgbatch_1/results"
KONG = {
    "x-forwarded-host": "gw.example",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "8443",
    "x-forwarded-path": "/ai/v1/messages/batches/msgbatch_1",
}


def asked(llm_format: str, path: str, method: str = "GET", **headers: str) -> Attempt:
    request = ClientRequest(method, path, "", dict(headers))
    _, attempt = first_attempt(proxy(llm_format, "m", llm_format=llm_format), request)
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    return attempt


def line(tokens: int, **usage: int) -> bytes:
    message = {"model": "claude-x", "usage": {"input_tokens": tokens, "output_tokens": 5, **usage}}
    return (
        json.dumps({"custom_id": "c", "result": {"type": "succeeded", "message": message}}).encode() + b"\n"
    )


FAILED = b'{"custom_id":"d","result":{"type":"errored","error":{"type":"error"}}}\n'
FILE = line(10) + FAILED + line(20, cache_read_input_tokens=7)


def counts(attempt: Attempt) -> tuple[int, int, int | None]:
    usage = attempt.call.usage
    return usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens


class TestAnthropics:
    @pytest.mark.parametrize("pieces", [1, 9])
    def test_stream_through(self, pieces: int) -> None:
        attempt = asked("anthropic", RESULTS)
        stream = attempt.translation.stream(200, {"content-type": LINES})
        assert stream is not None
        step = -(-len(FILE) // pieces)
        out = (
            b"".join(stream.feed(FILE[at : at + step]) for at in range(0, len(FILE), step)) + stream.finish()
        )
        attempt.ended()
        assert out == FILE
        assert stream.content_type == LINES
        assert counts(attempt) == (37, 10, 7)
        record = attempt._exchange.record()
        assert record is not None
        assert record["usage"]["prompt_tokens"] == 37
        assert record["meta"]["response_model"] == "claude-x"

    def test_whole_where_they_are_small(self) -> None:
        attempt = asked("anthropic", RESULTS)
        headers = {"content-type": LINES, "content-length": str(len(FILE))}
        assert attempt.translation.stream(200, headers) is None
        answer = attempt.translation.response(200, headers, FILE)
        attempt.ended()
        assert answer.body == FILE
        assert counts(attempt) == (37, 10, 7)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"no json\n",
            b"[1]\n" + line(5),
            b'{"a":\n',
            b"{}\n",
            b'{"result":[]}\n{"result":0}\n',
        ],
    )
    def test_what_is_none_is_handed_on(self, data: bytes) -> None:
        attempt = asked("anthropic", RESULTS)
        stream = attempt.translation.stream(200, {"content-type": LINES})
        assert stream is not None
        assert stream.feed(data) + stream.finish() == data
        attempt.ended()
        assert attempt.call.usage.source is UsageSource.NONE

    def test_a_line_too_long_to_be_read_is_handed_on(self) -> None:
        attempt = asked("anthropic", RESULTS)
        attempt.call.max_frame = 1000
        stream = attempt.translation.stream(200, {"content-type": LINES})
        assert stream is not None
        data = line(5) + b'{"x":"' + b"y" * 3000 + b'"}\n' + line(6)
        assert stream.feed(data) + stream.finish() == data
        assert stream.failed is None
        assert counts(attempt) == (5, 5, None)


class TestAddresses:
    """Anthropic's SDK fetches results from the address that a batch names."""

    BATCH: ClassVar[dict[str, Any]] = {"id": "msgbatch_1", "results_url": f"https://api.anthropic.com{RESULTS}"}
    HERE = "https://gw.example:8443/ai/v1/messages/batches/msgbatch_1/results"

    def answer(self, body: Any, **headers: str) -> Any:
        attempt = asked("anthropic", "/v1/messages/batches/msgbatch_1", **headers)
        data = json.dumps(body).encode()
        answer = attempt.translation.response(200, {"content-type": "application/json"}, data)
        return data, answer.body

    def test_of_one_batch(self) -> None:
        _, body = self.answer(self.BATCH, **KONG)
        assert json.loads(body) == {**self.BATCH, "results_url": self.HERE}

    def test_of_a_list(self) -> None:
        listed = {"data": [self.BATCH, {"id": "b", "results_url": None}], "has_more": False}
        _, body = self.answer(listed, **{**KONG, "x-forwarded-path": "/ai/v1/messages/batches"})
        assert [one["results_url"] for one in json.loads(body)["data"]] == [self.HERE, None]

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            ({"id": "b", "results_url": None}, KONG),
            ({"id": "b", "results_url": "https://elsewhere.example/x"}, KONG),
            ([{"results_url": 3}], KONG),
            (BATCH, {}),
            (BATCH, {**KONG, "x-forwarded-path": "/elsewhere"}),
        ],
    )
    def test_left_as_they_are(self, body: Any, headers: dict[str, str]) -> None:
        sent, got = self.answer(body, **headers)
        assert got == sent


class TestGoogles:
    USED: ClassVar[dict[str, Any]] = {
        "promptTokenCount": 13,
        "candidatesTokenCount": 1,
        "thoughtsTokenCount": 43,
        "totalTokenCount": 57,
    }

    def test_in_a_batch_that_has_ended(self) -> None:
        """As recorded: gemini/batches."""
        answers = {"inlinedResponses": [{"response": {"usageMetadata": self.USED, "modelVersion": "g"}}] * 2}
        batch = {
            "metadata": {"output": {"inlinedResponses": answers}},
            "response": {"inlinedResponses": answers},
        }
        attempt = asked("gemini", "/v1beta/batches/b1")
        data = json.dumps(batch).encode()
        answer = attempt.translation.response(200, {"content-type": "application/json"}, data)
        attempt.ended()
        assert answer.body == data
        assert counts(attempt) == (26, 88, None)
        assert attempt.call.usage.total == 114

    @pytest.mark.parametrize(
        "body", [{"metadata": {}}, {"response": {"inlinedResponses": 3}}, [], {"metadata": []}]
    )
    def test_in_one_that_has_not(self, body: Any) -> None:
        attempt = asked("gemini", "/v1beta/batches/b1")
        attempt.translation.response(200, {"content-type": "application/json"}, json.dumps(body).encode())
        attempt.ended()
        assert attempt.call.usage.source is UsageSource.NONE

    def test_in_a_file(self) -> None:
        data = b"".join(
            json.dumps({"key": str(number), "response": {"usageMetadata": self.USED}}).encode() + b"\n"
            for number in range(3)
        )
        attempt = asked("gemini", "/download/v1beta/files/f:download")
        stream = attempt.translation.stream(200, {"content-type": "application/octet-stream"})
        assert stream is not None
        assert stream.feed(data) + stream.finish() == data
        attempt.ended()
        assert counts(attempt) == (39, 132, None)


@pytest.mark.parametrize(
    ("headers", "streams"),
    [
        ({"content-type": "application/pdf"}, True),
        ({"content-type": "application/pdf", "content-length": str(2**30)}, True),
        ({"content-type": "application/pdf", "content-length": "100"}, False),
        ({"content-type": "application/json"}, False),
        ({"content-type": "application/json; charset=UTF-8", "content-length": str(2**30)}, False),
    ],
)
def test_large_downloads_are_not_held(headers: dict[str, str], streams: bool) -> None:
    attempt = asked("anthropic", "/v1/files/file_1/content")
    stream = attempt.translation.stream(200, headers)
    assert (stream is not None) is streams
    if stream is not None:
        assert stream.feed(b"%PDF") + stream.finish() == b"%PDF"
        assert stream.binary
