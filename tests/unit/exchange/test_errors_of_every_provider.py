"""Each provider's errors become OpenAI's error object, with the status, and with the headers that say when to
ask again. Bodies are in the forms of the providers' documentation and of recorded errors.
"""
# ruff: noqa: E501

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "golden"))

from golden_support import TARGETS, make

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
KEPT = {
    "retry-after": "7",
    "x-ratelimit-remaining-requests": "3",
    "anthropic-ratelimit-requests-remaining": "2",
    "x-request-id": "r1",
}
HEADERS = {"content-type": "application/json", "set-cookie": "a=b", "server": "s", **KEPT}
MISTRAL_FINDING = {
    "type": "extra_forbidden",
    "loc": ["body", "seed"],
    "msg": "Extra inputs are not permitted",
}
ERRORS: list[tuple[str, int, Any, dict[str, Any]]] = [
    (
        "anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}},
        {"message": "Slow down", "type": "rate_limit_error"},
    ),
    (
        "vertex-claude", 529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {"message": "Overloaded", "type": "overloaded_error"},
    ),
    (
        "azure", 400,
        {"error": {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter",
                   "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        {"message": "filtered", "code": "content_filter", "param": "prompt"},
    ),
    ("bedrock", 429, {"message": "Too many requests"}, {"message": "Too many requests", "type": "rate_limit_error"}),
    ("cohere", 401, {"message": "invalid api token"}, {"message": "invalid api token", "type": "authentication_error"}),
    (
        "gemini", 429, {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}},
        {"message": "Quota", "type": "rate_limit_error", "code": "RESOURCE_EXHAUSTED"},
    ),
    (
        "vertex", 400, [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}],
        {"message": "bad", "type": "invalid_request_error", "code": "INVALID_ARGUMENT"},
    ),
    (
        "mistral", 422,
        {"object": "error", "message": {"detail": [MISTRAL_FINDING]}, "type": "invalid_request_error", "code": None},
        {"message": "body.seed: Extra inputs are not permitted", "type": "invalid_request_error"},
    ),
    ("mistral", 422, {"detail": [MISTRAL_FINDING]}, {"message": "body.seed: Extra inputs are not permitted"}),
    ("ollama", 404, {"error": "model 'x' not found"}, {"message": "model 'x' not found", "type": "not_found_error"}),
    ("huggingface", 503, {"error": "Model is loading"}, {"message": "Model is loading", "type": "server_error"}),
    ("xai", 400, {"code": "invalid-argument", "error": "bad"}, {"message": "bad", "code": "invalid-argument"}),
    (
        "databricks", 400, {"error_code": "BAD_REQUEST", "message": "unknown field"},
        {"message": "unknown field", "code": "BAD_REQUEST", "type": "invalid_request_error"},
    ),
    (
        "dashscope", 400,
        {"error": {"code": "data_inspection_failed", "message": "inappropriate", "type": "data_inspection_failed"}},
        {"message": "inappropriate", "code": "content_filter"},
    ),
    (
        "cerebras", 429,
        {"message": "too many", "type": "too_many_requests_error", "param": "quota", "code": "request_quota_exceeded"},
        {"message": "too many", "code": "request_quota_exceeded", "param": "quota"},
    ),
    (
        "deepseek", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "x"}},
        {"message": "Insufficient Balance", "type": "unknown_error"},
    ),
    (
        "vllm", 400, {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
        {"message": "too long", "type": "BadRequestError"},
    ),
    (
        "openai", 429, {"error": {"message": "Limit", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
        {"message": "Limit", "type": "requests", "code": "rate_limit_exceeded"},
    ),
    ("llama2-raw", 422, {"error": "Invalid", "error_type": "validation"}, {"message": "Invalid", "code": "validation"}),
    ("llama2-openai", 500, {"error": {"code": 500, "message": "oops", "type": "server_error"}}, {"message": "oops"}),
]  # fmt: skip


@pytest.mark.parametrize(("target", "status", "body", "expected"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error(target: str, status: int, body: Any, expected: dict[str, Any], stream: bool) -> None:
    translation = make(target, {**CHAT, **({"stream": True} if stream else {})}).attempt.translation
    if stream:
        assert translation.stream(status, HEADERS) is None
    reply = translation.response(status, HEADERS, json.dumps(body).encode())
    assert reply.status == status
    error = json.loads(reply.body)["error"]
    assert {name: error[name] for name in expected} == expected
    assert {"message", "type", "param", "code"} <= error.keys()
    assert {name: reply.headers.get(name) for name in KEPT} == KEPT
    assert not {"set-cookie", "server"} & reply.headers.keys()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"upstream down", b"null", b"[]", b'"x"'])
def test_an_error_that_is_no_providers(target: str, body: bytes) -> None:
    """A load balancer in between answers for the provider."""
    reply = make(target, CHAT).attempt.translation.response(503, {"content-type": "text/html"}, body)
    assert reply.status == 503
    error = json.loads(reply.body)["error"]
    assert error["message"] and error["type"]
    assert reply.headers["content-type"] == "application/json"
