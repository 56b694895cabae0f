"""OpenAI's files and batches on Bedrock's model invocation jobs and S3."""

from __future__ import annotations

import base64
import datetime
import json
import re
from typing import Any

import pytest
from batches_support import BATCHES, FILES, Asked, instance, jsonl, line, refused, request, upload

from kong_ai_proxy.auth.aws import Keys, sign_with
from kong_ai_proxy.exchange.turns import turns
from kong_ai_proxy.formats.batches.ids import batch_id, file_id

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
PACKED = base64.urlsafe_b64encode(MODEL.encode()).decode().rstrip("=")
FILE = f"{PACKED}.{'0' * 32}.jsonl"
JOB = "abcdef123456"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/{JOB}"
ROLE = "arn:aws:iam::123456789012:role/batches"
INPUT, OUTPUT = file_id("bedrock", "in", FILE), file_id("bedrock", "out", JOB)
ERRORS, BATCH = file_id("bedrock", "err", JOB), batch_id("bedrock", JOB)
S3 = "my-bucket.s3.us-east-1.amazonaws.com"


@pytest.fixture(autouse=True)
def no_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_BEDROCK"):
        monkeypatch.delenv(name, raising=False)


def options(**changes: Any) -> dict[str, Any]:
    bedrock = {
        "aws_region": "us-east-1",
        "batch_bucket_prefix": "s3://my-bucket/some/where/",
        "batch_role_arn": ROLE,
        **changes,
    }
    return {"bedrock": {name: value for name, value in bedrock.items() if value is not None}}


def files(name: str | None = MODEL, **changes: Any) -> Any:
    return instance("bedrock", FILES, name, options=options(**changes), logging={"log_statistics": True})


def batches(name: str | None = MODEL, **changes: Any) -> Any:
    return instance("bedrock", BATCHES, name, options=options(**changes))


def job(status: str = "Submitted", **changes: Any) -> dict[str, Any]:
    folder = "s3://my-bucket/some/where/"
    return {
        "jobArn": ARN, "jobName": "kong-1", "modelId": MODEL, "roleArn": ROLE, "status": status,
        "submitTime": "2026-01-01T00:00:00Z", "jobExpirationTime": 1767312000.5,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": folder + FILE, "s3InputFormat": "JSONL"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{folder}output/"}},
        **changes,
    }  # fmt: skip


DONE = job(
    "Completed", endTime="2026-01-01T01:00:00Z", totalRecordCount=3, successRecordCount=2, errorRecordCount=1
)


def test_an_upload_goes_to_s3_in_converses_form() -> None:
    asked = Asked(files(), upload(line("a 1", "one", max_tokens=9), line("b", "two")))
    made = asked.last
    assert (made.method, made.url.host, made.service) == ("PUT", S3, "s3")
    found = re.fullmatch(rf"/some/where/({re.escape(PACKED)}\.[0-9a-f]{{32}}\.jsonl)", made.url.path)
    assert found and made.headers["content-type"] == "application/jsonl"
    first, second = (json.loads(each) for each in made.body.splitlines())
    assert first["recordId"] == "a 1" and second["recordId"] == "b"
    assert first["modelInput"]["messages"] == [{"role": "user", "content": [{"text": "one"}]}]
    assert first["modelInput"]["inferenceConfig"] == {"maxTokens": 9}
    told = asked.told(b"")
    assert told["id"] == file_id("bedrock", "in", found[1]) and told["bytes"] == len(made.body)


def test_others_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(turns, "give", lambda: given.append(1))
    Asked(files(), upload(*(line(str(number)) for number in range(600))))
    assert len(given) == 600 // 32 + 1
    given.clear()
    asked = content(OUTPUT)
    results = jsonl(*RESULTS) * 200
    assert asked.attempt.translation.stream(200, {"content-length": str(len(results))}) is None
    response = asked.reply(results)
    assert response is not None and len(response.body.splitlines()) == 200
    assert len(given) == -(-len(results) // (16 * 1024))
    assert asked.record["usage"]["total_tokens"] == 200 * 14


def test_a_job_of_an_uploaded_file() -> None:
    asked = Asked(batches(), request("POST", "/batches", {"input_file_id": INPUT}))
    made = asked.last
    assert (made.method, made.url.path) == ("POST", "/model-invocation-job")
    assert (made.url.host, made.service) == ("bedrock.us-east-1.amazonaws.com", "control")
    body = asked.body
    assert re.fullmatch("[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\\+\\-\\.]){0,63}", body["jobName"])
    assert body["modelId"] == MODEL and body["roleArn"] == ROLE
    assert body["modelInvocationType"] == "Converse" and body["clientRequestToken"]
    assert body["inputDataConfig"] == {
        "s3InputDataConfig": {"s3Uri": f"s3://my-bucket/some/where/{FILE}", "s3InputFormat": "JSONL"}
    }
    assert body["outputDataConfig"] == {
        "s3OutputDataConfig": {"s3Uri": "s3://my-bucket/some/where/output/"}
    }
    assert asked.reply({"jobArn": ARN}) is None
    assert (asked.last.method, asked.last.url.path) == ("GET", f"/model-invocation-job/{JOB}")
    batch = asked.told(job())
    assert (batch["id"], batch["status"], batch["input_file_id"]) == (BATCH, "validating", INPUT)
    assert (batch["created_at"], batch["expires_at"]) == (1767225600, 1767312000)
    assert batch["model"] == MODEL


def test_a_job_without_a_name() -> None:
    asked = Asked(batches(), request("POST", "/batches", {"input_file_id": INPUT}))
    response = asked.reply({"jobArn": "arn:../x"})
    assert response is not None and response.status == 502


def test_the_assumed_role_runs_jobs_where_no_other_does() -> None:
    body = {"input_file_id": INPUT}
    asked = Asked(batches(batch_role_arn=None, aws_assume_role_arn=ROLE), request("POST", "/batches", body))
    assert asked.body["roleArn"] == ROLE
    error = refused(batches(batch_role_arn=None), request("POST", "/batches", body))
    assert (error.status, error.code) == (500, "invalid_configuration")
    assert "batch_role_arn" in error.message


@pytest.mark.parametrize(
    "prefix", [None, "my-bucket", "s3://My_Bucket/", "s3://my-bucket/a/../b", "s3://my-bucket/a//b"]
)
def test_a_bucket_must_be_configured(prefix: str | None) -> None:
    for asked in (upload(line("a")), request("GET", f"/files/{INPUT}"), request("GET", "/files")):
        error = refused(files(batch_bucket_prefix=prefix), asked)
        assert error.status == 500 and "batch_bucket_prefix" in error.message


def test_a_bucket_alone_is_a_place_too() -> None:
    asked = Asked(files(batch_bucket_prefix="s3://my-bucket"), upload(line("a")))
    assert re.fullmatch(r"/[A-Za-z0-9_-]+\.[0-9a-f]{32}\.jsonl", asked.last.url.path)


def test_another_model_than_the_configured_one() -> None:
    error = refused(batches("amazon.nova-lite-v1:0"), request("POST", "/batches", {"input_file_id": INPUT}))
    assert (error.status, error.param) == (400, "input_file_id")
    asked = Asked(batches(None), request("POST", "/batches", {"input_file_id": INPUT}))
    assert asked.body["modelId"] == MODEL
    assert refused(files(None), upload(line("a", model="m o"))).param == "model"
    odd = file_id("bedrock", "in", f"____.{'0' * 32}.jsonl")
    assert refused(batches(), request("POST", "/batches", {"input_file_id": odd})).status == 400


@pytest.mark.parametrize(
    ("provider", "status", "output", "errors"),
    [
        (job("Submitted"), "validating", False, False),
        (job("Validating"), "validating", False, False),
        (job("Scheduled"), "validating", False, False),
        (job("InProgress"), "in_progress", False, False),
        (job("Stopping"), "cancelling", False, False),
        (job("Stopped", totalRecordCount=2, successRecordCount=0), "cancelled", False, False),
        (job("Expired", totalRecordCount=2, successRecordCount=1), "expired", True, False),
        (job("PartiallyCompleted"), "completed", True, False),
        (DONE, "completed", True, True),
        (job("Failed", message="too few records"), "failed", False, False),
        (job("Unheard"), "in_progress", False, False),
    ],
)
def test_states(provider: dict[str, Any], status: str, output: bool, errors: bool) -> None:
    batch = Asked(batches(), request("GET", f"/batches/{BATCH}")).told(provider)
    assert batch["status"] == status
    assert batch["output_file_id"] == (OUTPUT if output else None)
    assert batch["error_file_id"] == (ERRORS if errors else None)
    if status == "failed":
        assert batch["errors"]["data"][0]["message"] == "too few records"


def test_cancelling() -> None:
    asked = Asked(batches(), request("POST", f"/batches/{BATCH}/cancel"))
    assert asked.reply(job()) is None
    assert (asked.last.method, asked.last.url.path) == ("POST", f"/model-invocation-job/{JOB}/stop")
    assert asked.reply({}) is None
    assert asked.told(job("Stopping"))["status"] == "cancelling"


CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}}, "stopReason": "end_turn",
    "usage": {"inputTokens": 10, "outputTokens": 4, "totalTokens": 14},
}  # fmt: skip
RESULTS = (
    {"recordId": "a 1", "modelInput": {"messages": []}, "modelOutput": CONVERSED},
    {"recordId": "b", "modelInput": {}, "error": {"errorCode": 400, "errorMessage": "bad request"}},
    {"recordId": "c", "modelInput": {}, "error": {"errorCode": 7}},
    {"modelOutput": CONVERSED},
)


def content(id: str) -> Asked:
    asked = Asked(files(), request("GET", f"/files/{id}/content"))
    assert asked.reply(DONE) is None
    assert (asked.last.url.host, asked.last.service) == (S3, "s3")
    assert asked.last.url.path == f"/some/where/output/{JOB}/{FILE}.out"
    return asked


def test_answers_come_back_in_openais_form() -> None:
    asked = content(OUTPUT)
    (only,) = asked.read(jsonl(*RESULTS), 13)
    assert only["custom_id"] == "a 1"
    assert only["response"]["body"]["choices"][0]["message"]["content"] == "Hello"
    assert asked.record["usage"]["total_tokens"] == 14


def test_what_failed_is_in_the_error_file() -> None:
    found = content(ERRORS).read(jsonl(*RESULTS))
    assert [each["custom_id"] for each in found] == ["b", "c"]
    assert [each["response"]["status_code"] for each in found] == [400, 500]
    assert found[0]["response"]["body"]["error"]["message"] == "bad request"


@pytest.mark.parametrize(
    "changes",
    [
        {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://other-bucket/some/where/output/"}}},
        {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://my-bucket/elsewhere/"}}},
        {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://my-bucket/some/where/../../x/"}}},
        {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://my-bucket/secret.jsonl"}}},
        {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://my-bucket/some/where/../x.jsonl"}}},
        {"outputDataConfig": None},
    ],
)
def test_nothing_outside_the_configured_prefix_is_read(changes: dict[str, Any]) -> None:
    for path in (f"/files/{OUTPUT}/content", f"/files/{OUTPUT}"):
        asked = Asked(files(), request("GET", path))
        response = asked.reply({**DONE, **changes})
        assert response is not None and response.status == 404
    if "inputDataConfig" in changes:
        batch = Asked(batches(), request("GET", f"/batches/{BATCH}")).told({**DONE, **changes})
        assert batch["output_file_id"] is None
        return
    for method, path in (("GET", ""), ("POST", "/cancel")):
        response = Asked(batches(), request(method, f"/batches/{BATCH}{path}")).reply({**DONE, **changes})
        assert response is not None and response.status == 404
    found = {"invocationJobSummaries": [{**DONE, **changes}]}
    assert Asked(batches(), request("GET", "/batches")).told(found)["data"] == []


def test_results_that_are_not_there_yet() -> None:
    asked = content(OUTPUT)
    response = asked.reply(b"<Error><Code>NoSuchKey</Code></Error>", 404)
    assert response is not None and response.status == 404


def test_files_are_told_of_and_deleted() -> None:
    asked = Asked(files(), request("GET", f"/files/{INPUT}"))
    assert (asked.last.method, asked.last.url.path) == ("HEAD", f"/some/where/{FILE}")
    told = asked.told(b"", content_length="77", last_modified="Thu, 01 Jan 2026 00:00:00 GMT")
    assert (told["bytes"], told["created_at"], told["purpose"]) == (77, 1767225600, "batch")
    asked = Asked(files(), request("GET", f"/files/{ERRORS}"))
    assert asked.reply(DONE) is None
    told = asked.told(b"", content_length="77")
    assert (told["bytes"], told["filename"]) == (0, f"{JOB}_error.jsonl")
    response = Asked(files(), request("GET", f"/files/{INPUT}")).reply(b"", 404)
    assert response is not None and response.status == 404
    asked = Asked(files(), request("DELETE", f"/files/{INPUT}"))
    assert (asked.last.method, asked.last.url.path) == ("DELETE", f"/some/where/{FILE}")
    assert asked.told(b"", 200)["deleted"] is True
    assert refused(files(), request("DELETE", f"/files/{OUTPUT}")).status == 400


def listing(*keys: str, more: bool = False) -> bytes:
    contents = "".join(
        f"<Contents><Key>some/where/{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        "<Size>5</Size></Contents>"
        for key in keys
    )
    truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    return f"<ListBucketResult>{truncated}{contents}</ListBucketResult>".encode()


def test_lists_go_on_where_the_client_left_off() -> None:
    asked = Asked(files(), request("GET", "/files", query=f"after={INPUT}"))
    assert asked.last.url.target == (
        "/?delimiter=%2F&list-type=2&max-keys=1000&prefix=some%2Fwhere%2F"
    )
    assert asked.reply(listing(FILE, "a&amp;b.txt", more=True)) is None
    assert asked.last.url.query.endswith("&start-after=some%2Fwhere%2Fa%26b.txt")
    other = FILE.replace("0" * 32, "1" * 32)
    found = asked.told(listing(other))
    assert [each["id"] for each in found["data"]] == [file_id("bedrock", "in", other)]
    assert found["data"][0]["bytes"] == 5 and found["data"][0]["created_at"] == 1767225600
    asked = Asked(batches(), request("GET", "/batches"))
    assert asked.last.url.path == "/model-invocation-jobs"
    page = {"invocationJobSummaries": [job("Completed"), job(jobArn="x"), {}], "nextToken": "t/="}
    assert asked.reply(page) is None
    assert asked.last.url.query.endswith("&nextToken=t%2F%3D")
    found = asked.told({"invocationJobSummaries": []})
    assert [each["id"] for each in found["data"]] == [BATCH] and not found["has_more"]


def test_errors_are_awss() -> None:
    asked = Asked(batches(), request("GET", f"/batches/{BATCH}"))
    response = asked.reply({"message": "no job"}, 404, x_amzn_errortype="ResourceNotFoundException:x")
    assert response is not None and response.status == 404
    assert json.loads(response.body)["error"]["message"] == "no job"
    asked = Asked(files(), upload(line("a")))
    response = asked.reply(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", 403)
    assert response is not None and json.loads(response.body)["error"]["code"] == "AccessDenied"


def test_a_list_is_signed_as_botocores_own_client_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    import botocore.auth
    import botocore.config

    moment = datetime.datetime(2026, 1, 1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: moment)
    regional = botocore.config.Config(s3={"us_east_1_regional_endpoint": "regional"})
    client = boto3.client(
        "s3", "us-east-1", aws_access_key_id="AKID", aws_secret_access_key="secret", config=regional
    )
    seen: dict[str, Any] = {}

    def keep(request: Any, **_: Any) -> Any:
        seen["request"] = request
        raise KeyboardInterrupt

    client.meta.events.register("before-send.s3.ListObjectsV2", keep)
    with pytest.raises(KeyboardInterrupt):
        client.list_objects_v2(
            Bucket="my-bucket", Prefix="some/where/", Delimiter="/", MaxKeys=1000, EncodingType="url"
        )
    asked = Asked(files(), request("GET", "/files"))
    ours = asked.last
    ours.url.query += "&encoding-type=url"  # which boto3 always asks for
    sign_with(ours, Keys("AKID", "secret"), "us-east-1", "s3")
    theirs = seen["request"].headers
    assert ours.headers["authorization"] == theirs["Authorization"].decode()
