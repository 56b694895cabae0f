"""The providers' own SDKs as clients of the gateway: against their provider, and against others."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from anthropic import Anthropic, AnthropicBedrock, AnthropicVertex, RateLimitError
from botocore.config import Config
from botocore.exceptions import ClientError
from gateway_support import COMPATIBLE, NATIVE, Gateway
from http_support import MARK, call
from wire_frames import frame

from kong_ai_proxy.mockllm import Answer, MockLLM

genai = pytest.importorskip("google.genai")
types = genai.types

PROVIDERS = [*NATIVE, *COMPATIBLE]
"""All sixteen."""
SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
ASKED = "Hello Paris"
SAID = "You said: Hello Paris"
USED = "The tools said: sunny"

_open: list[Any] = []


@pytest.fixture(autouse=True)
def _closed_clients() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def kept(client: Any) -> Any:
    _open.append(client)
    return client


def record_of(gateway: Gateway) -> dict[str, Any]:
    """The `ai.proxy` part of the next record."""
    proxy: dict[str, Any] = gateway.log.wait(1)[0]["ai"]["proxy"]
    return proxy


# -- Anthropic


def claude(gateway: Gateway, provider: str) -> Anthropic:
    url = f"{gateway.url}/anthropic-to-{provider}"
    sdk: Anthropic = kept(
        Anthropic(api_key="dummy", base_url=url, max_retries=0, timeout=10, default_headers=MARK)
    )
    return sdk


CLAUDE_TOOLS: Any = [{"name": "get_weather", "description": "The weather", "input_schema": SCHEMA}]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages(gateway: Gateway, provider: str) -> None:
    answer = claude(gateway, provider).messages.create(
        model="some-model", max_tokens=50, messages=[{"role": "user", "content": ASKED}]
    )
    assert [block.text for block in answer.content if block.type == "text"] == [SAID]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 4)
    assert record_of(gateway)["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_tool_loop(gateway: Gateway, provider: str, streamed: bool) -> None:
    sdk = claude(gateway, provider)
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]

    def turn() -> Any:
        asked: Any = {
            "model": "some-model",
            "max_tokens": 50,
            "messages": messages,
            "tools": CLAUDE_TOOLS,
            "tool_choice": {"type": "auto"},
        }
        if not streamed:
            return sdk.messages.create(**asked)
        with sdk.messages.stream(**asked) as stream:
            return stream.get_final_message()

    first = turn()
    uses = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [use.name for use in uses] == ["get_weather"]
    messages.append({"role": "assistant", "content": [block.to_dict() for block in first.content]})
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]
    messages.append({"role": "user", "content": results})
    second = turn()
    assert [block.text for block in second.content if block.type == "text"] == [USED]
    assert second.stop_reason == "end_turn"


def test_messages_error_is_anthropics(gateway: Gateway, mock: MockLLM) -> None:
    mock.answer(Answer.json({"error": {"message": "slow down", "type": "rate_limit"}}, 429))
    with pytest.raises(RateLimitError) as caught:
        claude(gateway, "openai").messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        )
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"] == {"type": "rate_limit_error", "message": "slow down"}


@pytest.mark.parametrize(
    ("provider", "path", "answer"),
    [
        ("gemini", "/v1beta/models/m:countTokens", {"totalTokens": 31}),
        ("vertex", "/v1/projects/configured/locations/us-central1/publishers/google/models/m:countTokens",
         {"totalTokens": 31}),
        ("bedrock", "/model/m/count-tokens", {"inputTokens": 31}),
    ],
)  # fmt: skip
def test_tokens_are_counted_by_others(
    gateway: Gateway, mock: MockLLM, provider: str, path: str, answer: Any
) -> None:
    mock.answer(Answer.json(answer), path)
    counted = claude(gateway, provider).messages.with_raw_response.count_tokens(
        model="m", messages=[{"role": "user", "content": "x" * 400}]
    )
    assert counted.parse().input_tokens == 31
    assert "x-kong-ai-estimated" not in counted.headers
    assert mock.last.path == path
    assert "usage" not in record_of(gateway)


@pytest.mark.parametrize("provider", ["openai", "cohere"])
def test_tokens_are_estimated_for_others(gateway: Gateway, mock: MockLLM, provider: str) -> None:
    counted = claude(gateway, provider).messages.with_raw_response.count_tokens(
        model="m", messages=[{"role": "user", "content": "x" * 400}]
    )
    assert 100 <= counted.parse().input_tokens <= 110
    assert counted.headers["x-kong-ai-estimated"] == "true"
    assert mock.requests == []


@pytest.mark.parametrize("provider", ["vertex", "anthropic", "openai"])
def test_the_sdk_for_claude_on_vertex(gateway: Gateway, mock: MockLLM, provider: str) -> None:
    sdk = kept(
        AnthropicVertex(
            base_url=f"{gateway.url}/anthropic-to-{provider}/v1", project_id="clients-own", region="l",
            access_token="dummy", max_retries=0, timeout=10, default_headers=MARK,
        )
    )  # fmt: skip
    asked: Any = {"max_tokens": 50, "messages": [{"role": "user", "content": ASKED}]}
    whole = sdk.messages.create(model="claude-sonnet-4@20250514", **asked)
    assert [block.text for block in whole.content if block.type == "text"] == [SAID]
    with sdk.messages.stream(model="claude-sonnet-4@20250514", **asked) as stream:
        assert stream.get_final_text() == SAID
    if provider == "vertex":
        place = "/v1/projects/configured/locations/us-central1/publishers/anthropic/models"
        assert mock.last.path == f"{place}/claude-sonnet-4@20250514:streamRawPredict"
        mock.answer(Answer.json({"input_tokens": 9}), f"{place}/count-tokens")
        counted = sdk.messages.count_tokens(model="claude-sonnet-4@20250514", messages=asked["messages"])
        assert counted.input_tokens == 9
        assert mock.last.path == f"{place}/count-tokens:rawPredict"
    assert all("dummy" not in value for seen in mock.requests for value in seen.headers.values())


def test_anthropics_own_apis_pass(gateway: Gateway, mock: MockLLM) -> None:
    sdk = claude(gateway, "anthropic")
    mock.answer(Answer.json({"input_tokens": 641}), "/v1/messages/count_tokens")
    counted = sdk.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}])
    assert counted.input_tokens == 641
    assert mock.last.headers["x-api-key"] == "secret-anthropic"
    batch = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
    }
    mock.answer(Answer.json(batch), "/v1/messages/batches", times=3)
    request: Any = {
        "custom_id": "one",
        "params": {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
    }
    assert sdk.messages.batches.create(requests=[request]).id == "msgbatch_1"
    assert mock.last.json == {"requests": [request]}
    sdk.messages.batches.retrieve("msgbatch_1")
    assert (mock.last.method, mock.last.path) == ("GET", "/v1/messages/batches/msgbatch_1")
    assert mock.last.body == b""
    sdk.messages.batches.cancel("msgbatch_1")
    assert (mock.last.method, mock.last.path) == ("POST", "/v1/messages/batches/msgbatch_1/cancel")
    ended = {**batch, "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}
    mock.answer(Answer.json(ended), "/v1/messages/batches")
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": SAID}], "usage": {"input_tokens": 5, "output_tokens": 4},
    }  # fmt: skip
    line = (
        json.dumps({"custom_id": "one", "result": {"type": "succeeded", "message": message}}).encode() + b"\n"
    )
    results = Answer.stream([line, line], "application/x-jsonl")
    mock.answer(results, "/v1/messages/batches/msgbatch_1/results")
    got = [one.result.message.content[0].text for one in sdk.messages.batches.results("msgbatch_1")]
    assert got == [SAID, SAID]
    assert mock.last.path == "/v1/messages/batches/msgbatch_1/results"


# -- Google

GOOGLE_TO = [
    *((provider, "public") for provider in PROVIDERS),
    *((provider, "vertex") for provider in ("gemini", "vertex", "openai", "anthropic", "bedrock")),
]
"""Route and mode of the SDK: its public mode to all sixteen, as for Vertex to some."""


def google(gateway: Gateway, provider: str, mode: str) -> Any:
    options = types.HttpOptions(base_url=f"{gateway.url}/gemini-to-{provider}", headers=MARK, timeout=10_000)
    if mode == "public":
        return kept(genai.Client(api_key="dummy", vertexai=False, http_options=options))
    from google.oauth2.credentials import Credentials

    return kept(
        genai.Client(
            vertexai=True,
            project="clients-own",
            location="europe-west1",
            credentials=Credentials(token="dummy"),
            http_options=options,
        )
    )


@pytest.mark.parametrize(("provider", "mode"), GOOGLE_TO)
def test_generate_content(gateway: Gateway, provider: str, mode: str) -> None:
    sdk = google(gateway, provider, mode)
    config = types.GenerateContentConfig(system_instruction="Be short.", max_output_tokens=50)
    answer = sdk.models.generate_content(model="some-model", contents=ASKED, config=config)
    assert answer.text == SAID
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata.prompt_token_count == 7
    assert record_of(gateway)["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("provider", "mode"), GOOGLE_TO)
def test_generate_content_tool_loop(gateway: Gateway, provider: str, mode: str, streamed: bool) -> None:
    sdk = google(gateway, provider, mode)
    declared = types.FunctionDeclaration(name="get_weather", description="x", parameters_json_schema=SCHEMA)
    chat = sdk.chats.create(
        model="some-model",
        config=types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        ),
    )

    def send(message: Any) -> list[Any]:
        if not streamed:
            return [chat.send_message(message)]
        return list(chat.send_message_stream(message))

    calls = [one for answer in send("Weather in Paris?") for one in answer.function_calls or []]
    assert [one.name for one in calls] == ["get_weather"]
    assert calls[0].args
    result = types.Part.from_function_response(name="get_weather", response={"result": "sunny"})
    said = "".join(
        part.text or ""
        for answer in send(result)
        for part in (answer.candidates[0].content.parts or [])
        if not part.thought
    )
    assert said == USED


@pytest.mark.parametrize("provider", ["gemini", "openai"])
def test_generate_content_as_array(gateway: Gateway, provider: str) -> None:
    """Without `alt=sse` the stream is one JSON array; its usage goes to the log by itself."""
    answer = call(
        gateway.url,
        f"/gemini-to-{provider}/v1beta/models/some-model:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": ASKED}]}]},
    )
    assert answer.headers["content-type"].startswith("application/json")
    elements = answer.json
    parts = [part for one in elements for part in one["candidates"][0]["content"]["parts"]]
    assert "".join(part["text"] for part in parts) == SAID
    assert elements[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("prefix", ["", "bare/"])
@pytest.mark.parametrize("provider", ["bedrock", "openai"])
def test_usage_of_frames_and_arrays(gateway: Gateway, provider: str, prefix: str) -> None:
    """In the request's own record with the filter, which takes it out of frames and arrays too; without it,
    the plugin server logs it."""
    if prefix and not hasattr(gateway, "server_log"):
        pytest.skip("the log of this gateway's plugin server is elsewhere")
    model = f"m-{uuid.uuid4().hex}"
    for path, body in (
        (
            f"/{prefix}bedrock-to-{provider}/model/{model}/converse-stream",
            {"messages": [{"role": "user", "content": [{"text": ASKED}]}]},
        ),
        (
            f"/{prefix}gemini-to-{provider}/v1beta/models/{model}:streamGenerateContent",
            {"contents": [{"role": "user", "parts": [{"text": ASKED}]}]},
        ),
    ):
        answer = call(gateway.url, path, body)
        assert answer.status == 200
        assert "x-kong-ai-usage" not in answer.headers
        assert b"kong-ai-usage" not in answer.body
    if not prefix:
        usages = [record["ai"]["proxy"]["usage"] for record in gateway.log.wait(2)]
        assert [usage["completion_tokens"] for usage in usages] == [4, 4]
        assert all("source" not in usage for usage in usages), "the whole answer's"
        return

    def used() -> list[int]:
        lines = [json.loads(line) for line in gateway.server_log().splitlines() if model in line]
        return [
            line["ai"]["proxy"]["usage"]["completion_tokens"] for line in lines if line["event"] == "usage"
        ]

    # Written once the client has its answer.
    until = time.monotonic() + 5
    while len(used()) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert used() == [4, 4]


def test_google_errors_are_googles(gateway: Gateway, mock: MockLLM) -> None:
    mock.answer(Answer.json({"error": {"message": "slow down", "type": "rate_limit"}}, 429))
    with pytest.raises(genai.errors.ClientError) as caught:
        google(gateway, "openai", "public").models.generate_content(model="m", contents="x")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert caught.value.message == "slow down"


def test_googles_own_apis_pass(gateway: Gateway, mock: MockLLM) -> None:
    sdk = google(gateway, "gemini", "public")
    embedded = sdk.models.embed_content(model="embedder", contents="Hello")
    assert len(embedded.embeddings[0].values) == 8
    assert mock.last.path.endswith("/models/embedder:batchEmbedContents")
    mock.answer(Answer.json({"totalTokens": 31}))
    assert sdk.models.count_tokens(model="counter", contents="Hello").total_tokens == 31
    mock.answer(Answer.json({"name": "files/abc", "state": "ACTIVE"}))
    assert sdk.files.get(name="files/abc").name == "files/abc"
    assert mock.last.method == "GET"
    assert mock.last.headers["x-goog-api-key"] == "secret-gemini"
    mock.answer(Answer.json({}))
    sdk.files.delete(name="files/abc")
    assert mock.last.method == "DELETE"
    assert all("dummy" not in value for seen in mock.requests for value in seen.headers.values())


def test_googles_files_are_uploaded_through_the_gateway(
    gateway: Gateway, mock: MockLLM, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"some text " * 50_000)
    begun = {
        "x-goog-upload-url": f"{mock.url}/upload/v1beta/files?upload_id=7",
        "x-goog-upload-status": "active",
    }
    mock.answer(Answer.json({}, headers=begun), "/upload/")
    stored = {"file": {"name": "files/n", "sizeBytes": "500000"}}
    mock.answer(Answer.json(stored, headers={"x-goog-upload-status": "final"}), "/upload/")
    sdk = google(gateway, "gemini", "public")
    assert sdk.files.upload(file=str(file), config={"mime_type": "text/plain"}).name == "files/n"
    first, second = mock.requests
    assert (first.method, first.headers["x-goog-upload-command"]) == ("POST", "start")
    assert "upload_id=7" in second.query
    assert second.body == file.read_bytes()
    assert second.headers["x-goog-upload-command"] == "upload, finalize"
    assert second.headers["x-goog-api-key"] == "secret-gemini"


# -- AWS


def aws(gateway: Gateway, provider: str, service: str = "bedrock-runtime") -> Any:
    client = boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=f"{gateway.url}/bedrock-to-{provider}",
        aws_access_key_id="AKIADUMMY",
        aws_secret_access_key="dummy",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )

    def mark(request: Any, **_: Any) -> None:
        for name, value in MARK.items():
            request.headers.add_header(name, value)

    client.meta.events.register("before-sign", mark)
    return kept(client)


NOVA = "us.amazon.nova-lite-v1"
AWS_TOOLS: Any = {
    "tools": [{"toolSpec": {"name": "get_weather", "description": "x", "inputSchema": {"json": SCHEMA}}}]
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_converse(gateway: Gateway, provider: str) -> None:
    answer = aws(gateway, provider).converse(
        modelId=NOVA,
        messages=[{"role": "user", "content": [{"text": ASKED}]}],
        system=[{"text": "Be short."}],
        inferenceConfig={"maxTokens": 50},
    )
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": SAID}]}
    assert answer["stopReason"] == "end_turn"
    assert (answer["usage"]["inputTokens"], answer["usage"]["outputTokens"]) == (7, 4)
    assert record_of(gateway)["usage"]["completion_tokens"] == 4


def streamed_message(events: Any) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The message, the stop reason and the usage of a ConverseStream."""
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage = "", {}
    for event in events:
        ((name, value),) = event.items()
        index = value.get("contentBlockIndex")
        if name == "contentBlockStart":
            blocks[index] = {"toolUse": {**value["start"]["toolUse"], "input": ""}}
        elif name == "contentBlockDelta" and "toolUse" in value["delta"]:
            blocks[index]["toolUse"]["input"] += value["delta"]["toolUse"]["input"]
        elif name == "contentBlockDelta" and "text" in value["delta"]:
            blocks.setdefault(index, {"text": ""})["text"] += value["delta"]["text"]
        elif name == "messageStop":
            stop = value["stopReason"]
        elif name == "metadata":
            usage = value["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
    return {"role": "assistant", "content": [blocks[at] for at in sorted(blocks)]}, stop, usage


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_converse_tool_loop(gateway: Gateway, provider: str, streamed: bool) -> None:
    sdk = aws(gateway, provider)
    messages: Any = [{"role": "user", "content": [{"text": "Weather in Paris?"}]}]

    def turn() -> tuple[dict[str, Any], str, dict[str, Any]]:
        asked: Any = {"modelId": NOVA, "messages": messages, "toolConfig": AWS_TOOLS}
        if streamed:
            return streamed_message(sdk.converse_stream(**asked)["stream"])
        answer = sdk.converse(**asked)
        return answer["output"]["message"], answer["stopReason"], answer["usage"]

    message, stop, usage = turn()
    uses = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    assert (stop, [use["name"] for use in uses]) == ("tool_use", ["get_weather"])
    assert usage["outputTokens"] > 0
    results = [
        {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "sunny"}]}} for use in uses
    ]
    messages += [message, {"role": "user", "content": results}]
    message, stop, _ = turn()
    assert [block["text"] for block in message["content"] if "text" in block] == [USED]
    assert stop == "end_turn"


def test_the_sdk_for_claude_on_bedrock(gateway: Gateway, mock: MockLLM) -> None:
    """As Claude Code goes to Bedrock: InvokeModel's paths, signed with keys of no worth."""
    sdk = kept(
        AnthropicBedrock(
            base_url=f"{gateway.url}/bedrock-to-bedrock", aws_region="us-east-1", aws_access_key="AKIADUMMY",
            aws_secret_key="dummy", max_retries=0, timeout=10, default_headers=MARK,
        )
    )  # fmt: skip
    model = "us.anthropic.claude-sonnet-4-5-v1:0"
    asked: Any = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": ASKED}]}
    whole = sdk.messages.create(**asked)
    assert [block.text for block in whole.content if block.type == "text"] == [SAID]
    assert record_of(gateway)["usage"]["completion_tokens"] == 4
    with sdk.messages.stream(**asked) as stream:
        assert stream.get_final_text() == SAID
    assert mock.last.path.endswith("/invoke-with-response-stream")
    assert "AKIADUMMY" not in mock.last.headers["authorization"]


def test_aws_errors_are_awss(gateway: Gateway, mock: MockLLM) -> None:
    mock.answer(Answer.json({"error": {"message": "slow down", "type": "rate_limit"}}, 429))
    with pytest.raises(ClientError) as caught:
        aws(gateway, "openai").converse(modelId="m", messages=[{"role": "user", "content": [{"text": "x"}]}])
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    assert caught.value.response["Error"]["Message"] == "slow down"


def test_aws_own_apis_pass(gateway: Gateway, mock: MockLLM) -> None:
    counts = {"x-amzn-bedrock-input-token-count": "3", "x-amzn-bedrock-output-token-count": "5"}
    mock.answer(Answer.json({"generation": "hi"}, headers=counts), "/model/")
    answer = aws(gateway, "bedrock").invoke_model(modelId="meta.llama3-70b", body=b'{"prompt": "x"}')
    assert json.loads(answer["body"].read()) == {"generation": "hi"}
    assert mock.last.path == "/model/meta.llama3-70b/invoke"
    assert "AKIAEXAMPLE" in mock.last.headers["authorization"]
    usage = record_of(gateway)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 5)

    agent = aws(gateway, "bedrock", "bedrock-agent-runtime")
    arn = "arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0"
    mock.answer(Answer.json({"results": [{"index": 1, "relevanceScore": 0.9}]}), "/rerank")
    ranked = agent.rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": "q"}}],
        sources=[
            {
                "type": "INLINE",
                "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "one"}},
            }
        ],
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": arn}},
        },
    )
    assert ranked["results"][0]["index"] == 1
    mock.answer(Answer.json({"sessionId": "s", "output": {"text": "found"}}), "/retrieveAndGenerate")
    found = agent.retrieve_and_generate(
        input={"text": "q"},
        retrieveAndGenerateConfiguration={
            "type": "KNOWLEDGE_BASE",
            "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB", "modelArn": arn},
        },
    )
    assert found["output"]["text"] == "found"


def test_aws_streams_pass_frame_by_frame(gateway: Gateway, mock: MockLLM) -> None:
    """A retrieveAndGenerateStream, and its end by an exception."""
    arn = "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0"
    frames = [
        frame("output", {"text": "one "}),
        frame("output", {"text": "two"}),
        frame("throttlingException", {"message": "slow"}, kind="exception"),
    ]
    mock.answer(Answer.stream(frames, "application/vnd.amazon.eventstream"), "/retrieveAndGenerateStream")
    stream = aws(gateway, "bedrock", "bedrock-agent-runtime").retrieve_and_generate_stream(
        input={"text": "q"},
        retrieveAndGenerateConfiguration={
            "type": "KNOWLEDGE_BASE",
            "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB", "modelArn": arn},
        },
    )["stream"]
    said = []
    with pytest.raises(ClientError) as caught:
        said += [event["output"]["text"] for event in stream]
    stream.close()
    assert "slow" in str(caught.value)


# -- Cohere and Hugging Face


def test_cohere_rerank(gateway: Gateway, mock: MockLLM) -> None:
    cohere = pytest.importorskip("cohere")
    answer = {
        "id": "r",
        "results": [{"index": 0, "relevance_score": 0.5}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    mock.answer(Answer.json(answer), "/v2/rerank")
    http = kept(httpx.Client(headers=MARK, timeout=10))
    sdk = cohere.ClientV2(api_key="dummy", base_url=f"{gateway.url}/cohere-to-cohere", httpx_client=http)
    ranked = sdk.rerank(model="rerank-v3.5", query="q", documents=["a", "b"])
    assert ranked.results[0].index == 0
    assert mock.last.headers["authorization"] == "Bearer secret-key"
    assert mock.last.json["model"] == "rerank-v3.5"


def test_huggingface_text_generation(gateway: Gateway, mock: MockLLM) -> None:
    hub = pytest.importorskip("huggingface_hub")
    url = f"{gateway.url}/huggingface-to-huggingface"
    sdk = hub.InferenceClient(model=f"{url}/generate", token="dummy", headers=dict(MARK))
    assert sdk.text_generation(ASKED) == SAID
    assert mock.last.headers["authorization"] == "Bearer secret-key"
    streaming = hub.InferenceClient(model=f"{url}/generate_stream", token="dummy", headers=dict(MARK))
    assert "".join(streaming.text_generation(ASKED, stream=True)) == SAID
    assert mock.last.path == "/generate_stream"
    getattr(hub, "close_session", lambda: None)()
