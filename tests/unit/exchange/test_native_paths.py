"""Which native API a path names, which model, and where the request goes."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from exchange_support import (
    advanced,
    answered,
    client_request,
    first_attempt,
    open_exchange,
    proxy,
    target_config,
)

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.native import recognise
from kong_ai_proxy.wire.eventstream import EventStreamDecoder, encode_frame

VERTEX = {
    "api_endpoint": "us-central1-aiplatform.googleapis.com",
    "project_id": "p",
    "location_id": "us-central1",
}
AWS = {"bedrock": {"aws_region": "us-east-1"}}


def request(path: str, body: Any = None, method: str = "POST", **headers: str) -> ClientRequest:
    path, _, query = path.partition("?")
    data = b"" if body is None else json.dumps(body).encode()
    return ClientRequest(method, path, query, {"content-type": "application/json", **headers}, data)


def known(llm_format: str, path: str, method: str = "POST") -> tuple[str, str, bool]:
    native = recognise(llm_format, request(path, {}, method))
    assert native is not None
    return native.api.name, native.model, native.stream


@pytest.mark.parametrize("prefix", ["", "/ai", "/deep/er/route"])
@pytest.mark.parametrize(
    ("llm_format", "path", "expected"),
    [
        ("anthropic", "/v1/messages", ("messages", "", False)),
        ("anthropic", "/v1/messages/count_tokens", ("count_tokens", "", False)),
        ("anthropic", "/v1/messages/batches", ("message_batches", "", False)),
        ("anthropic", "/v1/messages/batches/b_1/results", ("message_batches", "", False)),
        ("anthropic", "/anything", ("messages", "", False)),
        ("anthropic", "/v1/complete", ("complete", "", False)),
        ("gemini", "/v1beta/models/g-1:generateContent", ("generateContent", "g-1", False)),
        ("gemini", "/v1beta/models/g-1%3AstreamGenerateContent", ("streamGenerateContent", "g-1", True)),
        ("gemini", "/v1beta/models/meta/l-3:generateContent", ("generateContent", "meta/l-3", False)),
        ("gemini", "/models/models/g:generateContent", ("generateContent", "g", False)),
        ("gemini", "/v1beta/models/g:embedContent", ("embedContent", "g", False)),
        ("gemini", "/v1beta/models/g:batchEmbedContent", ("batchEmbedContents", "g", False)),
        ("gemini", "/v1beta/models/g:batchEmbedContents", ("batchEmbedContents", "g", False)),
        ("gemini", "/v1beta/models/g:countTokens", ("countTokens", "g", False)),
        ("gemini", "/v1beta/models/veo:predictLongRunning", ("predictLongRunning", "veo", False)),
        ("gemini", "/v1beta/tunedModels/t:generateContent", ("generateContent", "t", False)),
        ("gemini", "/upload/v1beta/files", ("upload", "", False)),
        ("gemini", "/upload/abc/files", ("upload", "", False)),
        ("gemini", "/v1beta/files", ("files", "", False)),
        ("gemini", "/v1beta/batches", ("batches", "", False)),
        (
            "gemini",
            "/v1/projects/x/locations/l/publishers/google/models/g:streamGenerateContent",
            ("streamGenerateContent", "g", True),
        ),
        ("gemini", "/v1/projects/x/locations/l/models/g:generateContent", ("generateContent", "g", False)),
        (
            "gemini",
            "/v1/projects/x/locations/l/publishers/anthropic/models/claude:rawPredict",
            ("rawPredict", "anthropic/claude", False),
        ),
        ("gemini", "/v1/projects/x/locations/l/rankingConfigs/default:rank", ("rank", "", False)),
        ("gemini", "/v1/projects/x/locations/l/batchPredictionJobs", ("batchPredictionJobs", "", False)),
        ("bedrock", "/model/m.n-v1%3A0/converse", ("converse", "m.n-v1:0", False)),
        ("bedrock", "/model/m.n-v1:0/converse-stream", ("converse-stream", "m.n-v1:0", True)),
        (
            "bedrock",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.m/invoke",
            ("invoke", "arn:aws:bedrock:us-east-1:1:inference-profile/us.m", False),
        ),
        (
            "bedrock",
            "/model/arn:aws:bedrock:us-east-1:1:inference-profile/us.m/invoke-with-response-stream",
            ("invoke-with-response-stream", "arn:aws:bedrock:us-east-1:1:inference-profile/us.m", True),
        ),
        ("bedrock", "/converse", ("converse", "", False)),
        ("bedrock", "/converse-stream", ("converse-stream", "", True)),
        ("bedrock", "/rerank", ("rerank", "", False)),
        ("bedrock", "/model/m/rerank", ("rerank", "m", False)),
        ("bedrock", "/retrieveAndGenerate", ("retrieveAndGenerate", "", False)),
        ("bedrock", "/model/m/retrieveAndGenerateStream", ("retrieveAndGenerateStream", "m", True)),
        ("bedrock", "/model/m/async-invoke", ("async-invoke", "m", False)),
        ("bedrock", "/model-invocations", ("model-invocation-job", "", False)),
        ("cohere", "/v1/rerank", ("rerank", "", False)),
        ("cohere", "/rerank", ("rerank", "", False)),
        ("cohere", "/v2/chat", ("chat", "", False)),
        ("huggingface", "/generate", ("generate", "", False)),
        ("huggingface", "/generate_stream", ("generate_stream", "", True)),
        ("huggingface", "/", ("generate", "", False)),
    ],
)
def test_recognised(llm_format: str, path: str, expected: tuple[str, str, bool], prefix: str) -> None:
    assert known(llm_format, prefix + path) == expected


def test_openai_is_not_native() -> None:
    assert recognise("openai", request("/v1/chat/completions", {})) is None


@pytest.mark.parametrize(
    ("llm_format", "path", "method", "status"),
    [
        ("gemini", "/v1beta/models/g:deleteEverything", "POST", 404),
        ("gemini", "/v1beta/something", "POST", 404),
        ("bedrock", "/model/m/guess", "POST", 404),
        ("cohere", "/v1/finetuning", "POST", 404),
        ("bedrock", "/model/m/converse", "GET", 405),
        ("gemini", "/v1beta/models/g:generateContent", "DELETE", 405),
        ("gemini", "/v1beta/models/g", "POST", 405),
    ],
)
def test_refused(llm_format: str, path: str, method: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        recognise(llm_format, request(path, {}, method))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("llm_format", "path"),
    [
        ("bedrock", "/model/..%2F..%2Fadmin/invoke"),
        ("bedrock", "/model/a/../../admin/invoke"),
        ("bedrock", "/model/%2e%2e/converse"),
        ("bedrock", "/model-invocations/..%2Fx"),
        ("gemini", "/v1beta/models/..:generateContent"),
        ("gemini", "/v1beta/models/a%2F..%2Fb:generateContent"),
        ("gemini", "/v1beta/models/a/..:generateContent"),
        ("gemini", "/v1beta/files/%2e%2e"),
        ("gemini", "/v1beta/files/..%5cx"),
        ("gemini", "/v1beta/models/g%0d%0aHost:generateContent"),
        ("anthropic", "/v1/messages/batches/..%2f..%2fadmin"),
        ("anthropic", "/v1/messages/batches/x%00"),
    ],
)
def test_paths_that_would_lead_elsewhere(llm_format: str, path: str) -> None:
    with pytest.raises(ApiError) as caught:
        recognise(llm_format, request(path, {}, "GET" if "batches" in path or "files" in path else "POST"))
    assert caught.value.status == 400


def sent(instance: Instance, asked: ClientRequest) -> UpstreamRequest:
    return first_attempt(instance, asked)[1].translation.request()


CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_gemini_alias_in_the_path() -> None:
    instance = advanced(
        target_config("gemini", "gemini-2.5-pro", alias="smart"),
        target_config("gemini", "gemini-2.5-flash", alias="fast"),
        llm_format="gemini",
    )
    upstream = sent(instance, request("/x/v1beta/models/fast:generateContent", CONTENTS))
    assert upstream.url.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert json.loads(upstream.body) == CONTENTS
    with pytest.raises(ApiError) as caught:
        open_exchange(instance, request("/v1beta/models/other:generateContent", CONTENTS))
    assert caught.value.message == "model not configured"


def test_alias_in_bodies() -> None:
    instance = advanced(target_config("gemini", "embedder-1", alias="e"), llm_format="gemini")
    one = {"model": "models/e", "content": {"parts": [{"text": "x"}]}}
    upstream = sent(instance, request("/v1beta/models/e:batchEmbedContents", {"requests": [one]}))
    assert upstream.url.path == "/v1beta/models/embedder-1:batchEmbedContents"
    assert json.loads(upstream.body)["requests"][0]["model"] == "models/embedder-1"
    instance = advanced(target_config("cohere", "rerank-v3.5", alias="r"), llm_format="cohere")
    body = {"model": "r", "query": "q", "documents": ["a"]}
    assert json.loads(sent(instance, request("/v2/rerank", body)).body)["model"] == "rerank-v3.5"


def test_the_configured_model_is_enforced() -> None:
    instance = proxy("bedrock", "meta.llama3-70b-instruct-v1:0", llm_format="bedrock", options=AWS)
    upstream = sent(instance, request("/model/meta.llama3-70b-instruct-v1%3A0/converse", CONVERSE))
    assert upstream.url.host == "bedrock-runtime.us-east-1.amazonaws.com"
    assert upstream.url.path == "/model/meta.llama3-70b-instruct-v1%3A0/converse"
    assert sent(instance, request("/converse", CONVERSE)).url.path == upstream.url.path
    with pytest.raises(ApiError) as caught:
        open_exchange(instance, request("/model/other/converse", CONVERSE))
    assert caught.value.message.startswith("cannot use own model")
    with pytest.raises(ApiError) as caught:
        open_exchange(
            proxy("bedrock", None, llm_format="bedrock", options=AWS), request("/converse", CONVERSE)
        )
    assert caught.value.status == 400


def test_batches_cannot_smuggle_a_model_in() -> None:
    instance = proxy("anthropic", "claude-a", llm_format="anthropic")

    def batch(model: str) -> ClientRequest:
        return request("/v1/messages/batches", {"requests": [{"custom_id": "1", "params": {"model": model}}]})

    assert sent(instance, batch("claude-a")).url.path == "/v1/messages/batches"
    with pytest.raises(ApiError):
        open_exchange(instance, batch("claude-expensive"))


@pytest.mark.parametrize(
    ("path", "host", "upstream"),
    [
        ("/rerank", "bedrock-agent-runtime.us-east-1.amazonaws.com", "/rerank"),
        ("/model/m/rerank", "bedrock-agent-runtime.us-east-1.amazonaws.com", "/rerank"),
        ("/model/m/invoke", "bedrock-runtime.us-east-1.amazonaws.com", "/model/m/invoke"),
        ("/model/m/async-invoke", "bedrock-runtime.us-east-1.amazonaws.com", "/async-invoke"),
        ("/model-invocations", "bedrock.us-east-1.amazonaws.com", "/model-invocation-job"),
        ("/model-invocations/j-1/stop", "bedrock.us-east-1.amazonaws.com", "/model-invocation-job/j-1/stop"),
    ],
)
def test_bedrock_hosts(path: str, host: str, upstream: str) -> None:
    instance = proxy("bedrock", "m", llm_format="bedrock", options=AWS)
    made = sent(instance, request(f"/route{path}", {"x": 1}))
    assert (made.url.host, made.url.path) == (host, upstream)


def test_bedrock_rerank_arn() -> None:
    arn = "arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0"
    body = {
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": arn}},
        }
    }
    for name in (arn, "amazon.rerank-v1:0"):
        instance = proxy("bedrock", name, llm_format="bedrock", options=AWS)
        assert json.loads(sent(instance, request("/rerank", body)).body) == body
    with pytest.raises(ApiError):
        open_exchange(
            proxy("bedrock", "cohere.rerank-v3-5:0", llm_format="bedrock", options=AWS),
            request("/rerank", body),
        )


@pytest.mark.parametrize("place", ["knowledgeBaseConfiguration", "externalSourcesConfiguration"])
def test_the_model_of_a_generated_answer(place: str) -> None:
    """In one of two places, by the kind of the sources: recording bedrock/retrieve-and-generate/003."""
    body = {"retrieveAndGenerateConfiguration": {place: {"modelArn": "short"}}}
    instance = proxy(
        "bedrock", "anthropic.claude-3-haiku-20240307-v1:0", llm_format="bedrock", options=AWS, alias="short"
    )
    made = json.loads(sent(instance, request("/retrieveAndGenerate", body)).body)
    arn = made["retrieveAndGenerateConfiguration"][place]["modelArn"]
    assert arn == "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0"


CLAUDE_PATH = "/v1/projects/p/locations/l/publishers/anthropic/models"


class TestClaudeAsOnVertex:
    """What Anthropic's SDK `AnthropicVertex` calls, under `llm_format: anthropic`."""

    BODY: ClassVar[dict[str, Any]] = {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}],
    }

    @pytest.mark.parametrize("prefix", ["", "/route"])
    def test_recognised(self, prefix: str) -> None:
        path = f"{prefix}{CLAUDE_PATH}"
        assert known("anthropic", f"{path}/claude-x@1:rawPredict") == ("rawPredict", "claude-x@1", False)
        assert known("anthropic", f"{path}/c%3AstreamRawPredict") == ("streamRawPredict", "c", True)
        assert known("anthropic", f"{path}/count-tokens:rawPredict") == ("count_tokens", "", False)

    @pytest.mark.parametrize("stream", [False, True])
    def test_to_claude_on_vertex(self, stream: bool) -> None:
        verb = "streamRawPredict" if stream else "rawPredict"
        body = {**self.BODY, **({"stream": True} if stream else {})}
        instance = proxy("gemini", None, llm_format="anthropic", options={"gemini": VERTEX})
        upstream = sent(instance, request(f"{CLAUDE_PATH}/claude-x@1:{verb}", body))
        assert upstream.url.path == (
            f"/v1/projects/p/locations/us-central1/publishers/anthropic/models/claude-x@1:{verb}"
        )
        assert json.loads(upstream.body) == body

    @pytest.mark.parametrize("stream", [False, True])
    def test_to_anthropic(self, stream: bool) -> None:
        verb = "streamRawPredict" if stream else "rawPredict"
        instance = proxy("anthropic", None, llm_format="anthropic")
        upstream = sent(instance, request(f"{CLAUDE_PATH}/claude-x:{verb}", self.BODY))
        assert upstream.url.path == "/v1/messages"
        wanted = {"max_tokens": 5, "messages": self.BODY["messages"], "model": "claude-x"}
        assert json.loads(upstream.body) == {**wanted, **({"stream": True} if stream else {})}

    def test_to_others(self) -> None:
        instance = proxy("openai", None, llm_format="anthropic")
        upstream = sent(instance, request(f"{CLAUDE_PATH}/gpt-4o:streamRawPredict", self.BODY))
        body = json.loads(upstream.body)
        assert (body["model"], body["stream"]) == ("gpt-4o", True)

    def test_counts(self) -> None:
        body = {"anthropic_version": "vertex-2023-10-16", "model": "claude-x", "messages": []}
        path = f"{CLAUDE_PATH}/count-tokens:rawPredict"
        upstream = sent(proxy("anthropic", None, llm_format="anthropic"), request(path, body))
        assert upstream.url.path == "/v1/messages/count_tokens"
        assert json.loads(upstream.body) == {"model": "claude-x", "messages": []}


class TestLegacyCompletions:
    BODY: ClassVar[dict[str, Any]] = {
        "model": "claude-2.1",
        "prompt": "\n\nHuman: hi\n\nAssistant:",
        "max_tokens_to_sample": 5,
    }

    def test_go_to_their_own_path(self) -> None:
        upstream = sent(
            proxy("anthropic", None, llm_format="anthropic"), request("/x/v1/complete", self.BODY)
        )
        assert upstream.url.path == "/v1/complete"
        assert json.loads(upstream.body) == self.BODY

    def test_are_not_translated(self) -> None:
        with pytest.raises(ApiError) as refused:
            open_exchange(proxy("openai", None, llm_format="anthropic"), request("/v1/complete", self.BODY))
        assert refused.value.status == 400

    def test_a_stream_that_fails(self) -> None:
        instance = proxy("anthropic", None, llm_format="anthropic")
        _, attempt = first_attempt(instance, request("/v1/complete", {**self.BODY, "stream": True}))
        attempt.translation.request()
        stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
        assert stream is not None
        said = b'event: completion\ndata: {"type":"completion","completion":" Hi","stop_reason":null}\n\n'
        broken = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"o"}}\n\n'
        assert stream.feed(said + broken) + stream.finish() == said + broken
        assert stream.failed is not None
        assert stream.failed.status == 529
        assert attempt.call.output_bytes == 3


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/v1beta/models/g:countTokens",
            "/v1/projects/p/locations/us-central1/publishers/google/models/g:countTokens",
        ),
        (
            "/v1beta1/projects/theirs/locations/elsewhere/publishers/google/models/g:predict",
            "/v1beta1/projects/p/locations/us-central1/publishers/google/models/g:predict",
        ),
        (
            "/v1/projects/theirs/locations/x/batchPredictionJobs/7",
            "/v1/projects/p/locations/us-central1/batchPredictionJobs/7",
        ),
        (
            "/v1/projects/theirs/locations/x/rankingConfigs/default:rank",
            "/v1/projects/p/locations/us-central1/rankingConfigs/default:rank",
        ),
    ],
)  # fmt: skip
def test_vertex_is_the_configured_project(path: str, expected: str) -> None:
    """A client's own project and location never get the gateway's credentials."""
    instance = proxy("gemini", None, llm_format="gemini", options={"gemini": VERTEX})
    made = sent(instance, request(path, {"model": "m"}))
    assert made.url.path == expected


def test_streams_are_framed_as_asked() -> None:
    instance = proxy("gemini", None, llm_format="gemini")
    path = "/v1beta/models/g:streamGenerateContent"
    assert sent(instance, request(f"{path}?alt=sse&key=client", CONTENTS)).url.query == "alt=sse"
    assert sent(instance, request(path, CONTENTS)).url.query == ""
    vertex = proxy("gemini", None, llm_format="gemini", options={"gemini": VERTEX})
    assert sent(vertex, request(f"{path}?alt=sse", CONTENTS)).url.query == "alt=sse"
    assert sent(vertex, request(path, CONTENTS)).url.query == ""


def test_dummy_credentials_stay_behind() -> None:
    instance = proxy("gemini", None, llm_format="gemini")
    made = sent(
        instance,
        request(
            "/v1beta/models/g:countTokens?key=dummy-key",
            CONTENTS,
            **{"x-goog-api-key": "dummy-key", "authorization": "Bearer dummy-key", "cookie": "dummy-key"},
        ),
    )
    assert "dummy-key" not in str(made)
    assert made.body == request("", CONTENTS).body


def test_files_pass_with_their_method() -> None:
    instance = proxy("gemini", None, llm_format="gemini")
    made = sent(instance, request("/v1beta/files/abc", None, "DELETE"))
    assert (made.method, made.url.path, made.body) == ("DELETE", "/v1beta/files/abc", b"")
    upload = request("/upload/v1beta/files?upload_id=7", None, "POST", **{"x-goog-upload-command": "upload"})
    upload.body = b"\x00\x01binary"
    upload.headers["content-type"] = "application/pdf"
    made = sent(instance, upload)
    assert (made.url.path, made.url.query) == ("/upload/v1beta/files", "upload_id=7")
    assert made.body == b"\x00\x01binary"
    assert made.headers["content-type"] == "application/pdf"
    assert made.headers["x-goog-upload-command"] == "upload"


@pytest.mark.parametrize(
    ("provider", "options", "path", "expected"),
    [
        ("anthropic", {"upstream_url": "https://h.test/anthropic/v1/messages"}, "/v1/messages/count_tokens",
         "/anthropic/v1/messages/count_tokens"),
        ("azure", {"upstream_url": "https://r.services.ai.azure.com/anthropic/v1/messages"},
         "/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"),
        ("anthropic", {"upstream_url": "https://h.test"}, "/v1/messages/batches", "/v1/messages/batches"),
        ("anthropic", {"upstream_url": "https://h.test/base"}, "/v1/messages/batches",
         "/base/v1/messages/batches"),
    ],
)  # fmt: skip
def test_upstream_url_is_respected(provider: str, options: Any, path: str, expected: str) -> None:
    instance = proxy(provider, "m", llm_format="anthropic", options=options)
    made = sent(instance, request(path, {"model": "m", "messages": []}))
    assert made.url.path == expected


def test_counts_are_estimated_where_the_provider_cannot() -> None:
    body = {"model": "m", "system": "Be short.", "messages": [{"role": "user", "content": "x" * 400}]}
    exchange = open_exchange(
        proxy("cohere", "m", llm_format="anthropic"), request("/v1/messages/count_tokens", body)
    )
    answer = exchange.itself()
    assert answer is not None
    assert answer.headers["x-kong-ai-estimated"] == "true"
    assert 100 <= json.loads(answer.body)["input_tokens"] <= 120
    exchange = open_exchange(
        proxy("cohere", "m", llm_format="gemini"), request("/v1beta/models/m:countTokens", CONTENTS)
    )
    answer = exchange.itself()
    assert answer is not None
    assert json.loads(answer.body)["totalTokens"] > 0
    own = open_exchange(proxy("anthropic", "m", llm_format="anthropic"), request("/count_tokens", body))
    assert own.itself() is None


def test_only_its_own_provider_has_an_api() -> None:
    with pytest.raises(ApiError) as caught:
        open_exchange(
            proxy("openai", "m", llm_format="gemini"),
            request("/v1beta/models/m:embedContent", {"content": {}}),
        )
    assert caught.value.status == 400
    assert "embedContent" in caught.value.message


def test_streams_can_be_denied() -> None:
    instance = proxy("bedrock", "m", llm_format="bedrock", options=AWS, response_streaming="deny")
    with pytest.raises(ApiError):
        open_exchange(instance, request("/model/m/converse-stream", CONVERSE))
    with pytest.raises(ApiError):
        open_exchange(instance, request("/model/m/invoke-with-response-stream", {"prompt": "x"}))


def test_json_is_checked() -> None:
    instance = proxy("bedrock", "m", llm_format="bedrock", options=AWS)
    for path in ("/model/m/converse", "/model/m/invoke"):
        broken = client_request(b"{", path=path)
        with pytest.raises(ApiError) as caught:
            open_exchange(instance, broken)
        assert caught.value.status == 400


def test_usage_of_claude_behind_raw_predict() -> None:
    instance = proxy("gemini", None, llm_format="gemini", options={"gemini": VERTEX})
    path = "/v1/projects/x/locations/l/publishers/anthropic/models/claude:rawPredict"
    answer = {
        "type": "message", "id": "m", "model": "claude", "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2},
    }  # fmt: skip
    done = answered(instance, answer, request(path, {"messages": []}))
    assert done.json == answer
    usage = done.attempt.call.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 2)
    sent_url = done.attempt.translation.upstream
    assert sent_url is not None
    assert sent_url.url.path.endswith("/publishers/anthropic/models/claude:rawPredict")


def test_what_costs_no_tokens_is_not_metered() -> None:
    instance = proxy("gemini", None, llm_format="gemini")
    done = answered(instance, {"files": []}, request("/v1beta/files", None, "GET"))
    record = done.exchange.record()
    assert record is not None
    assert "usage" not in record
    assert record["meta"]["request_mode"] == "oneshot"
    done = answered(
        instance, {"embedding": {}}, request("/v1beta/models/e:embedContent", {"content": {"parts": []}})
    )
    record = done.exchange.record()
    assert record is not None
    assert record["usage"]["source"] == "estimated"


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_the_providers_errors_pass(status: int) -> None:
    instance = proxy("bedrock", "m", llm_format="bedrock", options=AWS)
    headers = {"x-amzn-errortype": "ThrottlingException"}
    for path, body in (("/model/m/invoke", {"prompt": "x"}), ("/model/m/converse", CONVERSE)):
        done = answered(instance, b'{"message":"no"}', request(path, body), status=status, headers=headers)
        assert (done.response.status, done.response.body) == (status, b'{"message":"no"}')
        assert done.response.headers["x-amzn-errortype"] == "ThrottlingException"


def test_truncated_frames_end_with_an_exception() -> None:
    """Half a frame does not go on; what does is followed by a frame that says so."""
    instance = proxy("bedrock", "m", llm_format="bedrock", options=AWS)
    _, attempt = first_attempt(instance, request("/model/m/converse-stream", CONVERSE))
    attempt.translation.request()
    kind = {"content-type": "application/vnd.amazon.eventstream"}
    stream = attempt.translation.stream(200, kind)
    assert stream is not None
    one = encode_frame({":event-type": "messageStart", ":message-type": "event"}, b'{"role":"assistant"}')
    out = stream.feed(one + one[:20]) + stream.finish()
    assert out.startswith(one)
    last = EventStreamDecoder().feed(out)[-1]
    assert (last.kind, last.name) == ("exception", "modelStreamErrorException")


TWICE = b'{"model":"dear","max_tokens":5,"messages":[{"role":"user","content":"hi"}],"model":"m"}'


@pytest.mark.parametrize(
    "body",
    [TWICE, TWICE.replace(b'{"model"', b'{"m\\u006fdel"'), TWICE.replace(b'"dear"', b'{"model":"dear"}')],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/complete"])
def test_a_model_that_is_named_twice_is_sent_once(path: str, body: bytes) -> None:
    """Who enforces a model must not read another one than the provider does."""
    given = ClientRequest("POST", path, "", {"content-type": "application/json"}, body)
    upstream = sent(proxy("anthropic", "m", llm_format="anthropic"), given)
    assert b"dear" not in upstream.body
    assert json.loads(upstream.body)["model"] == "m"


def test_a_body_without_doubt_passes_byte_for_byte() -> None:
    body = (
        b'{ "model" : "m", "max_tokens":5, "tools":[{"type":"advisor","model":"other","name":"\\u0061"}],'
        b' "messages":[{"role":"user","content":"caf\\u00e9 \\ud83e\\udd8d"}]}'
    )
    given = ClientRequest("POST", "/v1/messages", "", {"content-type": "application/json"}, body)
    assert sent(proxy("anthropic", "m", llm_format="anthropic"), given).body == body
