"""The mock providers: each speaks its wire format so that the provider's own SDK or parser reads it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from botocore.eventstream import EventStreamBuffer

from kong_ai_proxy.config.models import Judge
from kong_ai_proxy.judge.calls import Said
from kong_ai_proxy.judge.said import Asked
from kong_ai_proxy.judge.score import question, score_in
from kong_ai_proxy.mockllm import Answer, Drop, Gate, Hang, MockLLM, Pause, Reset
from kong_ai_proxy.mockllm.brain import Ask, Knobs, Tool, split_words, think
from kong_ai_proxy.mockllm.recorded import recorded_answer

TOOL: Any = {
    "name": "get_weather",
    "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def mock() -> Iterator[MockLLM]:
    with MockLLM() as mock:
        yield mock


def post(mock: MockLLM, path: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(mock.host, mock.port, timeout=5)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body)
        connection.request("POST", path, data, {k.replace("_", "-"): v for k, v in headers.items()})
        with connection.getresponse() as answer:
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# -- with the providers' own SDKs
# ---------------------------------------------------------------------------


def test_openai_sdk(mock: MockLLM) -> None:
    with openai.OpenAI(base_url=f"{mock.url}/v1", api_key="k", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Weather in Paris"}]
        tools: Any = [{"type": "function", "function": {"name": TOOL["name"], "parameters": TOOL["schema"]}}]
        answer = client.chat.completions.create(model="m", messages=messages, tools=tools)
        call: Any = (answer.choices[0].message.tool_calls or [])[0]
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        chunks = list(
            client.chat.completions.create(
                model="m", messages=messages, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "You said: Weather in Paris"
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 6 + 5
        assert len(client.embeddings.create(model="m", input="x").data[0].embedding) == 8
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="mock-status-429", messages=messages)


def test_azure_sdk(mock: MockLLM) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=mock.url, api_key="k", api_version="2024-10-21", max_retries=0
    ) as client:
        answer = client.chat.completions.create(model="d", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "You said: Hi"
    assert mock.last.path == "/openai/deployments/d/chat/completions"


def test_anthropic_sdk(mock: MockLLM) -> None:
    with anthropic.Anthropic(base_url=mock.url, api_key="k", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Weather in Paris"}]
        tools: Any = [{"name": TOOL["name"], "input_schema": TOOL["schema"]}]
        answer: Any = client.messages.create(model="m", max_tokens=50, messages=messages, tools=tools)
        assert answer.stop_reason == "tool_use"
        assert answer.content[0].input == {"city": "Paris"}
        thinking: Any = {"type": "enabled", "budget_tokens": 1024}
        with client.messages.stream(model="m", max_tokens=50, messages=messages, thinking=thinking) as stream:
            final: Any = stream.get_final_message()
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert final.content[0].signature
        assert final.content[1].text == "You said: Weather in Paris"
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(model="m", max_tokens=5, messages=[])


# -- formats read with a parser ----------------------------------------------------------------------------


def gemini(text: str, **more: Any) -> Any:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **more}


def test_gemini_framings(mock: MockLLM) -> None:
    path = "/v1beta/models/gemini-x"
    whole = json.loads(post(mock, f"{path}:generateContent", gemini("Hi you"), x_goog_api_key="k")[2])
    assert whole["candidates"][0]["content"]["parts"] == [{"text": "You said: Hi you"}]
    stream = f"{path}:streamGenerateContent"
    array = json.loads(post(mock, stream, gemini("Hi you"), x_goog_api_key="k")[2])
    sse = post(mock, f"{stream}?alt=sse", gemini("Hi you"), x_goog_api_key="k")[2]
    events = [json.loads(event[6:]) for event in sse.decode().split("\r\n\r\n") if event]
    assert events == array
    assert array[-1]["candidates"][0]["finishReason"] == "STOP"
    assert array[-1]["usageMetadata"] == whole["usageMetadata"]
    assert post(mock, f"{path}:generateContent", gemini("x"))[0] == 403
    assert post(mock, f"{path}:generateContent", {"messages": []}, x_goog_api_key="k")[0] == 400


def test_bedrock_frames_pass_botocores_checks(mock: MockLLM) -> None:
    body = {
        "messages": [{"role": "user", "content": [{"text": "Weather in Paris"}]}],
        "toolConfig": {
            "tools": [{"toolSpec": {"name": TOOL["name"], "inputSchema": {"json": TOOL["schema"]}}}]
        },
    }
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=x"}
    status, headers, data = post(mock, "/model/some.model-v1%3A0/converse-stream", body, **signed)
    assert (status, headers["content-type"]) == (200, "application/vnd.amazon.eventstream")
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    events = [(event.headers[":event-type"], json.loads(event.payload)) for event in buffer]
    arguments = "".join(
        payload["delta"]["toolUse"]["input"] for kind, payload in events if kind == "contentBlockDelta"
    )
    assert json.loads(arguments) == {"city": "Paris"}
    assert [kind for kind, _ in events][-2:] == ["messageStop", "metadata"]
    whole = json.loads(post(mock, "/model/some.model-v1%3A0/converse", body, **signed)[2])
    assert whole["output"]["message"]["content"][0]["toolUse"]["input"] == {"city": "Paris"}
    assert whole["usage"] == events[-1][1]["usage"]
    assert post(mock, "/model/m/converse", body)[0] == 403
    assert post(mock, "/model/m/converse", {**body, "max_tokens": 5}, **signed)[0] == 400


def test_cohere_ollama_huggingface(mock: MockLLM) -> None:
    messages = [{"role": "user", "content": "Hi you"}]
    whole = json.loads(
        post(mock, "/v2/chat", {"model": "m", "messages": messages}, authorization="Bearer k")[2]
    )
    assert whole["message"]["content"] == [{"type": "text", "text": "You said: Hi you"}]
    stream = post(
        mock, "/v2/chat", {"model": "m", "messages": messages, "stream": True}, authorization="Bearer k"
    )[2]
    assert stream.startswith(b"event: message-start\n") and stream.endswith(b"data: [DONE]\n\n")
    lines = post(mock, "/api/chat", {"model": "m", "messages": messages})[2].splitlines()
    pieces = [json.loads(line) for line in lines]
    assert "".join(piece["message"]["content"] for piece in pieces) == "You said: Hi you"
    assert pieces[-1]["done"] is True and pieces[-1]["eval_count"] == 4
    assert json.loads(post(mock, "/generate", {"inputs": "Hi you"})[2]) == [
        {"generated_text": "You said: Hi you"}
    ]
    tgi = post(mock, "/generate_stream", {"inputs": "Hi you"})[2]
    assert tgi.startswith(b'data:{"index":1') and b'"generated_text":"You said: Hi you"' in tgi


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "bedrock", "cohere", "ollama"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_errors_on_demand(mock: MockLLM, provider: str, status: int) -> None:
    model = f"mock-status-{status}"
    requests: dict[str, tuple[str, Any]] = {
        "openai": ("/v1/chat/completions", {"model": model, "messages": []}),
        "anthropic": ("/v1/messages", {"model": model, "max_tokens": 1, "messages": []}),
        "gemini": (f"/v1beta/models/{model}:generateContent", gemini("x")),
        "bedrock": (f"/model/{model}/converse", {"messages": []}),
        "cohere": ("/v2/chat", {"model": model, "messages": []}),
        "ollama": ("/api/chat", {"model": model, "messages": []}),
    }
    path, body = requests[provider]
    keys = {"authorization": "Bearer k", "x_api_key": "k", "x_goog_api_key": "k", "anthropic_version": "1"}
    answered, headers, data = post(mock, path, body, **keys)
    assert answered == status
    assert headers["content-type"] == "application/json"
    assert "mock error" in json.dumps(json.loads(data))


# -- the brain
# -----------------------------------------------------------------------------------------------


def test_pieces_are_the_text() -> None:
    for text in ("", "a", " a  b\nc ", "  "):
        assert "".join(split_words(text)) == text


def test_it_depends_on_what_was_asked() -> None:
    tools = [Tool("get_weather", {}), Tool("send_mail", {})]
    assert not think(Ask(last_user="hello", tools=tools)).calls
    assert [c.name for c in think(Ask(last_user="weather and mail", tools=tools)).calls] == [
        "get_weather",
        "send_mail",
    ]
    assert think(Ask(last_user="x", tools=tools, tool_choice="required")).calls[0].name == "get_weather"
    assert think(Ask(last_user="x", tools=tools, tool_choice="send_mail")).calls[0].name == "send_mail"
    assert not think(Ask(last_user="weather", tools=tools, tool_choice="none")).calls
    assert think(Ask(tools=tools, tool_results=["sunny"])).text == "The tools said: sunny"
    cut = think(Ask(last_user="one two three", max_tokens=3))
    assert (cut.text, cut.finish, cut.completion_tokens) == ("You said: one", "length", 3)
    assert think(Ask(model="mock-words-3")).text == "word0 word1 word2"


@pytest.mark.parametrize(
    ("response", "score"), [("You said: one two", "100"), ("two three", "50"), ("word0", "1"), (None, "1")]
)
def test_the_judge_scores_what_it_is_asked_about(response: str | None, score: str) -> None:
    judge = Judge.model_validate({"llm": {"route_type": "llm/v1/chat", "model": {"provider": "openai"}}})
    asked = question(judge, Asked([{"role": "user", "content": "one two"}], []), Said(str(response)))
    reply = think(Ask(model="mock-judge", last_user=asked["messages"][-1]["content"]))
    assert reply.text == score and score_in(reply.text) == float(score)


@pytest.mark.parametrize("said", ["Hello", "7", "{}", '{"request": [], "response": ""}', '{"request": [7]}'])
def test_the_judge_knows_where_there_is_nothing_to_judge(said: str) -> None:
    assert score_in(think(Ask(model="mock-judge", last_user=said)).text) is None


def test_knobs() -> None:
    knobs = Knobs.of("vendor/mock-delay-500+pace-20+hang-3")
    assert (knobs.delay, knobs.pace, knobs.hang, knobs.status) == (0.5, 0.02, 3, 200)
    assert Knobs.of("gpt-4o") == Knobs()


# -- the server
# ----------------------------------------------------------------------------------------------


def test_scripted_answers_come_first_and_in_order(mock: MockLLM) -> None:
    mock.answer(Answer.json(1))
    mock.answer(Answer.json(2), path="/v1/special")
    mock.answer(lambda received: Answer.json({"heard": received.json}))
    assert post(mock, "/v1/special/x", {})[2] == b"2"
    assert post(mock, "/any", {})[2] == b"1"
    assert json.loads(post(mock, "/any", {"a": 1})[2]) == {"heard": {"a": 1}}
    assert [r.path for r in mock.requests] == ["/v1/special/x", "/any", "/any"]
    mock.reset()
    assert mock.requests == []


def test_gate_holds_back_what_comes_after(mock: MockLLM) -> None:
    gate = Gate()
    mock.answer(Answer.stream([b"one", gate, b"two"]))
    with socket.create_connection((mock.host, mock.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        data = b""
        while b"one" not in data:
            data += sock.recv(1000)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1000)
        gate.open()
        sock.settimeout(5)
        assert b"two" in sock.recv(1000)
    assert mock.last.finished.wait(5)
    assert len(mock.last.sent_at) == 2


@pytest.mark.parametrize("steps", [[b"x", Hang()], [b"x", Pause(30)], [b"x", Gate(timeout=30)]])
def test_it_sees_at_once_when_its_peer_hangs_up(mock: MockLLM, steps: Any) -> None:
    mock.answer(Answer.stream(steps))
    with socket.create_connection((mock.host, mock.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        sock.recv(1000)
        assert not mock.last.closed.wait(0.1)
    left = time.monotonic()
    assert mock.last.closed.wait(1)
    assert mock.last.closed_at is not None and mock.last.closed_at - left < 0.2


@pytest.mark.parametrize(
    "answer", [Answer(before=[Reset()]), Answer(head_cut=10), Answer.stream([b"x", Drop()])]
)
def test_broken_answers(mock: MockLLM, answer: Answer) -> None:
    mock.answer(answer)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        post(mock, "/", {})


def test_stop_ends_what_runs() -> None:
    mock = MockLLM().start()
    mock.answer(Answer(before=[Hang()]))
    failed: list[Exception] = []

    def ask() -> None:
        try:
            post(mock, "/", {})
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    mock.wait_for(1)
    mock.stop()
    thread.join(5)
    assert failed and not thread.is_alive()


@pytest.mark.parametrize("pieces", [0, 1, 5])
def test_recordings_are_sent_byte_for_byte(mock: MockLLM, pieces: int) -> None:
    text = 'data: {"a": "é"}\r\n\r\ndata: [DONE]\n\n'
    recording = {
        "stream": "sse",
        "response": {
            "status": 206,
            "headers": {"x-kept": "1", "content-length": "5", "content-encoding": "gzip"},
            "body": text,
        },
    }
    mock.serve_recording(recording, pieces=pieces)
    status, headers, data = post(mock, "/", {})
    assert (status, headers["x-kept"], data) == (206, "1", text.encode())
    assert "content-encoding" not in headers
    steps = recorded_answer(recording, pieces).steps
    assert steps is not None and len(steps) == max(1, pieces)


def test_mock_that_runs_for_days_keeps_nothing_of_what_it_was_asked() -> None:
    with MockLLM(keep=False) as mock:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
        status, _, _ = post(mock, "/v1/chat/completions", body, authorization="Bearer mock")
        assert (status, mock.requests) == (200, [])
