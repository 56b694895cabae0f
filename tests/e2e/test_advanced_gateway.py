"""AI Proxy Advanced through the gateway, beyond the documented examples: failover from one provider and
format to the next, access rules, descriptions in PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest
from advanced_gateway import World
from http_support import call

from kong_ai_proxy.mockllm import Answer

pytestmark = pytest.mark.filterwarnings("ignore:SSLContext:DeprecationWarning")
ASK: Any = {"messages": [{"role": "user", "content": "Hello Oslo"}], "max_tokens": 64}


@pytest.mark.parametrize("stream", [False, True])
def test_failover_from_one_providers_format_to_the_next(advanced: World, stream: bool) -> None:
    """OpenAI refuses, Anthropic is overloaded (529 counts as 503), Bedrock breaks off within its head, Gemini
    answers: the client sees one answer in its own form, each provider a request in its own."""
    mock = advanced.mock
    busy: Any = {"error": {"type": "server_error", "message": "busy"}}
    mock.answer(Answer.json(busy, 503), "/v1/chat/completions")
    mock.answer(Answer.json({"type": "error", "error": {"type": "overloaded_error"}}, 529), "/v1/messages")
    mock.answer(Answer(200, {"content-type": "application/json"}, b"{}", head_cut=20), "/model/")
    answer = call(advanced.embedded.url, "/across", {**ASK, "stream": stream})
    assert answer.status == 200, answer.body
    if stream:
        lines = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        assert lines.pop() == "[DONE]"
        choices = [choice for line in lines for choice in json.loads(line)["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
    else:
        text = answer.json["choices"][0]["message"]["content"]
    assert text == "You said: Hello Oslo"
    assert answer.headers["x-kong-llm-model"] == "gemini/gemini-2.5-flash"
    first, second, third, last = mock.requests
    assert first.json["messages"] == ASK["messages"] and first.json["max_tokens"] == 64
    assert second.json["max_tokens"] == 64 and second.headers["x-api-key"] == "secret-anthropic"
    assert third.json["inferenceConfig"]["maxTokens"] == 64
    assert third.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
    assert last.json["contents"][0]["parts"] == [{"text": "Hello Oslo"}]
    for request, other in ((first, "x-api-key"), (second, "authorization"), (last, "authorization")):
        assert other not in request.headers, "no target sees another's credential"
    record = advanced.record()
    tried = [(entry["provider"], entry["host"]) for entry in record["tried_targets"]]
    assert tried == [
        ("openai", "api.openai.com"),
        ("anthropic", "api.anthropic.com"),
        ("bedrock", "bedrock-runtime.us-east-1.amazonaws.com"),
        ("gemini", "generativelanguage.googleapis.com"),
    ]
    assert record["meta"]["provider_name"] == "gemini"
    assert record["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("form", "path", "body", "where"),
    [
        ("openai", "", ASK, ("error", "code")),
        ("anthropic", "/v1/messages", {**ASK, "model": "gpt-4o"}, ("error", "type")),
        ("gemini", "/v1beta/models/gpt-4o:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]},
         ("error", "status")),
    ],
)  # fmt: skip
def test_access_rules_refuse_in_the_clients_format(
    advanced: World, form: str, path: str, body: Any, where: tuple[str, str]
) -> None:
    url = f"/acl-{form}{path}"
    refused = call(advanced.embedded.url, url, body, headers={"x-team": "interns"})
    assert refused.status == 403
    wanted = {"openai": "access_denied", "anthropic": "permission_error", "gemini": "PERMISSION_DENIED"}
    assert refused.json[where[0]][where[1]] == wanted[form]
    assert not advanced.mock.requests
    allowed = call(advanced.embedded.url, url, body, headers={"x-team": "staff"})
    assert allowed.status == 200, allowed.body
    assert advanced.mock.last.headers["host"] == "api.openai.com", "the only provider that is allowed"


def test_descriptions_in_postgres(advanced: World, postgres: Any) -> None:
    if not postgres:
        pytest.skip("PostgreSQL does not start here")
    for text, provider in (
        ("programming questions, Python", "openai"),
        ("verse and poems", "anthropic"),
        ("what time is it?", "gemini"),
    ):
        answer = call(
            advanced.embedded.url, "/semantic-pgvector", {"messages": [{"role": "user", "content": text}]}
        )
        assert answer.status == 200, answer.body
        assert answer.headers["x-kong-llm-model"].startswith(provider), text
    import pg8000.dbapi

    connection = pg8000.dbapi.connect(**postgres)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*), min(vector_dims(embedding)) FROM kong_ai_proxy_descriptions_256")
        assert list(cursor.fetchone() or ()) == [2, 256]
    finally:
        connection.close()
    assert advanced.record()["meta"]["provider_name"] == "openai"
