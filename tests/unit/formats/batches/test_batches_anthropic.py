"""OpenAI's files and batches on Anthropic's message batches."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from batches_support import BATCHES, FILES, Asked, instance, jsonl, line, refused, request, upload
from exchange_support import advanced, open_exchange, target_config

from kong_ai_proxy.formats.batches.anthropic import plain, spelled
from kong_ai_proxy.formats.batches.ids import batch_id, file_id
from kong_ai_proxy.providers import provider

NAME = "msgbatch_01AbC"
INPUT = file_id("anthropic", "in", NAME)
OUTPUT = file_id("anthropic", "out", NAME)
ERRORS = file_id("anthropic", "err", NAME)
BATCH = batch_id("anthropic", NAME)


def message_batch(status: str = "in_progress", **counts: int) -> dict[str, Any]:
    ended = status == "ended"
    return {
        "id": NAME,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, **counts,
        },
        "ended_at": "2026-01-01T01:00:00+00:00" if ended else None,
        "created_at": "2026-01-01T00:00:00+00:00",
        "expires_at": "2026-01-02T00:00:00+00:00",
        "cancel_initiated_at": None,
        "results_url": "https://elsewhere.test/results" if ended else None,
    }


def files(**changes: Any) -> Any:
    return instance("anthropic", FILES, "claude-x", **changes)


def batches(**changes: Any) -> Any:
    return instance("anthropic", BATCHES, "claude-x", **changes)


def test_an_upload_begins_the_message_batch() -> None:
    lines = upload(line("a", "one"), b"", line("b c", "two", top_p=0.5))
    asked = Asked(files(options={"max_tokens": 50}), lines)
    made = asked.last
    assert (made.method, made.url.host) == ("POST", "api.anthropic.com")
    assert made.url.path == "/v1/messages/batches"
    assert made.headers["anthropic-version"] == "2023-06-01"
    first, second = asked.body["requests"]
    assert first["custom_id"] == "a"
    assert first["params"]["model"] == "claude-x" and first["params"]["max_tokens"] == 50
    assert first["params"]["messages"][0]["role"] == "user" and "stream" not in first["params"]
    assert second["custom_id"] == "b64_YiBj" and second["params"]["top_p"] == 0.5
    file = asked.told(message_batch(processing=2))
    assert file["id"] == INPUT and file["purpose"] == "batch" and file["filename"] == "requests.jsonl"
    assert file["object"] == "file" and file["bytes"] > 100 and file["created_at"] == 1767225600
    assert file["expires_at"] == 1767312000


def test_the_batch_is_found_under_way() -> None:
    body = {
        "input_file_id": INPUT, "endpoint": "/v1/chat/completions", "completion_window": "24h",
        "metadata": {"job": "nightly"},
    }  # fmt: skip
    asked = Asked(batches(), request("POST", "/batches", body))
    assert (asked.last.method, asked.last.url.path) == ("GET", f"/v1/messages/batches/{NAME}")
    batch = asked.told(message_batch(processing=2))
    assert batch["id"] == BATCH and batch["status"] == "in_progress" and batch["input_file_id"] == INPUT
    assert batch["endpoint"] == "/v1/chat/completions" and batch["completion_window"] == "24h"
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert batch["metadata"] == {"job": "nightly"} and batch["output_file_id"] is None
    assert asked.attempt.call.dropped == ["metadata"]


def test_files_and_batches_on_one_route() -> None:
    both = advanced(
        *(target_config("anthropic", "claude-x", route_type=kind) for kind in (FILES, BATCHES)),
        max_request_body_size=0,
    )
    uploaded = Asked(both, upload(line("a")))
    assert uploaded.told(message_batch(processing=1))["id"] == INPUT
    found = Asked(both, request("GET", f"/v1/batches/{BATCH}")).told(message_batch(processing=1))
    assert found["id"] == BATCH
    assert Asked(both, request("GET", f"/v1/files/{OUTPUT}/content")).last.method == "GET"


def test_the_target_is_the_one_that_knows_the_id() -> None:
    bedrock = {"aws_region": "us-east-1", "batch_bucket_prefix": "s3://b-b/x/"}
    targets = [
        target_config(name, "m", route_type=kind, options={"bedrock": bedrock} if name == "bedrock" else {})
        for name in ("openai", "anthropic", "bedrock", "gemini")
        for kind in (FILES, BATCHES)
    ]
    several = advanced(*targets, max_request_body_size=0)
    wanted = {
        f"/files/{INPUT}": "anthropic",
        f"/batches/{BATCH}": "anthropic",
        f"/files/{file_id('gemini', 'in', 'files/a')}": "gemini",
        f"/batches/{batch_id('bedrock', 'a' * 12)}/cancel": "bedrock",
        "/files/file-abc123/content": "openai",
        "/batches/batch_68ffc504f298819087e3b6ceebbf8c01": "openai",
        "/files/file-____": "openai",
        "/files/file-a": "openai",
        "/files/x": "openai",
    }
    for path, name in wanted.items():
        method = "POST" if path.endswith("cancel") else "GET"
        exchange = open_exchange(several, request(method, path))
        assert {several.targets[index].model.provider for index in exchange.plan.candidates} == {name}
    made = open_exchange(several, request("POST", "/batches", {"input_file_id": INPUT}))
    assert [several.targets[index].model.provider for index in made.plan.candidates] == ["anthropic"]
    assert len(open_exchange(several, request("GET", "/batches")).plan.candidates) == 4


def test_what_has_no_place_there_is_named() -> None:
    form = upload(line("a"))
    form.body = form.body.replace(b'name="purpose"\r\n\r\nbatch', (
        b'name="expires_after[seconds]"\r\n\r\n3600\r\n--B\r\n'
        b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
    ))  # fmt: skip
    assert Asked(files(), form).attempt.call.dropped == ["expires_after[seconds]"]
    body = {"input_file_id": INPUT, "output_expires_after": {"seconds": 1}, "metadata": None}
    asked = Asked(batches(), request("POST", "/batches", body))
    assert asked.attempt.call.dropped == ["output_expires_after"]


def test_requests_may_stand_in_the_body() -> None:
    body = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "requests": [line("a")]}
    asked = Asked(batches(), request("POST", "/batches", body))
    assert asked.last.method == "POST" and asked.body["requests"][0]["custom_id"] == "a"
    assert asked.reply(message_batch(processing=1)) is None
    assert asked.told(message_batch(processing=1))["id"] == BATCH


@pytest.mark.parametrize(
    ("provider", "status", "output", "errors"),
    [
        (message_batch("in_progress", processing=3), "in_progress", False, False),
        (message_batch("canceling", processing=3, succeeded=1), "cancelling", False, False),
        (message_batch("ended", succeeded=3), "completed", True, False),
        (message_batch("ended", succeeded=1, errored=2), "completed", True, True),
        (message_batch("ended", canceled=3), "cancelled", False, True),
        (message_batch("ended", succeeded=1, expired=1), "expired", True, True),
        ({"id": NAME}, "in_progress", False, False),
    ],
)
def test_states(provider: dict[str, Any], status: str, output: bool, errors: bool) -> None:
    batch = Asked(batches(), request("GET", f"/batches/{BATCH}")).told(provider)
    assert batch["status"] == status
    assert batch["output_file_id"] == (OUTPUT if output else None)
    assert batch["error_file_id"] == (ERRORS if errors else None)
    ended = {"completed": "completed_at", "cancelled": "cancelled_at", "expired": "expired_at"}.get(status)
    assert [name for name in ("completed_at", "cancelled_at", "expired_at", "failed_at") if batch[name]] == (
        [ended] if ended else []
    )


def test_cancelling() -> None:
    asked = Asked(batches(), request("POST", f"/batches/{BATCH}/cancel"))
    assert (asked.last.method, asked.last.url.path) == ("POST", f"/v1/messages/batches/{NAME}/cancel")
    state = {**message_batch("canceling", processing=1), "cancel_initiated_at": "2026-01-01T00:30:00Z"}
    batch = asked.told(state)
    assert (batch["status"], batch["cancelling_at"]) == ("cancelling", 1767227400)


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1",
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 4, "service_tier": "batch"},
}  # fmt: skip
RESULTS = jsonl(
    {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}},
    {"custom_id": "b64_YiBj", "result": {"type": "succeeded", "message": MESSAGE}},
    {
        "custom_id": "c",
        "result": {
            "type": "errored",
            "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}},
        },
    },
    {
        "custom_id": "d",
        "result": {"type": "errored", "error": {"type": "overloaded_error", "message": "full"}},
    },
    {"custom_id": "e", "result": {"type": "expired"}},
    {"custom_id": "f", "result": {"type": "canceled"}},
    {"custom_id": "g", "result": {"type": "unheard_of"}},
    {"odd": 1},
    [],
)


def content(id: str, **changes: Any) -> Asked:
    asked = Asked(files(**changes), request("GET", f"/files/{id}/content"))
    assert asked.reply(message_batch("ended", succeeded=2, errored=5)) is None
    assert asked.last.url.path == f"/v1/messages/batches/{NAME}/results"
    assert asked.last.url.host == "api.anthropic.com"
    return asked


@pytest.mark.parametrize("piece", [7, 100_000])
def test_answers_come_back_in_openais_form(piece: int) -> None:
    asked = content(OUTPUT, options={"input_cost": 10, "output_cost": 100}, logging={"log_statistics": True})
    first, second = asked.read(b"garbage\n" + RESULTS, piece)
    assert (first["custom_id"], second["custom_id"]) == ("a", "b c")
    assert first["error"] is None and first["response"]["status_code"] == 200
    body = first["response"]["body"]
    assert body["object"] == "chat.completion" and body["choices"][0]["message"]["content"] == "Hello"
    assert body["usage"]["total_tokens"] == 14 and first["response"]["request_id"] == "msg_1"
    usage = asked.record["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 8, 28)
    assert usage["cost"] == pytest.approx((20 * 10 + 8 * 100) / 1e6)
    assert asked.record["meta"]["response_model"] == "claude-x-1"


def test_a_batchs_prices_may_be_a_tiers() -> None:
    factor = [{"tier": "batch", "factor": 0.5}]
    asked = content(
        OUTPUT, options={"input_cost": 10, "output_cost": 100, "service_tier_factor": factor},
        logging={"log_statistics": True},
    )  # fmt: skip
    asked.read(RESULTS)
    assert asked.record["usage"]["cost"] == pytest.approx((20 * 10 + 8 * 100) / 2e6)


def test_what_failed_is_in_the_error_file() -> None:
    asked = content(ERRORS)
    found = {each["custom_id"]: each for each in asked.read(RESULTS)}
    assert list(found) == ["c", "d", "e", "f", "g"]
    assert found["c"]["response"]["status_code"] == 400
    assert found["c"]["response"]["body"]["error"]["message"] == "bad"
    assert found["d"]["response"]["status_code"] == 529
    assert found["e"]["response"] is None and found["e"]["error"]["code"] == "batch_expired"
    assert found["f"]["error"]["code"] == "batch_cancelled"
    assert found["g"]["error"]["code"] == "batch_unheard_of"
    assert "usage" not in asked.record


def test_results_of_a_batch_that_runs() -> None:
    asked = Asked(files(), request("GET", f"/files/{OUTPUT}/content"))
    response = asked.reply(message_batch(processing=1))
    assert response is not None and response.status == 404


def test_an_answer_that_cannot_be_translated_is_a_failure() -> None:
    result = {"type": "succeeded", "message": {"type": "error", "error": {}}}
    broken = jsonl({"custom_id": "a", "result": result})
    assert content(OUTPUT).read(broken) == []
    (found,) = content(ERRORS).read(broken)
    assert found["response"]["status_code"] >= 400


def test_files_are_told_of() -> None:
    asked = Asked(files(), request("GET", f"/files/{INPUT}"))
    file = asked.told(message_batch(processing=1))
    assert (file["id"], file["purpose"], file["bytes"]) == (INPUT, "batch", 0)
    file = Asked(files(), request("GET", f"/files/{ERRORS}")).told(message_batch("ended", errored=1))
    assert (file["id"], file["purpose"]) == (ERRORS, "batch_output")
    assert file["filename"] == f"{NAME}_error.jsonl"


def test_deleting_a_file_deletes_the_message_batch() -> None:
    asked = Asked(files(), request("DELETE", f"/files/{OUTPUT}"))
    assert (asked.last.method, asked.last.url.path) == ("DELETE", f"/v1/messages/batches/{NAME}")
    assert asked.told({"id": NAME, "type": "message_batch_deleted"}) == {
        "id": OUTPUT, "object": "file", "deleted": True,
    }  # fmt: skip


def page(*names: str, more: bool = False) -> dict[str, Any]:
    data = [{**message_batch("ended", succeeded=1), "id": f"msgbatch_{name}"} for name in names]
    return {"data": data, "has_more": more, "first_id": None, "last_id": data[-1]["id"] if data else None}


def test_lists_go_on_where_the_client_left_off() -> None:
    asked = Asked(batches(), request("GET", "/batches", query="limit=2"))
    assert asked.last.url.query == "limit=100"
    found = asked.told(page("1", "2", "3"))
    assert [each["status"] for each in found["data"]] == ["completed", "completed"]
    assert found["has_more"] and found["last_id"] == batch_id("anthropic", "msgbatch_2")
    asked = Asked(batches(), request("GET", "/batches", query=f"after={found['last_id']}&limit=2"))
    assert asked.reply(page("1", "2", more=True)) is None
    assert asked.last.url.query == "limit=100&after_id=msgbatch_2"
    found = asked.told(page("3"))
    assert [each["id"] for each in found["data"]] == [batch_id("anthropic", "msgbatch_3")]
    assert not found["has_more"]
    found = Asked(files(), request("GET", "/files")).told(page("1"))
    assert found["data"][0]["id"] == file_id("anthropic", "in", "msgbatch_1")
    assert Asked(files(), request("GET", "/files")).told(page())["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=99999", f"after={INPUT}", "after=batch_x"])
def test_lists_that_cannot_be(query: str) -> None:
    error = refused(batches(), request("GET", "/batches", query=query))
    assert error.status in (400, 404) and error.param in ("limit", "after")


def test_a_list_behind_what_is_not_there() -> None:
    asked = Asked(batches(), request("GET", "/batches", query=f"after={BATCH}"))
    response = asked.reply(page("1"))
    assert response is not None and response.status == 400


@pytest.mark.parametrize(
    ("lines", "param", "said"),
    [
        ([b"{"], "file", "line 1 is not JSON"),
        ([line("a"), b"[1]"], "custom_id", "line 2: custom_id"),
        ([line("")], "custom_id", "line 1"),
        ([line("a\n")], "custom_id", "line 1"),
        ([line("a"), line("a")], "custom_id", "line 2: custom_id a is there twice"),
        ([line("ü" * 30)], "custom_id", "too long for Anthropic"),
        ([{**line("a"), "method": "GET"}], "method", "method must be POST"),
        ([{**line("a"), "url": "/v1/embeddings"}], "url", "/v1/chat/completions only"),
        ([{**line("a"), "body": []}], "body", "body must be an object"),
        ([line("a", model="other")], "model", "line 1: cannot use own model - must be: claude-x"),
        ([line("a", model=1)], "model", "model must be a text"),
        ([{**line("a"), "body": {"messages": "x"}}], "messages", "line 1"),
        ([b""], "file", "there is no request in it"),
    ],
)
def test_lines_that_cannot_be_asked(lines: list[Any], param: str, said: str) -> None:
    error = refused(files(), upload(*lines))
    assert error.status == 400 and said in error.message
    assert error.param == param


def test_only_batches_are_uploaded() -> None:
    error = refused(files(), upload(line("a"), purpose="assistants"))
    assert (error.status, error.param) == (400, "purpose")
    form = upload(line("a"))
    form.body = form.body.replace(b'name="file"', b'name="other"')
    assert refused(files(), form).param == "file"


def test_models_are_the_clients_where_none_is_configured() -> None:
    asked = Asked(instance("anthropic", FILES, None), upload(line("a", model="x"), line("b", model="y")))
    assert [each["params"]["model"] for each in asked.body["requests"]] == ["x", "y"]
    assert refused(instance("anthropic", FILES, None), upload(line("a"))).param == "model"
    aliased = instance("anthropic", FILES, "claude-x", alias="mine")
    asked = Asked(aliased, upload(line("a", model="mine"), line("b", model="claude-x")))
    assert {each["params"]["model"] for each in asked.body["requests"]} == {"claude-x"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"endpoint": "/v1/embeddings", "input_file_id": INPUT}, "endpoint"),
        ({"completion_window": "1h", "input_file_id": INPUT}, "completion_window"),
        ({}, "input_file_id"),
        ({"input_file_id": 1}, "input_file_id"),
        ({"input_file_id": OUTPUT}, "input_file_id"),
        ({"input_file_id": "file-abc"}, "input_file_id"),
        ({"requests": {}}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [1]}, "custom_id"),
    ],
)
def test_batches_that_cannot_be_created(body: dict[str, Any], param: str) -> None:
    error = refused(batches(), request("POST", "/batches", body))
    assert (error.status, error.param) == (400, param)


def respelled(id: str) -> str:
    """The same bytes in another spelling of base64."""
    other = id[:-1] + chr(ord(id[-1]) + 1)
    assert base64.urlsafe_b64decode(other[5:] + "==") == base64.urlsafe_b64decode(id[5:] + "==")
    return other


def test_ids_are_decoded_strictly() -> None:
    wrong = [
        "file-1", "batch_1", BATCH, file_id("gemini", "in", NAME), file_id("anthropic", "in", "../x"),
        file_id("anthropic", "odd", NAME),  # type: ignore[arg-type]
        INPUT + "=", respelled(file_id("anthropic", "in", NAME + "dE")),
        file_id("anthropic", "in", "msgbatch_1\nx"), "file-" + "_" * 3000, "file-/w", "file-__8",
    ]  # fmt: skip
    for id in wrong:
        error = refused(files(), request("GET", f"/files/{id}".replace("/w", "%2Fw")))
        assert error.status == 404, id
    assert refused(batches(), request("GET", f"/batches/{INPUT}")).status == 404
    assert refused(files(), request("GET", f"/files/{INPUT}/content")).param == "id"


@pytest.mark.parametrize("custom_id", ["a", "A-1_b", "b64_x", "x y", "ü", "a" * 64])
def test_custom_ids_come_back_as_they_were(custom_id: str) -> None:
    assert len(spelled(custom_id)) <= 64
    assert plain(spelled(custom_id)) == custom_id


def test_custom_ids_of_others() -> None:
    assert plain("b64_!") == "b64_!"
    assert plain("b64__w") == "b64__w"


def test_errors_are_anthropics() -> None:
    asked = Asked(batches(), request("GET", f"/batches/{BATCH}"))
    error = {"type": "error", "error": {"type": "not_found_error", "message": "no such batch"}}
    response = asked.reply(error, 404)
    assert response is not None and response.status == 404
    assert json.loads(response.body)["error"]["message"] == "no such batch"
    response = Asked(batches(), request("GET", f"/batches/{BATCH}")).reply(b"[]")
    assert response is not None and response.status == 502


def test_an_upstream_url_stands_for_its_server() -> None:
    options = {"upstream_url": "http://own.test:81/anthropic/v1/messages"}
    asked = Asked(batches(options=options), request("GET", f"/batches/{BATCH}"))
    assert asked.last.url.path == f"/anthropic/v1/messages/batches/{NAME}"
    options = {"upstream_url": "http://own.test:81/elsewhere"}
    asked = Asked(batches(options=options), request("GET", f"/batches/{BATCH}"))
    assert (asked.last.url.port, asked.last.url.path) == (81, f"/v1/messages/batches/{NAME}")


def test_what_an_adapter_was_not_written_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> Any:
        raise KeyError("odd")

    adapter = type(provider("anthropic").adapter(Asked(files(), upload(line("a"))).attempt.call))
    monkeypatch.setattr(adapter, "response", breaks)
    (found,) = content(ERRORS).read(RESULTS.splitlines(keepends=True)[0])
    assert found["response"]["status_code"] == 502
    monkeypatch.setattr(adapter, "request", breaks)
    error = refused(files(), upload(line("a")))
    assert (error.status, error.param) == (400, "body") and error.message.startswith("line 1: ")


def test_a_result_that_is_too_long() -> None:
    asked = content(OUTPUT)
    asked.attempt.call.max_frame = 10
    running = asked.attempt.translation.stream(200, {})
    assert running is not None
    assert running.feed(RESULTS) == b""
    assert running.failed is not None and running.failed.code == "upstream_answer_too_large"


def test_lists_have_an_end() -> None:
    asked = Asked(batches(), request("GET", "/batches", query=f"after={BATCH}"))
    for _ in range(49):
        assert asked.reply(page("1", more=True)) is None
    response = asked.reply(page("1", more=True))
    assert response is not None and response.status == 400
