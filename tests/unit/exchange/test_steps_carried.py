"""Translations of several steps, driven without a network: by a provider that has one of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from exchange_support import advanced, first_attempt, proxy, target_config

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, ClientResponse, UpstreamRequest, Url
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.exchange.attempt import Attempt
from kong_ai_proxy.exchange.exchange import Exchange
from kong_ai_proxy.exchange.steps_carry import FORM_MAX
from kong_ai_proxy.formats.steps import Asked, Step, Steps, Streamed, Whole
from kong_ai_proxy.providers import provider
from kong_ai_proxy.providers.compatible import with_path

IMAGES = "image/v1/images/generations"
EDITS = "image/v1/images/edits"
VIDEOS = "video/v1/videos/generations"
FILES = "llm/v1/files"
JSON = {"content-type": "application/json", "x-request-id": "r1"}
LONG = "QUJD" * 400

Fake = Callable[[Callable[[Asked], Steps]], None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Gives Cohere the translation of the test."""
    kind = type(provider("cohere"))
    names = {"image.generations", "image.edits", "video.generations", "files", "batches"}

    def install(translation: Callable[[Asked], Steps]) -> None:
        monkeypatch.setattr(kind, "operations", kind.operations | names)
        monkeypatch.setattr(kind, "steps", lambda self, call: translation)
        monkeypatch.setattr(kind, "step_url", step_url)

    return install


def step_url(self: Any, call: Call, step: Step) -> Url:
    if step.path.startswith("https://"):
        raise ApiError(502, "not the provider's own")
    return with_path(Url("https", f"{step.service or 'api'}.test", 443, "/"), step.path)


def request(method: str = "POST", path: str = "/", body: Any = None, **headers: str) -> ClientRequest:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} if data else {}
    return ClientRequest(method, path, "", {**given, **headers}, data)


def form(*parts: tuple[str, bytes], **headers: str) -> ClientRequest:
    body = b"".join(
        b"--B\r\nContent-Disposition: form-data; name=" + name.encode() + b"\r\n\r\n" + data + b"\r\n"
        for name, data in parts
    )
    made = request(body=body + b"--B--\r\n", **headers)
    made.headers["content-type"] = "multipart/form-data; boundary=B"
    return made


class Run:
    """One attempt: feeds answers until the client has one."""

    def __init__(self, exchange: Exchange, attempt: Attempt) -> None:
        self.exchange = exchange
        self.attempt = attempt
        self.sent: list[UpstreamRequest] = [attempt.translation.request()]
        self.waits: list[float] = []
        attempt.connected("192.0.2.1", 0.001)

    def answer(self, body: Any, status: int = 200, **headers: str) -> ClientResponse | None:
        """None: something else was asked."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {**JSON, **headers}
        assert not self.attempt.rejected(status, given)
        further = self.attempt.translation.further(status, given, data)
        if further is not None:
            self.sent.append(further.request)
            self.waits.append(further.after)
            return None
        response = self.attempt.translation.response(status, given, data)
        self.attempt.ended()
        return response

    def final(self, body: Any, status: int = 200, **headers: str) -> ClientResponse:
        response = self.answer(body, status, **headers)
        assert response is not None
        return response

    @property
    def record(self) -> dict[str, Any]:
        record = self.exchange.record()
        assert record is not None
        return record


def run(asked: ClientRequest, route_type: str = IMAGES, **changes: Any) -> Run:
    instance = proxy("cohere", changes.pop("name", "m"), route_type=route_type, **changes)
    return Run(*first_attempt(instance, asked))


def error_of(response: ClientResponse) -> dict[str, Any]:
    found = json.loads(response.body)["error"]
    assert isinstance(found, dict)
    return found


def one_image(asked: Asked) -> Steps:
    reply = yield Step("POST", "/v9/paint", {"text": asked.body["prompt"], "model": asked.call.model})
    asked.call.usage = Usage(prompt_tokens=3, completion_tokens=5, source=UsageSource.REPORTED)
    made = json.loads(reply.body)
    return Whole({"created": 7, "data": [{"b64_json": image} for image in made["images"]]})


def test_one_step_and_its_record(fake: Fake) -> None:
    fake(one_image)
    painted = run(request(body={"prompt": "a cat"}), logging={"log_statistics": True, "log_payloads": True})
    made = painted.sent[0]
    assert (made.method, made.url.host, made.url.path) == ("POST", "api.test", "/v9/paint")
    assert json.loads(made.body) == {"text": "a cat", "model": "m"}
    assert made.headers["content-type"] == made.headers["accept"] == "application/json"
    response = painted.final({"images": [LONG]})
    assert response.status == 200
    assert json.loads(response.body) == {"created": 7, "data": [{"b64_json": LONG}]}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-kong-llm-model"] == "cohere/m"
    record = painted.record
    assert record["tried_targets"][0]["upstream_uri"] == "/v9/paint"
    assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == (3, 5)
    assert record["meta"]["request_mode"] == "oneshot"
    assert record["payload"] == {
        "request": '{"text":"a cat","model":"m"}',
        "response": '{"images": ["[base64 not logged]"]}',
    }


@pytest.mark.parametrize(
    ("route_type", "kind"),
    [(IMAGES, "image_generation.completed"), (EDITS, "image_edit.completed")],
)
def test_whole_images_where_a_stream_was_asked_for(fake: Fake, route_type: str, kind: str) -> None:
    def streams(asked: Asked) -> Steps:
        assert not asked.call.stream
        yield Step("POST", "/v9/paint", {})
        images = [{"b64_json": "AAAA"}, {"b64_json": "BBBB"}]
        return Whole({"created": 7, "data": images, "size": "1x1", "usage": {"total_tokens": 8}})

    fake(streams)
    painted = run(request(body={"prompt": "x", "stream": True}), route_type)
    assert painted.sent[0].headers["accept"] == "application/json"
    assert painted.attempt.translation.stream(200, JSON) is None
    response = painted.final({})
    assert response.headers["content-type"] == "text/event-stream"
    events = response.body.decode().split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith(f"event: {kind}\ndata: ") for event in events)
    first, last = (json.loads(event.partition("data: ")[2]) for event in events)
    assert first == {"type": kind, "b64_json": "AAAA", "created_at": 7, "size": "1x1"}
    assert last["usage"] == {"total_tokens": 8}
    assert painted.record["meta"]["request_mode"] == "stream"


def several(asked: Asked) -> Steps:
    created = yield Step("POST", "/jobs", {"text": "x"})
    name = json.loads(created.body)["name"]
    while True:
        reply = yield Step("GET", f"/jobs/{name}", after=2.5, passes=frozenset({404}))
        if reply.status == 404:
            return Whole({"status": "gone"}, status=410)
        if json.loads(reply.body)["done"]:
            break
    reply = yield Step(
        "GET", "/bucket/file", service="s3", headers={"x-own": "1"}, credentials=asked.query != "open"
    )
    return Whole(reply.body, content_type="image/png")


def test_steps_follow_each_other(fake: Fake) -> None:
    fake(several)
    job = run(request(body={"prompt": "x"}))
    assert job.answer({"name": "j1"}) is None
    assert job.answer({"done": False}) is None
    assert job.answer({"done": True}) is None
    response = job.final(b"\x89PNG", 200, **{"content-type": "image/png"})
    assert (response.body, response.headers["content-type"]) == (b"\x89PNG", "image/png")
    assert [(each.method, each.url.path) for each in job.sent] == [
        ("POST", "/jobs"), ("GET", "/jobs/j1"), ("GET", "/jobs/j1"), ("GET", "/bucket/file"),
    ]  # fmt: skip
    assert job.waits == [2.5, 2.5, 0.0]
    last = job.sent[-1]
    assert (last.url.host, last.service, last.headers["x-own"]) == ("s3.test", "s3", "1")
    assert last.body == b"" and "content-type" not in last.headers and not last.anonymous
    assert [each["upstream_uri"] for each in job.record["tried_targets"]] == ["/jobs"]


def test_a_step_without_credentials_has_no_header_of_the_providers(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(several)
    monkeypatch.setattr(type(provider("cohere")), "headers", lambda self, call: {"x-provider": "1"})
    asked = request(body={"prompt": "x"})
    asked.query = "open"
    job = run(asked)
    assert job.sent[0].headers["x-provider"] == "1"
    job.answer({"name": "j1"})
    job.answer({"done": True})
    assert job.sent[-1].anonymous
    assert "x-provider" not in job.sent[-1].headers


def test_statuses_that_a_translation_wants_to_see(fake: Fake) -> None:
    fake(several)
    job = run(request(body={"prompt": "x"}))
    job.answer({"name": "j1"})
    response = job.final({}, 404)
    assert (response.status, json.loads(response.body)) == (410, {"status": "gone"})


def test_errors_of_the_provider_are_read_by_its_adapter(fake: Fake) -> None:
    fake(several)
    job = run(request(body={"prompt": "x"}))
    job.answer({"name": "j1"})
    response = job.final({"message": "no such thing", "id": "1"}, 400)
    assert response.status == 400
    assert error_of(response)["message"] == "no such thing"
    assert response.headers["x-request-id"] == "r1"


def test_errors_of_storage_are_xml(fake: Fake) -> None:
    fake(several)
    job = run(request(body={"prompt": "x"}))
    job.answer({"name": "j1"})
    job.answer({"done": True})
    body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>a &amp; b</Message></Error>"
    error = error_of(job.final(body, 403))
    assert (error["message"], error["code"]) == ("storage: a & b", "AccessDenied")


@pytest.mark.parametrize(
    ("service", "headers", "body", "message"),
    [
        ("s3", {}, b"<Error><Code>Odd</Code></Error>", "cohere's storage answered with status 500"),
        ("control", {"x-amzn-errortype": "X:"}, b'{"message":"m"}', "m"),
        ("upload", {}, b'{"error":{"message":"m"}}', "m"),
        ("upload", {}, b"", "cohere answered with status 500"),
    ],
)
def test_errors_of_other_services(
    fake: Fake, service: str, headers: dict[str, str], body: bytes, message: str
) -> None:
    def asks(asked: Asked) -> Steps:
        yield Step("GET", "/x", service=service)
        raise AssertionError

    fake(asks)
    assert error_of(run(request(body={"prompt": "x"})).final(body, 500, **headers))["message"] == message


def test_a_redirect_is_no_answer(fake: Fake) -> None:
    fake(several)
    response = run(request(body={"prompt": "x"})).final(b"", 302, location="https://elsewhere.test")
    assert (response.status, error_of(response)["code"]) == (502, "upstream_redirect")


def refuses(asked: Asked) -> Steps:
    raise ApiError(400, "sizes are fixed", param="size")
    yield Step("GET", "/")


def refuses_later(asked: Asked) -> Steps:
    yield Step("GET", "/x")
    raise ApiError(404, "no such video", code="not_found")


def breaks(asked: Asked) -> Steps:
    yield Step("GET", "/x")
    raise KeyError("oops")


def breaks_at_once(asked: Asked) -> Steps:
    yield Step("GET", asked.body["missing"])
    raise AssertionError


def asks_nothing(asked: Asked) -> Steps:
    return Whole({})
    yield Step("GET", "/")


def leads_elsewhere(asked: Asked) -> Steps:
    reply = yield Step("GET", "/x")
    yield Step("GET", json.loads(reply.body)["url"])
    raise AssertionError


def answers_oddly(asked: Asked) -> Steps:
    yield Step("GET", "/x")
    return Whole({"data": {1j}})


@pytest.mark.parametrize(
    ("translation", "status", "code"),
    [(refuses, 400, None), (breaks_at_once, 400, "request_not_translated"),
     (asks_nothing, 400, "request_not_translated")],
)  # fmt: skip
def test_translations_that_refuse(fake: Fake, translation: Any, status: int, code: str | None) -> None:
    fake(translation)
    with pytest.raises(ApiError) as caught:
        run(request(body={"prompt": "x"}))
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("translation", "status", "code"),
    [(refuses_later, 404, "not_found"), (breaks, 502, "upstream_invalid_answer"),
     (leads_elsewhere, 502, None), (answers_oddly, 502, "upstream_invalid_answer")],
)  # fmt: skip
def test_translations_that_fail_later(fake: Fake, translation: Any, status: int, code: str | None) -> None:
    fake(translation)
    response = run(request(body={"prompt": "x"})).final({"url": "https://evil.test/"})
    assert (response.status, error_of(response)["code"]) == (status, code)


def test_others_do_not_stream(fake: Fake) -> None:
    fake(one_image)
    attempt = first_attempt(proxy("cohere", "m", route_type=VIDEOS), request(body={"prompt": "x"}))[1]
    carrier: Any = attempt.translation
    carrier._asked_stream = True
    with pytest.raises(ApiError) as caught:
        attempt.translation.request()
    assert (caught.value.status, caught.value.param) == (400, "stream")


def test_an_operation_that_the_provider_lacks_is_refused(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(one_image)
    kind = type(provider("cohere"))
    monkeypatch.setattr(kind, "operations", frozenset({"chat"}))
    with pytest.raises(ApiError) as caught:
        run(request(body={"prompt": "x"}))
    assert caught.value.code == "unsupported_route_type"


# Forms.


class Pieces:
    """An upload as the relay has them."""

    def __init__(self, body: bytes, length: int | None, size: int = 30_000) -> None:
        self.length = length
        self.started = False
        self._body = body
        self._size = size

    def __iter__(self) -> Any:
        self.started = True
        for at in range(0, len(self._body), self._size):
            yield self._body[at : at + self._size]


def shows_form(asked: Asked) -> Steps:
    shown = [(each.name, each.filename, each.content_type, len(each.data)) for each in asked.files]
    yield Step("POST", "/x", {"fields": asked.body, "files": shown, "model": asked.call.model})
    return Whole({})


PICTURE = bytes(range(256)) * 400
TWO_IMAGES = (
    ("model", b"m"),
    ("include[]", b"a"),
    ("include[]", b"b"),
    ('"image[]"; filename="a.png"\r\nContent-Type: image/png', PICTURE),
    ('"image[]"; filename="b.png"', b""),
    ("n", b"2"),
)


@pytest.mark.parametrize("length", [True, False, None])
def test_forms_come_whole_and_sorted(fake: Fake, length: bool | None) -> None:
    fake(shows_form)
    asked = form(*TWO_IMAGES)
    if length is not None:
        asked.upload = Pieces(asked.body, len(asked.body) if length else None)
        asked.body = b""
    edited = run(asked, EDITS, logging={"log_statistics": True, "log_payloads": True})
    assert json.loads(edited.sent[0].body) == {
        "fields": {"model": "m", "include": ["a", "b"], "n": "2"},
        "files": [["image", "a.png", "image/png", len(PICTURE)], ["image", "b.png", "", 0]],
        "model": "m",
    }
    assert asked.upload is None  # another target may be asked
    assert json.loads(edited.attempt.translation.request().body)["fields"]["n"] == "2"


def test_a_form_names_the_model_where_nothing_is_configured(fake: Fake) -> None:
    fake(shows_form)
    # Behind a file that is longer than what is read beforehand.
    asked = form(TWO_IMAGES[3], ("model", b"mine"))
    asked.upload, asked.body = Pieces(asked.body, None), b""
    assert json.loads(run(asked, EDITS, name=None).sent[0].body)["model"] == "mine"
    asked = form(TWO_IMAGES[3], ("model", b"mine"))
    asked.upload, asked.body = Pieces(asked.body, None), b""
    with pytest.raises(ApiError) as caught:
        run(asked, EDITS)
    assert (caught.value.status, caught.value.param) == (400, "model")


@pytest.mark.parametrize(
    "parts",
    [
        [("a", b"1"), ("a", b"2")],
        [("a", b"1"), ("a[]", b"2")],
        [("a[]", b"1"), ("a", b"2")],
        [("a", b"\xff")],
    ],
)
def test_forms_that_could_be_read_in_two_ways(fake: Fake, parts: list[tuple[str, bytes]]) -> None:
    fake(shows_form)
    with pytest.raises(ApiError) as caught:
        run(form(*parts), EDITS)
    assert caught.value.status == 400


@pytest.mark.parametrize(("configured", "known"), [(20_000, True), (20_000, False), (0, True)])
def test_forms_that_are_too_large(fake: Fake, configured: int, known: bool) -> None:
    fake(shows_form)
    asked = form(*TWO_IMAGES)
    asked.upload = Pieces(asked.body, (len(asked.body) if configured else FORM_MAX + 1) if known else None)
    asked.body = b""
    with pytest.raises(ApiError) as caught:
        run(asked, EDITS, max_request_body_size=configured)
    assert caught.value.status == 413


# Streamed answers.


class Upper:
    """Line by line."""

    def __init__(self, call: Call) -> None:
        self._held = b""
        self._call = call

    def feed(self, data: bytes) -> bytes:
        head, newline, self._held = (self._held + data).rpartition(b"\n")
        if b"bad" in head:
            raise ApiError(502, "a broken line")
        return (head + newline).upper()

    def finish(self) -> bytes:
        self._call.usage = Usage(prompt_tokens=2, source=UsageSource.REPORTED)
        return self._held.upper()


def streams(asked: Asked) -> Steps:
    yield Step("GET", "/status")
    yield Step("GET", "/results", streams=True)
    return Streamed("text/plain", Upper(asked.call) if asked.rest.operation == "files" else None)


def content(route_type: str = FILES) -> Run:
    path = "/files/file-1/content" if route_type == FILES else "/videos/video_1/content"
    reading = run(request("GET", path), route_type, name=None)
    assert reading.answer({}) is None
    return reading


def test_an_answer_streams_while_it_is_translated(fake: Fake) -> None:
    fake(streams)
    reading = content()
    headers = {"content-type": "application/x-ndjson", "content-disposition": "attachment"}
    assert reading.sent[-1].headers["accept"] == "*/*"
    running = reading.attempt.translation.stream(200, headers)
    assert running is not None and running.binary
    assert (running.content_type, running.headers["content-disposition"]) == ("text/plain", "attachment")
    assert running.feed(b"one\ntw") == b"ONE\n"
    assert running.feed(b"o\n") == b"TWO\n"
    assert running.finish() == b""
    reading.attempt.ended()
    assert reading.record["usage"]["prompt_tokens"] == 2
    assert reading.attempt.translation.answered is None


def test_an_answer_streams_as_it_is(fake: Fake) -> None:
    fake(streams)
    running = content(VIDEOS).attempt.translation.stream(200, {})
    assert running is not None
    assert running.feed(b"one") == b"one" and running.finish() == b""


def test_a_stream_that_breaks_while_it_is_translated_ends_the_connection(fake: Fake) -> None:
    fake(streams)
    running = content().attempt.translation.stream(200, {})
    assert running is not None
    assert running.feed(b"one\nbad\n") == b""
    assert running.failed is not None and running.failed.status == 502


def test_what_streams_may_fail(fake: Fake) -> None:
    fake(streams)
    reading = content()
    assert reading.attempt.translation.stream(404, JSON) is None
    assert error_of(reading.final({"message": "gone"}, 404))["message"] == "gone"


def test_a_streamed_result_of_a_whole_answer(fake: Fake) -> None:
    def reads(asked: Asked) -> Steps:
        yield Step("GET", "/results")
        return Streamed("text/plain", Upper(asked.call))

    fake(reads)
    response = run(request("GET", "/files/file-1/content"), FILES, name=None).final(b"one\ntwo")
    assert (response.body, response.headers["content-type"]) == (b"ONE\nTWO", "text/plain")


def test_a_translation_may_change_its_mind_about_streaming(fake: Fake) -> None:
    def reads(asked: Asked) -> Steps:
        yield Step("GET", "/results", streams=True)
        return Whole({"a": 1})

    fake(reads)
    reading = run(request("GET", "/files/file-1/content"), FILES, name=None)
    assert reading.attempt.translation.stream(200, JSON) is None
    assert json.loads(reading.final({}).body) == {"a": 1}


# Another target.


def two(fake: Fake, translation: Any) -> Exchange:
    fake(translation)
    criteria = {"failover_criteria": ["error", "http_500", "http_404", "non_idempotent"]}
    instance = advanced(
        target_config("cohere", "a", route_type=IMAGES), target_config("cohere", "b", route_type=IMAGES),
        balancer={"algorithm": "round-robin", **criteria},
    )  # fmt: skip
    exchange, _ = first_attempt(instance, request(body={"prompt": "x"}))
    return exchange


def test_another_target_after_the_first_step_failed(fake: Fake) -> None:
    exchange = two(fake, several)
    attempt = exchange.attempts[0]
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    assert attempt.rejected(500, {})
    second = exchange.next_attempt()
    assert second is not None and second.call.model != attempt.call.model


def test_no_other_target_once_something_was_created(fake: Fake) -> None:
    exchange = two(fake, several)
    attempt = exchange.attempts[0]
    job = Run(exchange, attempt)
    job.answer({"name": "j1"})
    assert not attempt.rejected(500, {})
    assert not attempt.failed("error")
    # A status that the translation waits for is no failure of the target's.
    assert not attempt.rejected(404, {}) and not attempt.reads_refusal(404)
