"""OpenAI's files and batches on Vertex AI's batch prediction and Cloud Storage."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from batches_support import BATCHES, FILES, Asked, jsonl, line, refused, request, upload
from exchange_support import proxy

from kong_ai_proxy.formats.batches.ids import batch_id, file_id, input_name
from kong_ai_proxy.formats.batches.vertex import _custom_id, _labels

MODEL = "gemini-2.5-flash"
FILE = re.sub(r"\.[0-9a-f]{32}\.", f".{'0' * 32}.", input_name(MODEL))
JOB = "4567"
INPUT, OUTPUT = file_id("vertex", "in", FILE), file_id("vertex", "out", JOB)
ERRORS, BATCH = file_id("vertex", "err", JOB), batch_id("vertex", JOB)
PLACE = "/v1/projects/p-1/locations/us-central1/batchPredictionJobs"
HOST = "us-central1-aiplatform.googleapis.com"
OBJECTS = "/storage/v1/b/my-bucket/o"
PREFIX = "gs://my-bucket/some/where/"


@pytest.fixture(autouse=True)
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)


def instance(route_type: str, name: str | None = MODEL, prefix: str | None = PREFIX) -> Any:
    gemini = {"api_endpoint": HOST, "project_id": "p-1", "location_id": "us-central1"}
    made = proxy(
        "gemini", name, route_type=route_type, max_request_body_size=0, options={"gemini": gemini},
        logging={"log_statistics": True},
    )  # fmt: skip
    made.extensions.gemini_batch_bucket_prefix = prefix
    return made


def files(**changes: Any) -> Any:
    return instance(FILES, **changes)


def batches(**changes: Any) -> Any:
    return instance(BATCHES, **changes)


def stored(name: str = FILE) -> dict[str, Any]:
    return {"name": f"some/where/{name}", "size": "99", "timeCreated": "2026-01-01T00:00:00Z"}


def job(state: str = "JOB_STATE_PENDING", **changes: Any) -> dict[str, Any]:
    return {
        "name": f"projects/1/locations/us-central1/batchPredictionJobs/{JOB}", "displayName": "kong-1",
        "model": f"publishers/google/models/{MODEL}", "state": state, "createTime": "2026-01-01T00:00:00Z",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [PREFIX + FILE]}},
        "outputConfig": {"gcsDestination": {"outputUriPrefix": f"{PREFIX}output"}}, **changes,
    }  # fmt: skip


OUTPUT_INFO = {"gcsOutputDirectory": f"{PREFIX}output/prediction-model-1"}
DONE = job(
    "JOB_STATE_SUCCEEDED",
    endTime="2026-01-01T01:00:00Z",
    outputInfo=OUTPUT_INFO,
    completionStats={"successfulCount": "2", "failedCount": "1", "incompleteCount": "-1"},
)


def test_an_upload_goes_to_cloud_storage() -> None:
    asked = Asked(files(), upload(line("A 1", "one"), line("b" * 100, "two", max_tokens=9)))
    made = asked.last
    assert (made.method, made.url.host) == ("POST", "storage.googleapis.com")
    assert made.url.path == "/upload/storage/v1/b/my-bucket/o"
    assert re.fullmatch(
        r"uploadType=media&name=some%2Fwhere%2F[A-Za-z0-9_-]+\.[0-9a-f]{32}\.jsonl", made.url.query
    )
    first, second = (json.loads(each)["request"] for each in made.body.splitlines())
    assert first["contents"] == [{"role": "user", "parts": [{"text": "one"}]}]
    assert _custom_id(first["labels"]) == "A 1" and _custom_id(second["labels"]) == "b" * 100
    assert second["generationConfig"] == {"maxOutputTokens": 9}
    told = asked.told(stored())
    assert (told["bytes"], told["filename"], told["created_at"]) == (99, "requests.jsonl", 1767225600)


@pytest.mark.parametrize("custom_id", ["a", "x y", "ü" * 20, "a" * 315])
def test_custom_ids_are_labels(custom_id: str) -> None:
    labels = _labels(custom_id)
    assert all(re.fullmatch("[a-z0-9_-]{1,63}", value) for value in labels.values())
    assert _custom_id(labels) == custom_id
    assert _custom_id({"kong_custom_id_0": "!"}) == ""


def test_what_cannot_be_uploaded() -> None:
    assert refused(files(), upload(line("a" * 400))).param == "custom_id"
    for model in ("claude-sonnet-4", "meta/llama-4", "a b"):
        assert refused(files(name=None), upload(line("a", model=model))).param == "model"
    for prefix in (None, "s3://x/y", "gs://b", "gs://my-bucket/../x", "gs://my-bucket/a//x"):
        error = refused(files(prefix=prefix), upload(line("a")))
        assert error.status == 500 and "gemini_batch_bucket_prefix" in error.message


def test_a_job_of_an_uploaded_file() -> None:
    asked = Asked(batches(), request("POST", "/batches", {"input_file_id": INPUT}))
    assert (asked.last.method, asked.last.url.host, asked.last.url.path) == ("POST", HOST, PLACE)
    body = asked.body
    assert body.pop("displayName").startswith("kong-")
    assert body == {
        "model": f"publishers/google/models/{MODEL}",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [PREFIX + FILE]}},
        "outputConfig": {
            "predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"{PREFIX}output"}
        },
    }  # fmt: skip
    batch = asked.told(job())
    assert (batch["id"], batch["status"], batch["input_file_id"]) == (BATCH, "validating", INPUT)
    assert batch["model"] == MODEL
    other = file_id("vertex", "in", input_name("gemini-other"))
    assert refused(batches(), request("POST", "/batches", {"input_file_id": other})).status == 400


@pytest.mark.parametrize(
    ("provider", "status", "output", "errors"),
    [
        (job("JOB_STATE_QUEUED"), "validating", False, False),
        (job("JOB_STATE_RUNNING"), "in_progress", False, False),
        (job("JOB_STATE_CANCELLING"), "cancelling", False, False),
        (job("JOB_STATE_CANCELLED"), "cancelled", False, False),
        (job("JOB_STATE_EXPIRED"), "expired", False, False),
        (job("JOB_STATE_PARTIALLY_SUCCEEDED", outputInfo=OUTPUT_INFO), "completed", True, False),
        (job("JOB_STATE_FAILED", error={"code": 3, "message": "no quota"}), "failed", False, False),
        (DONE, "completed", True, True),
        (job("JOB_STATE_NEW"), "in_progress", False, False),
    ],
)
def test_states(provider: dict[str, Any], status: str, output: bool, errors: bool) -> None:
    batch = Asked(batches(), request("GET", f"/batches/{BATCH}")).told(provider)
    assert batch["status"] == status
    assert batch["output_file_id"] == (OUTPUT if output else None)
    assert batch["error_file_id"] == (ERRORS if errors else None)
    if status == "failed":
        assert batch["errors"]["data"][0]["message"] == "no quota"


def test_cancelling() -> None:
    asked = Asked(batches(), request("POST", f"/batches/{BATCH}/cancel"))
    assert asked.reply(job()) is None
    assert (asked.last.method, asked.last.url.path) == ("POST", f"{PLACE}/{JOB}:cancel")
    assert asked.reply({}) is None
    assert asked.told(job("JOB_STATE_CANCELLING"))["status"] == "cancelling"


ANSWER = {
    "candidates": [{"content": {"parts": [{"text": "4"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 13, "candidatesTokenCount": 2, "totalTokenCount": 15},
    "modelVersion": MODEL, "responseId": "r1",
}  # fmt: skip
ERROR = '{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}'
LINES = (
    {"status": "", "request": {"labels": _labels("A 1")}, "response": ANSWER},
    {"status": f"Too Many Requests: {ERROR}", "request": {"labels": _labels("b")}, "response": {}},
    {"status": "it broke", "request": {"labels": _labels("c")}},
    {"status": "{it broke", "request": {"labels": _labels("d")}},
    {"status": "", "request": {}, "response": ANSWER},
)


def content(id: str) -> Asked:
    asked = Asked(files(), request("GET", f"/files/{id}/content"))
    assert (asked.last.url.host, asked.last.url.path) == (HOST, f"{PLACE}/{JOB}")
    assert asked.reply(DONE) is None
    assert asked.last.url.host == "storage.googleapis.com"
    name = "some%2Fwhere%2Foutput%2Fprediction-model-1%2Fpredictions.jsonl"
    assert asked.last.url.target == f"{OBJECTS}/{name}?alt=media"
    return asked


def test_answers_come_back_in_openais_form() -> None:
    asked = content(OUTPUT)
    (only,) = asked.read(jsonl(*LINES), 17)
    assert only["custom_id"] == "A 1"
    assert only["response"]["body"]["choices"][0]["message"]["content"] == "4"
    assert asked.record["usage"]["total_tokens"] == 15


def test_what_failed_is_in_the_error_file() -> None:
    found = content(ERRORS).read(jsonl(*LINES))
    told = [(each["custom_id"], each["response"]["status_code"]) for each in found]
    assert told == [("b", 429), ("c", 500), ("d", 500)]
    messages = [each["response"]["body"]["error"]["message"] for each in found]
    assert messages == ["quota", "it broke", "{it broke"]


@pytest.mark.parametrize(
    "folder", [None, "gs://other/some/where/x", "gs://my-bucket/x", f"{PREFIX}../../x", "s3://my-bucket/x"]
)
def test_nothing_outside_the_configured_prefix_is_read(folder: str | None) -> None:
    asked = Asked(files(), request("GET", f"/files/{OUTPUT}/content"))
    response = asked.reply({**DONE, "outputInfo": {"gcsOutputDirectory": folder}})
    assert response is not None and response.status == 404


def test_results_that_are_not_there() -> None:
    response = content(OUTPUT).reply({"error": {"code": 404, "message": "No such object"}}, 404)
    assert response is not None and response.status == 404


def test_files_are_told_of_and_deleted() -> None:
    asked = Asked(files(), request("GET", f"/files/{INPUT}"))
    name = f"some%2Fwhere%2F{FILE}"
    assert asked.last.url.target == f"{OBJECTS}/{name}"
    assert asked.told(stored())["id"] == INPUT
    told = Asked(files(), request("GET", f"/files/{OUTPUT}")).told(DONE)
    assert (told["purpose"], told["filename"]) == ("batch_output", f"{JOB}_output.jsonl")
    asked = Asked(files(), request("DELETE", f"/files/{INPUT}"))
    assert (asked.last.method, asked.last.url.target) == ("DELETE", f"{OBJECTS}/{name}")
    assert asked.told(b"")["deleted"] is True
    assert refused(files(), request("DELETE", f"/files/{ERRORS}")).status == 400


def test_lists() -> None:
    asked = Asked(files(), request("GET", "/files"))
    assert asked.last.url.target == f"{OBJECTS}?delimiter=%2F&maxResults=1000&prefix=some%2Fwhere%2F"
    assert asked.reply({"items": [stored(), stored("other.txt")], "nextPageToken": "t/"}) is None
    assert asked.last.url.query.endswith("&pageToken=t%2F")
    assert [each["id"] for each in asked.told({})["data"]] == [INPUT]
    asked = Asked(batches(), request("GET", "/batches"))
    assert asked.last.url.target == f"{PLACE}?pageSize=100"
    assert asked.reply({"batchPredictionJobs": [job(), job(name="odd"), {}], "nextPageToken": "t"}) is None
    assert asked.last.url.target == f"{PLACE}?pageSize=100&pageToken=t"
    assert [each["id"] for each in asked.told({})["data"]] == [BATCH]


@pytest.mark.parametrize("folder", [None, "gs://elsewhere/x", f"{PREFIX}../x"])
def test_jobs_that_are_none_of_ours(folder: str | None) -> None:
    other = job(outputConfig={"gcsDestination": {"outputUriPrefix": folder}})
    for method, path in (("GET", ""), ("POST", "/cancel")):
        response = Asked(batches(), request(method, f"/batches/{BATCH}{path}")).reply(other)
        assert response is not None and response.status == 404
    assert Asked(batches(), request("GET", "/batches")).told({"batchPredictionJobs": [other]})["data"] == []


def test_jobs_of_others() -> None:
    other = job(inputConfig={"gcsSource": {"uris": ["gs://elsewhere/a.jsonl"]}})
    assert Asked(batches(), request("GET", f"/batches/{BATCH}")).told(other)["input_file_id"] == ""


def test_an_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://emulator.test:4443")
    assert Asked(files(), request("GET", "/files")).last.url.authority == "emulator.test:4443"
