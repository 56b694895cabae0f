"""The openai SDK's files and batches on providers that have another API for them: there, back, and listed."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_support import Json, target
from http_support import MARK
from rest_gateway import RestGateway

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
FILES, BATCHES = "llm/v1/files", "llm/v1/batches"
PROVIDERS = ("anthropic", "gemini", "bedrock", "vertex")
ENDPOINT: Any = "/v1/chat/completions"


def routes(mock: str) -> dict[str, Json]:
    """Plugin configurations by route: files and batches of each provider."""
    bedrock = {
        "aws_region": "us-east-1", "batch_bucket_prefix": "s3://mock-batches/some/where/",
        "batch_role_arn": "arn:aws:iam::123456789012:role/batches",
    }  # fmt: skip
    vertex = {"api_endpoint": "us.test", "project_id": "p-1", "location_id": "us-central1"}
    costs = {"input_cost": 10.0, "output_cost": 100.0, "max_tokens": 64}
    made = {}
    for kind, route_type in (("files", FILES), ("batches", BATCHES)):
        made |= {
            f"anthropic-{kind}": target(mock, "anthropic", "claude-x", "/v1/messages", route_type, **costs),
            f"gemini-{kind}": target(mock, "gemini", "gemini-x", "", route_type, **costs),
            f"bedrock-{kind}": target(
                mock, "bedrock", "some.model-v1:0", "", route_type, bedrock=bedrock, **costs
            ),
            f"vertex-{kind}": {
                **target(mock, "gemini", "gemini-x", "", route_type, gemini=vertex, **costs),
                "auth": {"header_name": "Authorization", "header_value": "Bearer a-token-of-google"},
                "kong_ai_proxy": {"gemini_batch_bucket_prefix": "gs://mock-batches/vertex/"},
            },
        }
    return made


@pytest.fixture(scope="module")
def running() -> Iterator[RestGateway]:
    gateway = RestGateway(routes)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL_S3", gateway.mock.url)
        environment.setenv("STORAGE_EMULATOR_HOST", gateway.mock.url)
        with gateway:
            yield gateway


@pytest.fixture
def rest(running: RestGateway) -> Iterator[RestGateway]:
    MARK["x-test"] = uuid.uuid4().hex
    running.mock.reset()
    yield running
    running.close_clients()


def requests(*said: str, **body: Any) -> bytes:
    lines = [
        {
            "custom_id": f"request {number}", "method": "POST", "url": ENDPOINT,
            "body": {"messages": [{"role": "user", "content": text}], **body},
        }
        for number, text in enumerate(said)
    ]  # fmt: skip
    return b"\n".join(json.dumps(line).encode() for line in lines)


def upload(rest: RestGateway, provider: str, data: bytes) -> Any:
    files = rest.client(f"{provider}-files").files
    return files.create(file=("mine.jsonl", io.BytesIO(data)), purpose="batch")


def ended(batches: Any, id: str) -> Any:
    for _ in range(5):
        batch = batches.retrieve(id)
        if batch.status not in ("validating", "in_progress"):
            return batch
    raise AssertionError(batch)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_there_and_back(rest: RestGateway, provider: str) -> None:
    file = upload(rest, provider, requests("hello", "please fail", "good day"))
    assert file.object == "file" and file.purpose == "batch" and file.id.startswith("file-")
    batches = rest.client(f"{provider}-batches").batches
    batch = batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    assert batch.id.startswith("batch_") and batch.input_file_id == file.id
    assert batch.status in ("validating", "in_progress") and batch.request_counts.total == 3
    batch = ended(batches, batch.id)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 2, 1)
    assert batch.completed_at == 1748772120 and batch.output_file_id and batch.error_file_id
    files = rest.client(f"{provider}-files").files
    answers = [json.loads(line) for line in files.content(batch.output_file_id).iter_lines()]
    assert [each["custom_id"] for each in answers] == ["request 0", "request 2"]
    assert [each["response"]["body"]["choices"][0]["message"]["content"] for each in answers] == [
        "You said: hello", "You said: good day",
    ]  # fmt: skip
    usage = [each["response"]["body"]["usage"] for each in answers]
    errors = [json.loads(line) for line in files.content(batch.error_file_id).iter_lines()]
    assert [(each["custom_id"], each["response"]["status_code"]) for each in errors] == [("request 1", 400)]
    assert errors[0]["response"]["body"]["error"]["message"] == "mock failure"
    assert files.retrieve(batch.output_file_id).purpose == "batch_output"
    assert not any("client-key" in str(each.headers) for each in rest.mock.requests)
    if provider != "anthropic":  # whose results are of unknown length: the plugin server logs their usage
        logged = [record["ai"]["proxy"].get("usage") for record in rest.log.wait(6)]
        (told,) = [each for each in logged if each]
        assert told["prompt_tokens"] == sum(each["prompt_tokens"] for each in usage)
        assert told["cost"] > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_requests_in_the_body(rest: RestGateway, provider: str) -> None:
    batches = rest.client(f"{provider}-batches").batches
    lines = [json.loads(line) for line in requests("hello").splitlines()]
    batch = batches.create(
        input_file_id="", endpoint=ENDPOINT, completion_window="24h", extra_body={"requests": lines}
    )
    assert ended(batches, batch.id).request_counts.completed == 1


def test_embeddings(rest: RestGateway) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}}
    file = upload(rest, "gemini", json.dumps(line).encode())
    batches = rest.client("gemini-batches").batches
    batch = batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    done = ended(batches, batch.id)
    assert done.endpoint == "/v1/embeddings" and done.output_file_id
    (answer,) = rest.client("gemini-files").files.content(done.output_file_id).iter_lines()
    assert json.loads(answer)["response"]["body"]["data"][0]["embedding"] == [0.5, 0.25]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_cancelling(rest: RestGateway, provider: str) -> None:
    file = upload(rest, provider, requests("slow"))
    batches = rest.client(f"{provider}-batches").batches
    batch = batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
    assert batches.cancel(batch.id).status in ("cancelling", "cancelled")
    assert batches.retrieve(batch.id).status == "cancelled"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_listed_and_deleted(rest: RestGateway, provider: str) -> None:
    files, batches = (getattr(rest.client(f"{provider}-{kind}"), kind) for kind in ("files", "batches"))
    made = [upload(rest, provider, requests("hello", str(number))) for number in range(3)]
    listed = [file.id for file in files.list()]
    assert {file.id for file in made} <= set(listed)
    begun = [
        batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h").id for file in made
    ]
    paged = [batch.id for batch in batches.list(limit=2)]
    assert len(paged) == len(set(paged)) and set(begun) <= set(paged)
    assert files.retrieve(made[0].id).id == made[0].id
    assert files.delete(made[0].id).deleted
    with pytest.raises(openai.APIStatusError):
        files.retrieve(made[0].id)
    assert made[0].id not in [file.id for file in files.list()]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_cannot_be(rest: RestGateway, provider: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        upload(rest, provider, requests("hello", model="gpt-9"))
    assert caught.value.param == "model" and "line 1" in caught.value.message
    files, batches = rest.client(f"{provider}-files").files, rest.client(f"{provider}-batches").batches
    with pytest.raises(openai.BadRequestError) as caught:
        batches.create(input_file_id="file-abc", endpoint="/v1/responses", completion_window="24h")
    assert caught.value.param == "endpoint"
    for id in ("file-abc", "file-Li4vLi4v"):
        with pytest.raises(openai.NotFoundError):
            files.content(id)
    with pytest.raises(openai.NotFoundError):
        batches.retrieve("batch_Li4v")
    assert not rest.mock.requests
