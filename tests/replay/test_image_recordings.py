"""Recorded images through an exchange, at the providers that make them by an API of their own."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from exchange_support import open_exchange, proxy
from recordings_support import load_recording, recorded, recordings

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, ClientResponse, UpstreamRequest
from kong_ai_proxy.exchange.exchange import Exchange

GENERATIONS = "image/v1/images/generations"
EDITS = "image/v1/images/edits"
JSON = {"content-type": "application/json"}
PIXEL = "iVBORw0KGgoAAAANSUhEUg=="
AWS = {"bedrock": {"aws_region": "us-east-1"}}
TARGETS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "gemini": (
        "gemini-2.5-flash-image", {},
        {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}]}}]},
    ),
    "imagen": ("imagen-4.0-generate-001", {}, {"predictions": [{"bytesBase64Encoded": PIXEL}]}),
    "nova": ("amazon.nova-canvas-v1:0", AWS, {"images": [PIXEL]}),
    "stability": ("stability.sd3-5-large-v1:0", AWS, {"images": [PIXEL]}),
    "dashscope": (
        "qwen-image-edit", {},
        {"output": {"choices": [{"message": {"content": [{"image": "https://a.aliyuncs.com/1.png"}]}}]}},
    ),
}  # fmt: skip
PROVIDERS = {"imagen": "gemini", "nova": "bedrock", "stability": "bedrock"}
"""Of the targets that are not named after their provider."""


class Run:
    """One attempt, fed until the client has its answer."""

    def __init__(self, provider: str, model: str | None, route: str, request: ClientRequest, **options: Any):
        instance = proxy(provider, model, route_type=route, options=options, alias="dall-e-2")
        self.exchange: Exchange = open_exchange(instance, request)
        attempt = self.exchange.next_attempt()
        assert attempt is not None
        self.attempt = attempt
        self.sent: list[UpstreamRequest] = [attempt.translation.request()]
        self.attempt.connected("192.0.2.1", 0.001)

    def answer(self, body: Any, status: int = 200) -> ClientResponse | None:
        """None: something else is asked."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        further = self.attempt.translation.further(status, JSON, data)
        if further is not None:
            self.sent.append(further.request)
            return None
        response = self.attempt.translation.response(status, JSON, data)
        self.attempt.ended()
        return response

    def usage(self) -> dict[str, Any]:
        record = self.exchange.record()
        assert record is not None
        usage = record["usage"]
        assert isinstance(usage, dict)
        return usage


def posted(body: Any, path: str) -> ClientRequest:
    return ClientRequest("POST", path, "", dict(JSON), json.dumps(body).encode())


def form_of(recording: dict[str, Any]) -> ClientRequest:
    """A recorded form as its client sent it."""
    headers = {"content-type": recording["request"]["headers"]["content-type"]}
    return ClientRequest(
        "POST", "/v1/images/edits", "", headers, base64.b64decode(recording["request"]["body_b64"])
    )


@recorded("dashscope/image-generations/")
def test_a_recorded_task(recording_id: str) -> None:
    begun = load_recording(recording_id)
    asked, answered = begun["request"], begun["response"]["body"]
    body = {"prompt": asked["body"]["input"]["prompt"], "n": 4}
    run = Run(
        "dashscope",
        asked["body"]["model"],
        GENERATIONS,
        posted(body, "/images"),
        dashscope={"international": False},
    )
    sent = run.sent[0]
    assert f"{sent.url.scheme}://{sent.url.authority}{sent.url.target}" == asked["url"]
    assert sent.headers["x-dashscope-async"] == asked["headers"]["x-dashscope-async"] == "enable"
    made = json.loads(sent.body)
    assert (made["model"], made["input"]) == (asked["body"]["model"], asked["body"]["input"])
    assert run.answer(answered) is None
    task = answered["output"]["task_id"]
    looks = [load_recording(one) for one in recordings("dashscope/tasks/")]
    mine = [one for one in looks if one["response"]["body"]["output"]["task_id"] == task]
    order = {"PENDING": 0, "RUNNING": 1, "SUCCEEDED": 2}
    mine.sort(key=lambda one: order[one["response"]["body"]["output"]["task_status"]])
    response = None
    for look in mine:
        assert response is None
        assert run.sent[-1].method == "GET"
        assert run.sent[-1].url.path == urlsplit(look["request"]["url"]).path
        assert run.sent[-1].body == b""
        response = run.answer(look["response"]["body"])
    if mine and mine[-1]["response"]["body"]["output"]["task_status"] == "SUCCEEDED":
        last = mine[-1]["response"]["body"]
        assert response is not None
        assert json.loads(response.body)["data"] == [{"url": one["url"]} for one in last["output"]["results"]]
        assert run.usage()["images"] == last["usage"]["image_count"]
    else:
        assert response is None


@recorded("xai/image-edits/")
def test_a_recorded_edit_of_xai(recording_id: str) -> None:
    recording = load_recording(recording_id)
    asked = recording["request"]["body"]
    body = {"prompt": asked["prompt"], "images": [{"image_url": image["url"]} for image in asked["images"]]}
    run = Run("xai", asked["model"], EDITS, posted(body, "/v1/images/edits"))
    assert json.loads(run.sent[0].body) == asked
    assert run.sent[0].url.path == urlsplit(recording["request"]["url"]).path
    response = run.answer(recording["response"]["body"])
    assert response is not None
    assert json.loads(response.body)["data"] == [{"url": recording["response"]["body"]["data"][0]["url"]}]
    assert run.usage()["images"] == 1


@pytest.mark.parametrize("target", [*TARGETS, "xai"])
@recorded("openai/image-edits/003", "openai/image-edits/004")
def test_recorded_forms_at_other_providers(recording_id: str, target: str) -> None:
    recording = load_recording(recording_id)
    model, options, answered = TARGETS.get(
        target, ("grok-imagine-image", {}, {"data": [{"b64_json": PIXEL}]})
    )
    request = form_of(recording)
    boundary = b"--" + request.headers["content-type"].partition("boundary=")[2].encode()
    (picture,) = [part for part in request.body.split(boundary) if b'name="image"' in part]
    data = picture.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
    assert data.startswith(b"\x89PNG")
    try:
        run = Run(PROVIDERS.get(target, target), model, EDITS, request, **options)
    except ApiError as error:
        # What cannot be done there is refused by the field's name.
        assert (target, error.status, error.param) in {
            ("gemini", 400, "mask"), ("imagen", 400, "model"), ("stability", 400, "mask"),
            ("dashscope", 400, "mask"), ("nova", 400, "mask"),
        }  # fmt: skip
        return
    assert base64.b64encode(data) in run.sent[0].body
    response = run.answer(answered)
    assert response is not None and response.status == 200
    assert len(json.loads(response.body)["data"]) == 1


@pytest.mark.parametrize("target", TARGETS)
@recorded("openai/image-generations/", "xai/image-generations/")
def test_recorded_generations_at_other_providers(recording_id: str, target: str) -> None:
    body = load_recording(recording_id)["request"]["body"]
    model, options, answered = TARGETS[target]
    body = {name: value for name, value in body.items() if name != "model"}
    try:
        run = Run(
            PROVIDERS.get(target, target), model, GENERATIONS, posted(body, "/images/generations"), **options
        )
    except ApiError as error:
        assert error.status == 400 and error.param in body
        return
    assert body["prompt"].encode()[:20] in run.sent[0].body or '"' in body["prompt"][:20]
    response = None
    while response is None:
        response = run.answer(b"\x89PNG" if run.sent[-1].method == "GET" else answered)
    assert response.status == 200
    assert run.usage()["images"] == len(json.loads(response.body)["data"])


@recorded("gemini/native-generate/013")
def test_a_recorded_error(recording_id: str) -> None:
    recorded_error = load_recording(recording_id)["response"]
    run = Run("gemini", "gemini-2.5-flash-image", GENERATIONS, posted({"prompt": "x"}, "/images"))
    response = run.answer(recorded_error["body"], recorded_error["status"])
    assert response is not None and response.status == 400
    error = json.loads(response.body)["error"]
    assert error["message"] == recorded_error["body"]["error"]["message"]
    assert error["type"] == "invalid_request_error"
