"""OpenAI's files and batches on the public Gemini API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from batches_support import BATCHES, FILES, Asked, instance, jsonl, line, refused, request, upload

from kong_ai_proxy.formats.batches import lines
from kong_ai_proxy.formats.batches.ids import batch_id, file_id

FILE, NAME = "files/abc123", "batches/b-1"
INPUT = file_id("gemini", "in", FILE)
OUTPUT, ERRORS = file_id("gemini", "out", NAME), file_id("gemini", "err", NAME)
BATCH = batch_id("gemini", NAME)
MODEL = "gemini-2.5-flash"
LABEL = '["kong-ai-proxy","gemini-2.5-flash","requests.jsonl","/v1/chat/completions"]'


def files(**changes: Any) -> Any:
    return instance("gemini", FILES, changes.pop("name", MODEL), **changes)


def batches(**changes: Any) -> Any:
    return instance("gemini", BATCHES, changes.pop("name", MODEL), **changes)


def file(label: str = LABEL, name: str = FILE) -> dict[str, Any]:
    return {
        "name": name, "displayName": label, "mimeType": "application/jsonl", "sizeBytes": "99",
        "createTime": "2026-01-01T00:00:00.123456Z", "expirationTime": "2026-01-03T00:00:00Z",
        "state": "ACTIVE", "source": "UPLOADED",
    }  # fmt: skip


def operation(state: str = "BATCH_STATE_PENDING", name: str = NAME, **changes: Any) -> dict[str, Any]:
    stats = {"requestCount": "2", "pendingRequestCount": "2", **changes.pop("stats", {})}
    metadata = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "model": f"models/{MODEL}", "displayName": FILE, "createTime": "2026-01-01T00:00:00Z",
        "batchStats": stats, "state": state, "name": name, **changes.pop("metadata", {}),
    }  # fmt: skip
    return {"name": name, "metadata": metadata, **changes}


RESPONSES = {"responsesFile": "files/batch-b-1"}
DONE = operation(
    "BATCH_STATE_SUCCEEDED",
    stats={"successfulRequestCount": "1", "failedRequestCount": "1"},
    metadata={"endTime": "2026-01-01T01:00:00Z", "output": RESPONSES},
    done=True,
    response=RESPONSES,
)


def test_an_upload_is_translated_and_resumable() -> None:
    lines = upload(line("a 1", "one", temperature=0.5), line("b", "two"))
    asked = Asked(files(options={"max_tokens": 50}), lines)
    begun = asked.last
    assert (begun.method, begun.url.host) == ("POST", "generativelanguage.googleapis.com")
    assert begun.url.path == "/upload/v1beta/files"
    assert asked.body == {"file": {"displayName": LABEL}}
    assert begun.headers["x-goog-upload-command"] == "start"
    assert begun.headers["x-goog-upload-protocol"] == "resumable"
    assert begun.headers["x-goog-upload-header-content-type"] == "application/jsonl"
    url = "https://storage.elsewhere.test/upload/v1beta/files?upload_id=xyz&upload_protocol=resumable"
    assert asked.reply(b"", x_goog_upload_url=url) is None
    sent = asked.last
    # What the answer names is a path at the same host, whatever host it says.
    assert (sent.url.host, sent.url.path) == ("generativelanguage.googleapis.com", "/upload/v1beta/files")
    assert sent.url.query == "upload_id=xyz&upload_protocol=resumable"
    assert sent.headers["x-goog-upload-command"] == "upload, finalize"
    assert sent.headers["x-goog-upload-offset"] == "0"
    assert sent.headers["content-type"] == "application/jsonl"
    assert begun.headers["x-goog-upload-header-content-length"] == str(len(sent.body))
    first, second = (json.loads(each) for each in sent.body.splitlines())
    assert first["key"] == "a 1" and second["key"] == "b"
    assert first["request"]["contents"] == [{"role": "user", "parts": [{"text": "one"}]}]
    assert first["request"]["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 50}
    told = asked.told({"file": file()})
    assert told["id"] == INPUT and told["filename"] == "requests.jsonl" and told["purpose"] == "batch"
    assert (told["bytes"], told["created_at"], told["expires_at"]) == (99, 1767225600, 1767398400)
    assert asked.exchange.attempts[0].translation.upstream is not None


@pytest.mark.parametrize("url", ["", "https://host.test", "https://host.test/a b"])
def test_an_upload_that_leads_nowhere(url: str) -> None:
    asked = Asked(files(), upload(line("a")))
    response = asked.reply(b"", x_goog_upload_url=url)
    assert response is not None and response.status == 502


def test_files_are_of_one_model() -> None:
    error = refused(files(name=None), upload(line("a", model="x"), line("b", model="y")))
    assert (error.param, error.message[:7]) == ("model", "line 2:")
    assert refused(files(name=None), upload(line("a", model="../x"))).param == "model"
    asked = Asked(files(name=None), upload(line("a", model="tunedModels/mine")))
    assert "tunedModels/mine" in asked.body["file"]["displayName"]


def create(given: Any = INPUT, **changes: Any) -> Asked:
    return Asked(batches(**changes), request("POST", "/batches", {"input_file_id": given}))


def test_a_batch_of_an_uploaded_file() -> None:
    asked = create()
    assert (asked.last.method, asked.last.url.path) == ("GET", f"/v1beta/{FILE}")
    assert asked.reply(file()) is None
    assert asked.last.method == "POST"
    assert asked.last.url.path == f"/v1beta/models/{MODEL}:batchGenerateContent"
    assert asked.body == {"batch": {"displayName": FILE, "inputConfig": {"fileName": FILE}}}
    batch = asked.told(operation())
    assert (batch["id"], batch["status"], batch["input_file_id"]) == (BATCH, "validating", INPUT)
    assert (batch["model"], batch["created_at"]) == (MODEL, 1767225600)
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 0}


def test_a_batch_of_a_tuned_model() -> None:
    asked = create(name=None)
    asked.reply(file('["kong-ai-proxy","tunedModels/mine","x","/v1/chat/completions"]'))
    assert asked.last.url.path == "/v1beta/tunedModels/mine:batchGenerateContent"


@pytest.mark.parametrize(
    "label",
    [
        "apples.pdf", "[1]", '["kong-ai-proxy","../x","f",""]', '["kong-ai-proxy",1,2,3]',
        '["kong-ai-proxy","x","f","/v1/chat/completions"]', '["kong-ai-proxy","x","f"]',
    ],
)
def test_files_that_no_batch_can_be_of(label: str) -> None:
    response = create().reply(file(label))
    assert response is not None and response.status == 400
    assert json.loads(response.body)["error"]["param"] == "input_file_id"


def test_requests_in_the_body_are_uploaded_first() -> None:
    asked = Asked(batches(), request("POST", "/batches", {"requests": [line("a")]}))
    asked.reply(b"", x_goog_upload_url="https://h.test/upload?x=1")
    asked.reply({"file": file()})
    asked.reply(file())
    assert asked.last.url.path.endswith(":batchGenerateContent")
    assert asked.told(operation())["input_file_id"] == INPUT


@pytest.mark.parametrize(
    ("provider", "status"),
    [
        (operation("BATCH_STATE_PENDING"), "validating"),
        (operation("BATCH_STATE_RUNNING"), "in_progress"),
        (operation("JOB_STATE_RUNNING"), "in_progress"),
        (operation("BATCH_STATE_CANCELLED"), "cancelled"),
        (operation("BATCH_STATE_EXPIRED"), "expired"),
        (operation("BATCH_STATE_NEW"), "in_progress"),
        (operation("BATCH_STATE_FAILED", error={"code": 3, "message": "bad file"}), "failed"),
        (DONE, "completed"),
        ({}, "in_progress"),
        ({"metadata": []}, "in_progress"),
    ],
)
def test_states(provider: dict[str, Any], status: str) -> None:
    batch = Asked(batches(), request("GET", f"/batches/{BATCH}")).told(provider)
    assert batch["status"] == status
    problem = (batch["errors"] or {}).get("data", [{}])[0].get("message")
    assert problem == ("bad file" if status == "failed" else None)
    assert (batch["output_file_id"], batch["error_file_id"]) == (
        (OUTPUT, ERRORS) if status == "completed" else (None, None)
    )


def test_batches_of_others_have_no_file_of_ours() -> None:
    other = operation(metadata={"displayName": "my batch"})
    assert Asked(batches(), request("GET", f"/batches/{BATCH}")).told(other)["input_file_id"] == ""
    other = operation(metadata={"displayName": "x", "inputConfig": {"fileName": FILE}})
    assert Asked(batches(), request("GET", f"/batches/{BATCH}")).told(other)["input_file_id"] == INPUT


@pytest.mark.parametrize(
    ("state", "status"), [("BATCH_STATE_RUNNING", "cancelling"), ("BATCH_STATE_CANCELLED", "cancelled")]
)
def test_cancelling(state: str, status: str) -> None:
    asked = Asked(batches(), request("POST", f"/batches/{BATCH}/cancel"))
    assert (asked.last.method, asked.last.url.path) == ("POST", f"/v1beta/{NAME}:cancel")
    assert asked.reply({}) is None
    assert (asked.last.method, asked.last.url.path) == ("GET", f"/v1beta/{NAME}")
    assert asked.told(operation(state))["status"] == status


ANSWER = {
    "candidates": [
        {"content": {"parts": [{"text": "4"}], "role": "model"}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 13, "candidatesTokenCount": 1, "totalTokenCount": 57, "thoughtsTokenCount": 43
    },
    "modelVersion": MODEL, "responseId": "r1",
}  # fmt: skip
LINES = (
    {"key": "a 1", "response": ANSWER},
    {"key": "b", "error": {"code": 8, "message": "quota"}},
    {"key": "c", "response": {"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}},
    {"key": "d", "status": {"message": "odd"}},
    {"response": ANSWER},
)


def content(id: str) -> Asked:
    asked = Asked(files(logging={"log_statistics": True}), request("GET", f"/files/{id}/content"))
    assert asked.reply(DONE) is None
    assert asked.last.url.target == "/download/v1beta/files/batch-b-1:download?alt=media"
    return asked


def test_answers_come_back_in_openais_form() -> None:
    asked = content(OUTPUT)
    (only,) = asked.read(jsonl(*LINES), 11)
    assert only["custom_id"] == "a 1" and only["error"] is None
    body = only["response"]["body"]
    assert body["choices"][0]["message"]["content"] == "4" and body["model"] == MODEL
    usage = asked.record["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (13, 44)


def test_what_failed_is_in_the_error_file() -> None:
    found = content(ERRORS).read(jsonl(*LINES))
    assert [(each["custom_id"], each["response"]["status_code"]) for each in found] == [
        ("b", 429), ("c", 404), ("d", 500),
    ]  # fmt: skip
    assert found[1]["response"]["body"]["error"]["code"] == "NOT_FOUND"


def test_inlined_responses() -> None:
    inlined = [
        {"response": ANSWER, "metadata": {"custom_id": "0"}},
        {"error": {"code": 3}, "metadata": {"key": "1"}},
    ]
    output = {"inlinedResponses": {"inlinedResponses": inlined}}
    for id, custom_id in ((OUTPUT, "0"), (ERRORS, "1")):
        asked = Asked(files(), request("GET", f"/files/{id}/content"))
        response = asked.reply(operation("BATCH_STATE_SUCCEEDED", response=output))
        assert response is not None and response.headers["content-type"] == "application/jsonl"
        assert json.loads(response.body)["custom_id"] == custom_id


@pytest.mark.parametrize("output", [{}, {"responsesFile": "../x"}, {"responsesFile": 1}])
def test_no_results(output: dict[str, Any]) -> None:
    asked = Asked(files(), request("GET", f"/files/{OUTPUT}/content"))
    response = asked.reply(operation("BATCH_STATE_RUNNING", response=output))
    assert response is not None and response.status == 404


def test_files_are_told_of_listed_and_deleted() -> None:
    asked = Asked(files(), request("GET", f"/files/{INPUT}"))
    assert asked.last.url.path == f"/v1beta/{FILE}"
    assert asked.told(file())["id"] == INPUT
    told = Asked(files(), request("GET", f"/files/{OUTPUT}")).told(DONE)
    assert (told["purpose"], told["filename"], told["bytes"]) == ("batch_output", "b-1_output.jsonl", 0)
    asked = Asked(files(), request("DELETE", f"/files/{INPUT}"))
    assert (asked.last.method, asked.last.url.path) == ("DELETE", f"/v1beta/{FILE}")
    assert asked.told({})["deleted"] is True
    assert refused(files(), request("DELETE", f"/files/{OUTPUT}")).status == 400


def test_lists_go_on_where_the_client_left_off() -> None:
    asked = Asked(files(), request("GET", "/files", query="limit=2"))
    pages = {"files": [file(), file("apples.pdf", "files/x"), file(name="odd")], "nextPageToken": "t/1"}
    assert asked.reply(pages) is None
    assert asked.last.url.target == "/v1beta/files?pageSize=100&pageToken=t%2F1"
    found = asked.told({"files": [file(name="files/z")]})
    assert [each["purpose"] for each in found["data"]] == ["batch", "user_data"] and found["has_more"]
    asked = Asked(batches(), request("GET", "/batches"))
    assert asked.last.url.target == "/v1beta/batches?pageSize=100"
    found = asked.told({"operations": [operation(), operation(name="odd")]})
    assert [each["id"] for each in found["data"]] == [BATCH] and not found["has_more"]


# Embeddings.


def embedding(custom_id: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}


def test_embeddings_one_text_a_line() -> None:
    lines = upload(embedding("a", input="one", dimensions=8), embedding("b", input=["two"]))
    asked = Asked(files(name="gemini-embedding-001"), lines)
    label = json.loads(asked.body["file"]["displayName"])
    assert label == ["kong-ai-proxy", "gemini-embedding-001", "requests.jsonl", "/v1/embeddings"]
    asked.reply(b"", x_goog_upload_url="https://h.test/upload?x=1")
    first, second = (json.loads(each) for each in asked.last.body.splitlines())
    assert first == {
        "key": "a", "request": {"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 8}
    }  # fmt: skip
    assert second["request"] == {"content": {"parts": [{"text": "two"}]}}
    assert asked.told({"file": file(json.dumps(label))})["purpose"] == "batch"
    body = {"input_file_id": INPUT, "endpoint": "/v1/embeddings"}
    asked = Asked(batches(name="gemini-embedding-001"), request("POST", "/batches", body))
    assert asked.reply(file(json.dumps(label))) is None
    assert asked.last.url.path == "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent"
    batch = asked.told(operation(metadata={"@type": "x/v1main.EmbedContentBatch"}))
    assert batch["endpoint"] == "/v1/embeddings"
    response = Asked(batches(name=None), request("POST", "/batches", body)).reply(file())
    assert response is not None and json.loads(response.body)["error"]["param"] == "endpoint"


def test_embeddings_come_back() -> None:
    done = operation(
        "BATCH_STATE_SUCCEEDED", metadata={"@type": "x/v1main.EmbedContentBatch", "output": RESPONSES}
    )
    asked = Asked(files(), request("GET", f"/files/{OUTPUT}/content"))
    assert asked.reply(done) is None
    values = {"embedding": {"values": [0.5, 1.0]}, "usageMetadata": {"promptTokenCount": 3}}
    lines = jsonl({"key": "a", "response": values}, {"key": "b", "response": {}})
    (only,) = asked.read(lines)
    body = only["response"]["body"]
    assert body["object"] == "list" and body["data"][0]["embedding"] == [0.5, 1.0]
    asked = Asked(files(), request("GET", f"/files/{ERRORS}/content"))
    asked.reply(done)
    (only,) = asked.read(lines)
    assert only["custom_id"] == "b" and only["response"]["status_code"] == 502


@pytest.mark.parametrize(
    ("lines", "param"),
    [
        ([embedding("a", input=["one", "two"])], "input"),
        ([embedding("a", input="x"), line("b")], "url"),
        ([{**line("a"), "url": "/v1/responses"}], "url"),
    ],
)
def test_lines_of_other_kinds(lines: list[Any], param: str) -> None:
    error = refused(files(), upload(*lines))
    assert (error.status, error.param) == (400, param)


def test_vectors_are_numbers() -> None:
    asked = Asked(files(), upload(embedding("a", input="x", encoding_format="base64")))
    assert asked.attempt.call.dropped == ["body.encoding_format"]
    body = {"endpoint": "/v1/embeddings", "requests": [line("a")]}
    assert refused(batches(), request("POST", "/batches", body)).param == "endpoint"


def test_a_file_of_line_ends_alone_and_one_of_too_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_MOST", 3)
    for given in (upload(b"\n" * 100), upload(*(line(str(number)) for number in range(4)))):
        error = refused(instance("gemini", FILES), given)
        assert error.status == 400 and "at most 3 requests" in error.message and error.param == "file"
