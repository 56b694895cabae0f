"""The OpenAI SDK on every other route type: responses, assistants, files, batches, audio, images, videos."""

from __future__ import annotations

import http.client
import io
import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_support import Json, target
from http_support import MARK, call
from openai import OpenAI
from rest_gateway import RestGateway

from kong_ai_proxy.mockllm import Answer
from kong_ai_proxy.mockllm.answers import Drop

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MEGABYTE = 1024 * 1024
LARGE = int(os.environ.get("KONG_AI_PROXY_LARGE_MB", "50"))
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def routes(mock: str) -> dict[str, Json]:
    """Plugin configurations by route."""
    gemini = "/v1beta/models/mock:streamGenerateContent?alt=sse"
    responses = "llm/v1/responses"
    return {
        "responses": target(mock, "openai", "gpt-4o", "/v1/responses", responses),
        "azure-responses": target(mock, "azure", "gpt-4o", "/openai/v1/responses", responses),
        "anthropic": target(
            mock, "anthropic", "claude", "/v1/messages", responses, anthropic_version="2023-06-01"
        ),
        "bedrock": target(mock, "bedrock", "claude", "", responses, bedrock={"aws_region": "us-east-1"}),
        "gemini": target(mock, "gemini", "mock", gemini, responses),
        "cohere": target(mock, "cohere", "command", "/v2/chat", responses),
        "mistral": target(mock, "mistral", "m", "/mistral/v1/chat/completions", responses),
        "assistants": target(mock, "openai", "gpt-4o", "/v1/assistants", "llm/v1/assistants"),
        "files": target(mock, "openai", None, "/v1/files", "llm/v1/files"),
        "batches": target(mock, "openai", None, "/v1/batches", "llm/v1/batches"),
        "speech": target(mock, "openai", "tts-1", "/v1/audio/speech", "audio/v1/audio/speech"),
        "transcriptions": target(
            mock, "openai", "whisper-1", "/v1/audio/transcriptions", "audio/v1/audio/transcriptions"
        ),
        "images": target(
            mock, "openai", "gpt-image-1", "/v1/images/generations", "image/v1/images/generations"
        ),
        "edits": target(mock, "openai", "gpt-image-1", "/v1/images/edits", "image/v1/images/edits"),
        "videos": target(mock, "openai", "sora-2", "/v1/videos", "video/v1/videos/generations"),
        "preserve": target(mock, "openai", None, "/v1/chat/completions", "preserve"),
    }


@pytest.fixture(scope="module")
def running() -> Iterator[RestGateway]:
    with RestGateway(routes) as gateway:
        yield gateway


@pytest.fixture
def rest(running: RestGateway) -> RestGateway:
    MARK["x-test"] = uuid.uuid4().hex
    running.mock.reset()
    return running


def client(gateway: RestGateway, route: str) -> OpenAI:
    return gateway.client(route)


@pytest.fixture(autouse=True)
def _closed_clients(running: RestGateway) -> Iterator[None]:
    yield
    running.close_clients()


# Responses, the provider's own.


@pytest.mark.parametrize("route", ["responses", "bare/responses", "whole/responses", "azure-responses"])
def test_responses(rest: RestGateway, route: str) -> None:
    answer = client(rest, route).responses.create(input="Hello")
    assert answer.output_text == "You said: Hello"
    usage = rest.record()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 4, 11)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 3
    assert rest.mock.last.json["model"] == "gpt-4o"


@pytest.mark.parametrize("route", ["responses", "azure-responses"])
def test_responses_stream(rest: RestGateway, route: str) -> None:
    with client(rest, route).responses.stream(model="gpt-4o", input="Hello") as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == deltas == "You said: Hello"
    record = rest.record()
    assert (record["usage"]["prompt_tokens"], record["usage"]["completion_tokens"]) == (7, 4)
    assert record["meta"]["request_mode"] == "stream"


def test_stored_responses(rest: RestGateway) -> None:
    responses = client(rest, "responses").responses
    assert responses.retrieve("resp_9").id == "resp_9"
    assert [item.id for item in responses.input_items.list("resp_9")] == ["msg_1"]
    assert responses.cancel("resp_9").status == "cancelled"
    responses.delete("resp_9")
    assert rest.mock.last.method == "DELETE"
    assert rest.mock.last.raw_path == "/v1/responses/resp_9"
    with pytest.raises(openai.BadRequestError):
        responses.create(model="another", input="x")


# Responses, by translation.

TRANSLATED = {
    "anthropic": "claude",
    "bedrock": "claude",
    "gemini": "mock",
    "cohere": "command",
    "mistral": "m",
}
"""Route → model."""


@pytest.mark.parametrize("provider", TRANSLATED)
def test_translated_stream(rest: RestGateway, provider: str) -> None:
    with client(rest, provider).responses.stream(
        model=TRANSLATED[provider], input="Hello Paris", instructions="Be short."
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == "You said: Hello Paris"
    assert final.usage is not None and final.usage.output_tokens == 4
    usage = rest.record()["usage"]
    assert usage["completion_tokens"] == 4
    assert usage["prompt_tokens"] == final.usage.input_tokens


@pytest.mark.parametrize("provider", TRANSLATED)
def test_translated_tools_there_and_back(rest: RestGateway, provider: str) -> None:
    sdk = client(rest, provider)
    asked: Any = [{"role": "user", "content": "Weather in Paris?"}]
    with sdk.responses.stream(
        model=TRANSLATED[provider], input=asked, tools=[WEATHER], tool_choice="required"
    ) as stream:
        final = stream.get_final_response()
    (made,) = [item for item in final.output if item.type == "function_call"]
    assert made.name == "get_weather"
    assert "city" in json.loads(made.arguments)
    result: Any = {"type": "function_call_output", "call_id": made.call_id, "output": "sunny"}
    history = [*asked, *(item.to_dict() for item in final.output), result]
    with sdk.responses.stream(model=TRANSLATED[provider], input=history, tools=[WEATHER]) as stream:
        assert "sunny" in stream.get_final_response().output_text


@pytest.mark.parametrize("provider", ["anthropic", "bedrock", "cohere"])
def test_translated_whole(rest: RestGateway, provider: str) -> None:
    answer = client(rest, provider).responses.create(input="Hello Paris", max_output_tokens=50)
    assert answer.output_text == "You said: Hello Paris"
    assert answer.status == "completed"
    assert rest.record()["usage"]["completion_tokens"] == 4


def test_translated_state_is_refused(rest: RestGateway) -> None:
    responses = client(rest, "anthropic").responses
    with pytest.raises(openai.BadRequestError) as caught:
        responses.create(input="x", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError):
        responses.retrieve("resp_1")


# Assistants, files, batches, videos.


def test_assistants(rest: RestGateway) -> None:
    beta = client(rest, "assistants").beta
    assistant = beta.assistants.create(model="gpt-4o", name="A")
    assert [one.id for one in beta.assistants.list()] == ["asst_1"]
    assert beta.assistants.retrieve(assistant.id).id == assistant.id
    thread = beta.threads.create()
    beta.threads.messages.create(thread.id, role="user", content="hi")
    assert [one.id for one in beta.threads.messages.list(thread.id)] == ["msg_1"]
    run = beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    assert beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == "completed"
    with beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        stream.until_done()
    beta.assistants.delete(assistant.id)
    assert rest.mock.last.raw_path == "/v1/assistants/asst_1"
    records = [record["ai"]["proxy"] for record in rest.log.wait(9)]
    assert [record["usage"]["total_tokens"] for record in records if "usage" in record] == [11, 11]


def test_files_and_batches(rest: RestGateway) -> None:
    files = client(rest, "files").files
    made = files.create(file=("b.jsonl", b"{}\n" * 10), purpose="batch")
    assert made.bytes == 30
    assert [one.id for one in files.list(limit=2)] == ["file-5"]
    assert rest.mock.last.query == "limit=2"
    assert files.retrieve(made.id).id == "file-30"
    assert files.delete(made.id).deleted
    batches = client(rest, "batches").batches
    batch = batches.create(input_file_id="file-30", endpoint="/v1/responses", completion_window="24h")
    done = batches.retrieve(batch.id)
    assert batches.cancel(batch.id).status == "cancelling"
    assert [one.id for one in batches.list()] == ["batch_1"]
    assert done.output_file_id is not None
    assert b"custom_id" in files.content(done.output_file_id).read()
    record = rest.log.wait(9)[-1]["ai"]["proxy"]
    assert record["usage"]["total_tokens"] == 11


def test_videos(rest: RestGateway) -> None:
    videos = client(rest, "videos").videos
    made = videos.create(prompt="a cat", seconds="4")
    assert b"sora-2" in rest.mock.last.body
    assert videos.retrieve(made.id).status == "completed"
    assert len(videos.download_content(made.id).read()) == 200_000


# Sound and images.


@pytest.mark.parametrize("route", ["transcriptions", "bare/transcriptions"])
@pytest.mark.parametrize("size", [1000, 3 * MEGABYTE])
def test_transcription(rest: RestGateway, route: str, size: int) -> None:
    sound = io.BytesIO(bytes(size))
    sound.name = "a.wav"
    answer = client(rest, route).audio.transcriptions.create(model="whisper-1", file=sound)
    assert answer.text == f"{size} bytes by whisper-1"
    usage = rest.record()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (17, 10, 27)


@pytest.mark.parametrize("pieces", [1, 40])
def test_transcription_of_unknown_length(rest: RestGateway, pieces: int) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    chunks = [head, *[bytes(10_000)] * pieces, b"\r\n--B--\r\n"]
    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = call(rest.url, "/transcriptions", chunks=chunks, headers=headers)
    assert answer.json["text"] == f"{pieces * 10_000} bytes by whisper-1"


def test_other_model_behind_a_large_file(rest: RestGateway) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    tail = b'\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n--B--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = call(rest.url, "/transcriptions", head + bytes(3 * MEGABYTE) + tail, headers=headers)
    assert answer.status == 400
    assert answer.message == "cannot use own model - must be: whisper-1"


@pytest.mark.parametrize(
    ("route", "size"), [("transcriptions", 9), ("transcriptions", 100_000), ("bare/transcriptions", 100_000)]
)
def test_transcription_stream(rest: RestGateway, route: str, size: int) -> None:
    audio = client(rest, route).audio
    events = list(audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x" * size), stream=True))
    assert events[-1].type == "transcript.text.done"
    assert rest.record()["usage"]["input_tokens"] == 17


def test_speech(rest: RestGateway) -> None:
    audio = client(rest, "speech").audio
    assert len(audio.speech.create(model="tts-1", voice="alloy", input="hello").read()) == 5000
    with audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="x" * 200) as out:
        assert out.headers["content-type"] == "audio/mpeg"
        assert sum(map(len, out.iter_bytes())) == 200_000
    for record in rest.log.wait(2):
        assert record["ai"]["proxy"]["meta"]["request_model"] == "tts-1"
        assert record["ai"]["proxy"]["tried_targets"][0]["upstream_uri"] == "/v1/audio/speech"
        assert "x-kong-ai-usage" not in record["response"]["headers"]


def test_cut_speech_does_not_look_whole(rest: RestGateway) -> None:
    rest.mock.answer(Answer(200, {"content-type": "audio/mpeg"}, steps=[b"x" * 5000, Drop()]))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        call(rest.url, "/speech", {"input": "x", "voice": "alloy"})


def test_images(rest: RestGateway) -> None:
    made = client(rest, "images").images.generate(prompt="a cat")
    assert made.data and made.data[0].b64_json
    usage = rest.record()["usage"]
    assert usage["output_tokens_details"] == {"text_tokens": 0, "image_tokens": 100}
    edited = client(rest, "edits").images.edit(image=("a.png", b"\x89PNG"), prompt="red")
    assert edited.data
    assert b"gpt-image-1" in rest.mock.last.body


# Errors, and everything else.


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/files/file-1", 405),
        ("GET", "/files/file-1/secret", 404),
        ("GET", "/files/%2e%2e%2fassistants", 400),
        ("GET", "/speech", 405),
        ("POST", "/transcriptions", 415),
    ],
)
def test_errors(rest: RestGateway, method: str, path: str, status: int) -> None:
    answer = call(rest.url, path, {"model": "m"} if method == "POST" else None, method=method, headers=MARK)
    assert answer.status == status
    assert answer.message
    assert not rest.mock.requests


def test_preserve(rest: RestGateway) -> None:
    body = {"model": "any-model", "messages": [{"role": "user", "content": "Hi"}]}
    answer = call(rest.url, "/preserve/anything", body)
    assert answer.json["choices"][0]["message"]["content"] == "You said: Hi"
    assert rest.record()["usage"]["prompt_tokens"] > 0


# Large ones.


def test_large_files_pass_without_being_held(rest: RestGateway) -> None:
    call(rest.url, "/files", method="GET", headers=MARK)
    size = LARGE * MEGABYTE
    before = rest.rss()
    piece = bytes(64 * 1024)
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    tail = b"\r\n--B--\r\n"
    connection = http.client.HTTPConnection(rest.url.removeprefix("http://"), timeout=60)
    highest = before

    def form() -> Iterator[bytes]:
        nonlocal highest
        yield head
        for number in range(size // len(piece)):
            if number % 100 == 0:
                highest = max(highest, rest.rss())
            yield piece
        yield tail

    headers = {
        **MARK,
        "content-type": "multipart/form-data; boundary=B",
        "content-length": str(size + len(head) + len(tail)),
    }
    connection.request("POST", "/files", form(), headers)
    answer = json.loads(connection.getresponse().read())
    assert answer["bytes"] == size
    rest.mock.reset()
    connection.request("GET", f"/files/file-{size}/content", headers=MARK)
    download = connection.getresponse()
    assert "mock.bin" in str(download.headers["content-disposition"])
    got = 0
    while data := download.read(256 * 1024):
        got += len(data)
        if got % (16 * MEGABYTE) < len(data):
            highest = max(highest, rest.rss())
    connection.close()
    assert got == size
    highest = max(highest, rest.rss())
    assert highest - before < 20 * MEGABYTE, (highest - before) / MEGABYTE
