"""Recorded batch APIs behind OpenAI's: what Anthropic and Gemini answered, as OpenAI's SDK wants it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from batches_support import BATCHES, FILES, Asked, instance, request, upload
from openai.types import Batch, FileObject
from recordings_support import load_recording, recorded

from kong_ai_proxy.formats.batches.ids import batch_id, file_id

COUNTED = {"in_progress": "in_progress", "canceling": "cancelling", "ended": "completed"}
LINE = {"custom_id": "a", "body": {"messages": [{"role": "user", "content": "x"}]}}


@recorded("anthropic/batches/")
def test_anthropic(recording_id: str) -> None:
    recording = load_recording(recording_id)
    sent, answered = recording["request"], recording["response"]
    path = urlsplit(sent["url"]).path.removeprefix("/v1/messages/batches").strip("/").split("/")
    files, batches = (instance("anthropic", kind, None) for kind in (FILES, BATCHES))
    name = path[0] or answered["body"]["id"]
    match sent["method"], path[1:]:
        case "POST", ["cancel"]:
            asked = Asked(batches, request("POST", f"/batches/{batch_id('anthropic', name)}/cancel"))
        case "POST", _:
            asked = Asked(files, upload(*map(as_line, sent["body"]["requests"])))
            made = asked.body["requests"]
            for ours, theirs in zip(made, sent["body"]["requests"], strict=True):
                assert ours["custom_id"] == theirs["custom_id"]
                assert ours["params"]["model"] == theirs["params"]["model"]
                assert said(ours["params"]["messages"]) == said(theirs["params"]["messages"])
        case "GET", ["results"]:
            read_results(answered["body"], name)
            return
        case _:
            asked = Asked(batches, request("GET", f"/batches/{batch_id('anthropic', name)}"))
    assert (asked.last.method, asked.last.url.path) == (sent["method"], urlsplit(sent["url"]).path)
    told = asked.told(answered["body"])
    if told["object"] == "file":
        FileObject.model_validate(told)
        assert told["id"] == file_id("anthropic", "in", name)
        return
    Batch.model_validate(told)
    counts = answered["body"]["request_counts"]
    assert told["status"] == COUNTED[answered["body"]["processing_status"]]
    assert told["request_counts"] == {
        "total": sum(counts.values()), "completed": counts["succeeded"], "failed": counts["errored"],
    }  # fmt: skip
    assert bool(told["output_file_id"]) == (answered["body"]["results_url"] is not None)


def read_results(body: str, name: str) -> None:
    files = instance("anthropic", FILES, "claude", logging={"log_statistics": True})
    asked = Asked(files, request("GET", f"/files/{file_id('anthropic', 'out', name)}/content"))
    assert asked.reply({"id": name, "processing_status": "ended", "ended_at": "2026-01-01T00:00:00Z"}) is None
    lines = asked.read(body.encode(), 50)
    theirs = [json.loads(line) for line in body.splitlines()]
    assert [line["custom_id"] for line in lines] == [line["custom_id"] for line in theirs]
    used = 0
    for ours, line in zip(lines, theirs, strict=True):
        message = line["result"]["message"]
        answer = ours["response"]["body"]
        text = "".join(block.get("text", "") for block in message["content"])
        assert answer["choices"][0]["message"]["content"] == text
        assert answer["model"] == message["model"]
        used += message["usage"]["output_tokens"]
    assert asked.record["usage"]["completion_tokens"] == used


def as_line(given: dict[str, Any]) -> dict[str, Any]:
    params = given["params"]
    messages = [{"role": each["role"], "content": said([each])} for each in params["messages"]]
    body = {"model": params["model"], "max_tokens": params["max_tokens"], "messages": messages}
    return {"custom_id": given["custom_id"], "method": "POST", "url": "/v1/chat/completions", "body": body}


def said(messages: list[dict[str, Any]]) -> str:
    return "".join(
        content if isinstance(content, str) else "".join(block["text"] for block in content)
        for content in (message["content"] for message in messages)
    )


STATES = {"BATCH_STATE_PENDING": "validating", "BATCH_STATE_SUCCEEDED": "completed"}


@recorded("gemini/batches/")
def test_gemini(recording_id: str) -> None:
    recording = load_recording(recording_id)
    answer = recording["response"]["body"]
    name = answer["name"]
    batches = instance("gemini", BATCHES, None)
    told = Asked(batches, request("GET", f"/batches/{batch_id('gemini', name)}")).told(answer)
    Batch.model_validate(told)
    stats = answer["metadata"]["batchStats"]
    assert told["status"] == STATES[answer["metadata"]["state"]]
    assert told["request_counts"]["total"] == int(stats["requestCount"])
    assert told["model"] == answer["metadata"]["model"].removeprefix("models/")
    if not answer.get("done"):
        return
    files = instance("gemini", FILES, "gemini", logging={"log_statistics": True})
    asked = Asked(files, request("GET", f"/files/{told['output_file_id']}/content"))
    response = asked.reply(answer)
    assert response is not None
    inlined = answer["response"]["inlinedResponses"]["inlinedResponses"]
    lines = [json.loads(line) for line in response.body.splitlines()]
    assert [line["custom_id"] for line in lines] == [each["metadata"]["custom_id"] for each in inlined]
    for line, each in zip(lines, inlined, strict=True):
        text = each["response"]["candidates"][0]["content"]["parts"][0]["text"]
        assert line["response"]["body"]["choices"][0]["message"]["content"] == text
    total = sum(each["response"]["usageMetadata"]["totalTokenCount"] for each in inlined)
    assert asked.record["usage"]["total_tokens"] == total


@recorded("gemini/files/")
def test_gemini_files(recording_id: str) -> None:
    recording = load_recording(recording_id)
    sent, body = recording["request"], recording["response"]["body"]
    files = instance("gemini", FILES, "gemini")
    if sent["method"] == "POST":
        asked = Asked(files, upload(LINE))
        assert asked.reply(b"", x_goog_upload_url=sent["url"]) is None
        for header in ("x-goog-upload-command", "x-goog-upload-offset"):
            assert asked.last.headers[header] == sent["headers"].get(header, asked.last.headers[header])
        assert asked.last.url.target == sent["url"].removeprefix("https://generativelanguage.googleapis.com")
        file = body["file"]
    else:
        asked = Asked(files, request("GET", f"/files/{file_id('gemini', 'in', body['name'])}"))
        assert asked.last.url.path == urlsplit(sent["url"]).path
        file = body
    told = asked.told(body)
    FileObject.model_validate(told)
    assert told["id"] == file_id("gemini", "in", file["name"]) and told["bytes"] == int(file["sizeBytes"])
    assert told["purpose"] == "user_data"  # not uploaded here
