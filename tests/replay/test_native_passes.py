"""Recorded traffic of native APIs, for clients that speak them, to their own provider: byte for byte.

The path, the model and the body reach the provider as they were recorded; the answer reaches the client as it
was, however it is split; what was used is read on the way.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from exchange_support import first_attempt
from recordings_support import load_recording, recorded

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.exchange.exchange import Attempt
from kong_ai_proxy.exchange.instance import PROXY, Instance
from kong_ai_proxy.mockllm.recorded import recorded_body

FORMATS = {
    "anthropic": "anthropic",
    "bedrock": "bedrock",
    "cohere": "cohere",
    "gemini": "gemini",
    "huggingface": "huggingface",
    "vertex": "gemini",
}
_AWS = {"aws_access_key_id": "AKIATEST0000000", "aws_secret_access_key": "secret-for-tests"}
_VERTEX = {"api_endpoint": "aiplatform.googleapis.com", "project_id": "p", "location_id": "l"}


def instance(provider: str, llm_format: str) -> Instance:
    options: dict[str, Any] = {}
    if provider == "vertex":
        options["gemini"] = _VERTEX
    if llm_format == "bedrock":
        options["bedrock"] = {"aws_region": "us-east-1"}
    auth: dict[str, Any] = {"header_name": "Authorization", "header_value": "Bearer sk-configured"}
    return Instance.from_config(
        PROXY,
        {
            "route_type": "llm/v1/chat",
            "llm_format": llm_format,
            "auth": _AWS if llm_format == "bedrock" else auth,
            "logging": {"log_statistics": True},
            "model": {
                "provider": FORMATS[provider] if provider == "vertex" else provider,
                "options": options,
            },
        },
    )


def started(recording: Any) -> tuple[Attempt, bytes]:
    """The attempt at passing a recorded request on, and the recorded body as a client would send it."""
    provider = recording["provider"]
    url = urlsplit(recording["request"]["url"])
    body = recording["request"]["body"]
    data = b"" if body is None else json.dumps(body).encode()
    # As behind a route that does not strip its prefix.
    request = ClientRequest(
        recording["request"]["method"],
        f"/route{url.path}",
        re.sub(r"&?key=REDACTED", "", url.query),
        {"content-type": "application/json", "accept": "*/*"},
        data,
    )
    _, attempt = first_attempt(instance(provider, FORMATS[provider]), request)
    return attempt, data


CHATS = recorded(
    "anthropic/native-messages",
    "bedrock/converse",
    "bedrock/invoke",
    "bedrock/embeddings-invoke",
    "cohere/native-chat",
    "cohere/rerank",
    "gemini/native-generate",
    "gemini/embeddings-native",
    "gemini/count-tokens",
    "huggingface/native-inference",
    "vertex/native-generate",
    "anthropic/count-tokens",
    "anthropic/batches",
    "gemini/batches",
    "gemini/files",
    "anthropic/files",
    "anthropic/models",
    "anthropic/native-complete",
    "bedrock/count-tokens",
    "bedrock/retrieve-and-generate",
    "cohere/tokenize",
    "gemini/cached-contents",
    "gemini/models",
    "gemini/video",
    "vertex/cached-contents",
    "vertex/count-tokens",
    "vertex/embeddings-native",
)


def _skip_what_is_no_native_call(recording: Any) -> None:
    if recording["request"]["method"] == "POST" and not isinstance(recording["request"]["body"], dict):
        pytest.skip("the body was not recorded as it was")
    if "/v1/chat/completions" in recording["request"]["url"]:
        pytest.skip("OpenAI's form")
    if recording["provider"] == "huggingface" and "/models/" not in recording["request"]["url"]:
        pytest.skip("an address of its own: it would be configured")
    if "/knowledgebases/" in recording["request"]["url"]:
        pytest.skip("retrieves and asks no model: not one of the APIs of llm_format bedrock")
    if recording["provider"] == "cohere" and "model" not in recording["request"]["body"]:
        pytest.skip("a request has to name a model, where none is configured")


@CHATS
def test_passes(recording_id: str) -> None:
    recording = load_recording(recording_id)
    _skip_what_is_no_native_call(recording)
    attempt, data = started(recording)
    upstream = attempt.translation.request()
    recorded_url = urlsplit(recording["request"]["url"])
    assert upstream.method == recording["request"]["method"]
    assert upstream.body == data
    if recording["provider"] in ("anthropic", "bedrock", "cohere", "gemini"):
        assert unquote(upstream.url.path) == unquote(recorded_url.path)
    if recording["provider"] in ("anthropic", "cohere", "gemini"):
        assert upstream.url.host == (recorded_url.hostname or "").replace("api.cohere.ai", "api.cohere.com")
    answer = recording["response"]
    if recording.get("fidelity") == "decoded-chunks" or answer["status"] is None:
        return
    body = recorded_body(answer)
    usual = "text/event-stream" if recording["stream"] == "sse" else "application/json"
    headers = {"content-type": usual, **answer["headers"]}
    if answer["status"] == 200 and recording["stream"]:
        for pieces in (1, 7):
            attempt, _ = started(recording)
            attempt.translation.request()
            stream = attempt.translation.stream(200, headers)
            assert stream is not None
            size = -(-len(body) // pieces) or 1
            got = b"".join(stream.feed(body[at : at + size]) for at in range(0, len(body), size))
            got += stream.finish()
            assert got.startswith(body) if stream.failed else got == body
            if stream.failed is None:
                assert attempt.call.usage.source in (UsageSource.REPORTED, UsageSource.NONE)
                assert attempt.call.usage.source is UsageSource.REPORTED or _tells_no_usage(body)
        return
    response = attempt.translation.response(answer["status"], headers, body)
    assert response.status == answer["status"]
    assert response.body == body


def _tells_no_usage(body: bytes) -> bool:
    return not re.search(rb"[uU]sage|Tokens?Count|_tokens", body)
