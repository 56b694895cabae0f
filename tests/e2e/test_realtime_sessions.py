"""Realtime sessions through the gateway: the OpenAI SDK and a Live client, mock providers, Kong's log."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.oauth2.credentials
import pytest
import websockets.asyncio.client
import yaml
from gateway_support import kinds
from openai import OpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kong_ai_proxy.devgateway.embedded import (
    EmbeddedGateway,
    LogFile,
    PluginServer,
    free_port,
    usage_filter_plugin,
)
from kong_ai_proxy.mockllm import MockLLM
from kong_ai_proxy.server.usage_filter import deposit_snippet

# The SDK calls websockets in a way that websockets 17.1 deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning")

Json = dict[str, Any]
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
LIVE_ON_VERTEX = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"


class Realtime:
    """A gateway with realtime routes, its plugin server, mock and log."""

    def __init__(self, kind: str) -> None:
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-rt"))
        self.log = LogFile(self.prefix / "records.jsonl")
        self.unread: list[Json] = []
        self.mock = MockLLM()
        relay = f"127.0.0.1:{free_port()}"
        self.kong: Any = None
        if kind == "kong":
            from real_kong import Kong

            (self.prefix / "kong").mkdir()
            self.kong = Kong(
                self.prefix / "kong", self.prefix, workers=2, plugins=",post-function,ip-restriction"
            )
        self.port = self.kong.port if self.kong else free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._output = (self.prefix / "plugin-server.log").open("w")
        deposit = f"http://127.0.0.1:{self.port}/kong-ai-usage"
        self.server = PluginServer(
            self.prefix, relay, output=self._output, arguments=("--deposit-url", deposit)
        )
        self._declared = self._document(relay)
        self._embedded: Any = None if self.kong else EmbeddedGateway(self._declared, self.prefix)

    def _document(self, relay: str) -> Json:
        service = {"name": "ai", "url": f"http://{relay}", "retries": 0}
        mock = self.mock.url.replace("http:", "ws:")
        azure = {"azure_instance": "e2e", "azure_deployment_id": "rt"}
        preview = f"{mock}/openai/realtime?api-version=2025-04-01-preview"
        routes = [
            _route("openai", _config("openai", mock, "Authorization", "Bearer secret-openai")),
            _route("named", _config("openai", mock, "Authorization", "Bearer secret-openai", name="rt-1")),
            _route("azure-preview", _config("azure", preview, "api-key", "secret-azure", **azure)),
            _route("azure-ga", _config("azure", mock, "api-key", "secret-azure", **azure)),
            _route(
                "gemini",
                {
                    **_config("gemini", mock, "x-goog-api-key", "secret-gemini", name="live-1"),
                    "llm_format": "gemini",
                },
            ),
        ]
        vertex = {**routes[-1]["plugins"][0]["config"]["targets"][0]}
        vertex["auth"] = {"header_name": "Authorization", "header_value": "Bearer secret-google"}
        region = {"api_endpoint": "eu-aiplatform.googleapis.com", "project_id": "ours", "location_id": "eu"}
        options = {**vertex["model"]["options"], "gemini": region}
        vertex["model"] = {**vertex["model"], "options": options}
        routes.append(_route("vertex", {"targets": [vertex], "llm_format": "gemini"}))
        deposit = yaml.safe_load(deposit_snippet())["services"][0]
        if not self.kong:  # the development gateway has no ip-restriction
            deposit["plugins"] = [each for each in deposit["plugins"] if each["name"] == "post-function"]
        return {
            "_format_version": "3.0",
            "services": [
                {**service, "routes": routes, "plugins": [usage_filter_plugin()]},
                {**service, "name": "bare", "routes": [_route("bare", routes[0]["plugins"][0]["config"])]},
                deposit,
            ],
            "plugins": [{"name": "file-log", "config": {"path": str(self.log.path)}}],
        }

    def start(self) -> None:
        self.mock.start()
        self.server.start()
        if self.kong:
            self.kong.start(self._declared)
        else:
            self._embedded.start(port=self.port)

    def stop(self) -> None:
        (self.kong or self._embedded).stop()
        self.server.stop()
        self.mock.stop()
        self._output.close()
        shutil.rmtree(self.prefix, ignore_errors=True)

    def said(self) -> str:
        """What the plugin server logged."""
        return (self.prefix / "plugin-server.log").read_text()

    def sdk(self, route: str) -> OpenAI:
        return OpenAI(base_url=f"{self.address}/{route}", api_key="client-key", max_retries=0)

    def url(self, path: str) -> str:
        return self.address.replace("http:", "ws:") + path

    def session_record(self) -> Json:
        """The record of the next 101."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            # The deposits are requests too, and logged as such.
            self.unread += [each for each in self.log.records() if each["response"]["status"] == 101]
            if self.unread:
                return self.unread.pop(0)
            time.sleep(0.005)
        raise TimeoutError("no record of a session")


def _config(
    provider: str, url: str, header: str, value: str, name: str | None = None, **options: Any
) -> Json:
    options = {"upstream_url": url, "input_cost": 1.0, "output_cost": 10.0, **options}
    model: Json = {"provider": provider, "options": options}
    if name:
        model["name"] = name
    target = {
        "route_type": "realtime/v1/realtime",
        "auth": {"header_name": header, "header_value": value},
        "logging": {"log_statistics": True},
        "model": model,
    }
    return {"targets": [target], "genai_category": "realtime/generation"}


def _route(name: str, config: Json) -> Json:
    plugin = {"name": "kong-ai-proxy-advanced", "config": config}
    return {"name": name, "paths": [f"/{name}"], "plugins": [plugin]}


@pytest.fixture(scope="module", params=kinds())
def running(request: pytest.FixtureRequest) -> Iterator[Realtime]:
    realtime = Realtime(request.param)
    try:
        realtime.start()
        yield realtime
    finally:
        realtime.stop()


@pytest.fixture
def world(running: Realtime) -> Realtime:
    running.mock.reset()
    running.log.records()
    running.unread.clear()
    return running


def until(connection: Any, kind: str) -> list[Any]:
    """Events up to the one of this type."""
    events = []
    for event in connection:
        assert event.type != "error", event
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError(f"the session ended before {kind}")


def user(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


TOOL: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


def test_openai_sdk_holds_a_session(world: Realtime) -> None:
    usages: list[Any] = []
    with (
        world.sdk("openai") as client,
        client.realtime.connect(
            model="rt-9", extra_headers={"OpenAI-Beta": "realtime=v1", "cookie": "c=1"}
        ) as connection,
    ):
        until(connection, "session.created")
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        until(connection, "session.updated")
        # Text.
        connection.conversation.item.create(item=user("hello out there"))
        connection.response.create()
        events = until(connection, "response.done")
        text = " ".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == "You said: hello out there"
        usages.append(events[-1].response.usage)
        # Sound, in frames.
        connection.session.update(
            session={
                "type": "realtime",
                "output_modalities": ["audio"],
                "audio": {"input": {"transcription": {"model": "whisper-1"}}},
            }
        )
        until(connection, "session.updated")
        for _ in range(10):
            connection.input_audio_buffer.append(audio=base64.b64encode(b"\x01\x02" * 1200).decode())
        connection.input_audio_buffer.commit()
        transcribed = until(connection, "conversation.item.input_audio_transcription.completed")[-1]
        connection.response.create()
        events = until(connection, "response.done")
        sound = b"".join(
            base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta"
        )
        assert len(sound) == 800
        usages.append(events[-1].response.usage)
        # A function.
        connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "tools": [TOOL]}
        )
        connection.conversation.item.create(item=user("weather in Oslo"))
        connection.response.create()
        events = until(connection, "response.done")
        call = events[-1].response.output[0]
        assert (call.type, call.name) == ("function_call", "get_weather")
        assert json.loads(call.arguments) == {"query": "weather in Oslo"}
        usages.append(events[-1].response.usage)
        connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "cold and dry"}
        )
        connection.response.create()
        events = until(connection, "response.done")
        assert events[-1].response.output[0].content[0].text == "It says: cold and dry"
        usages.append(events[-1].response.usage)
    request = world.mock.last
    assert request.raw_path == "/v1/realtime?model=rt-9"
    assert request.headers["authorization"] == "Bearer secret-openai"
    assert request.headers["openai-beta"] == "realtime=v1"
    assert "cookie" not in request.headers
    record = world.session_record()
    proxy = record["ai"]["proxy"]
    spoken = transcribed.usage
    usage = proxy["usage"]
    assert usage["input_tokens"] == sum(each.input_tokens for each in usages) + spoken.input_tokens
    assert usage["output_tokens"] == sum(each.output_tokens for each in usages) + spoken.output_tokens
    assert usage["total_tokens"] == sum(each.total_tokens for each in usages) + spoken.total_tokens
    details = usage["input_tokens_details"]
    cached = sum(each.input_token_details.cached_tokens for each in usages)
    audio = sum(each.input_token_details.audio_tokens for each in usages)
    assert details["cached_tokens"] == cached
    assert details["audio_tokens"] == audio + spoken.input_token_details.audio_tokens
    assert usage["cost"] == pytest.approx((usage["input_tokens"] + 10 * usage["output_tokens"]) / 1e6)
    assert "source" not in usage
    meta = proxy["meta"]
    assert (meta["request_mode"], meta["provider_name"]) == ("realtime", "openai")
    assert (meta["request_model"], meta["response_model"]) == ("rt-9", "rt-9")
    assert meta["llm_latency"] >= 0
    assert proxy["tried_targets"][0]["upstream_uri"] == "/v1/realtime?model=rt-9"
    assert "secret-openai" not in json.dumps(record) + world.said()


def test_without_the_filter_the_plugin_server_logs(world: Realtime) -> None:
    with world.sdk("bare") as client, client.realtime.connect(model="rt-bare") as connection:
        connection.conversation.item.create(item=user("one two"))
        connection.response.create()
        done = until(connection, "response.done")[-1]
    record = world.session_record()
    assert "ai" not in record
    lines = [json.loads(line) for line in world.said().splitlines() if '"rt-bare"' in line]
    assert len(lines) == 1
    assert lines[0]["ai"]["proxy"]["usage"]["total_tokens"] == done.response.usage.total_tokens


def test_client_that_just_goes_is_in_the_log(world: Realtime) -> None:
    connection = connect(world.url("/openai/realtime?model=rt-gone"), compression=None)
    connection.send(json.dumps({"type": "conversation.item.create", "item": user("one two three")}))
    connection.send('{"type": "response.create"}')
    while (event := json.loads(connection.recv(5)))["type"] != "response.done":
        pass
    time.sleep(0.1)
    # Closing alone would say nothing to the other side while the client's thread still reads.
    connection.socket.shutdown(socket.SHUT_RDWR)
    connection.socket.close()
    proxy = world.session_record()["ai"]["proxy"]
    assert proxy["usage"]["total_tokens"] == event["response"]["usage"]["total_tokens"]
    assert world.mock.last.finished.wait(1)
    assert '"rt-gone"' not in world.said()


def test_azure_preview_and_ga(world: Realtime) -> None:
    for route, path in (
        ("azure-preview", "/openai/realtime?api-version=2025-04-01-preview&deployment=rt"),
        ("azure-ga", "/openai/v1/realtime?model=rt"),
    ):
        with connect(world.url(f"/{route}/openai/realtime?model=rt"), compression=None) as connection:
            assert json.loads(connection.recv(5))["session"]["model"] == "rt"
        assert world.mock.last.raw_path == path
        assert world.mock.last.headers["api-key"] == "secret-azure"
        proxy = world.session_record()["ai"]["proxy"]
        assert proxy["meta"]["azure_deployment_id"] == "rt"
        assert proxy["usage"]["total_tokens"] == 0


@pytest.mark.parametrize("model", ["models/live-1", "live-1", None])
def test_gemini_live(world: Realtime, model: str | None) -> None:
    with connect(world.url(f"/gemini{LIVE}?key=client"), compression=None) as connection:
        connection.send(json.dumps({"setup": {"model": model} if model else {}}))
        assert json.loads(connection.recv(5)) == {"setupComplete": {}}
        totals = 0
        for text in ("one two", "three"):
            turns = [{"role": "user", "parts": [{"text": text}]}]
            connection.send(json.dumps({"clientContent": {"turns": turns, "turnComplete": True}}))
            while "usageMetadata" not in (message := json.loads(connection.recv(5))):
                pass
            totals += message["usageMetadata"]["totalTokenCount"] + 2
    assert world.mock.last.path == LIVE
    assert "key=" not in world.mock.last.raw_path
    assert world.mock.last.headers["x-goog-api-key"] == "secret-gemini"
    usage = world.session_record()["ai"]["proxy"]["usage"]
    assert usage["total_tokens"] == totals
    assert usage["output_tokens_reasoning_tokens_count"] == 4


@pytest.mark.parametrize("vertex", [False, True])
def test_google_sdk_holds_a_live_session(
    world: Realtime, vertex: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, sound, a turn of speech each, by either API's client; on Vertex the project is the gateway's."""
    from google import genai
    from google.genai import types

    where: Json = {"api_key": "client-key"}
    if vertex:
        credentials = google.oauth2.credentials.Credentials("client-token")  # type: ignore[no-untyped-call]
        where = {"vertexai": True, "project": "theirs", "location": "us", "credentials": credentials}
    route = "vertex" if vertex else "gemini"
    client = genai.Client(**where, http_options=types.HttpOptions(base_url=f"{world.address}/{route}"))

    def without_tls(uri: str, ssl: Any, **options: Any) -> Any:
        """The SDK speaks TLS, always; this gateway does not."""
        return websockets.asyncio.client.connect(uri.replace("wss:", "ws:"), **options)

    monkeypatch.setattr("google.genai.live.ws_connect", without_tls)

    async def talk() -> list[Any]:
        usages = []
        config = types.LiveConnectConfig(response_modalities=[types.Modality.AUDIO])
        async with client.aio.live.connect(model="live-1", config=config) as session:
            for text in ("one two", "three"):
                turn = types.Content(role="user", parts=[types.Part(text=text)])
                await session.send_client_content(turns=turn, turn_complete=True)
                async for message in session.receive():
                    if message.usage_metadata is not None:
                        usages.append(message.usage_metadata)
        return usages

    usages = asyncio.run(talk())
    assert len(usages) == 2
    request = world.mock.last
    # The SDK has its own idea of the public API's version.
    assert request.path in ((LIVE_ON_VERTEX,) if vertex else (LIVE, LIVE.replace("v1beta", "v1")))
    if vertex:
        assert request.headers["authorization"] == "Bearer secret-google"
    else:
        assert request.headers["x-goog-api-key"] == "secret-gemini"
    place = "projects/ours/locations/eu/publishers/google/models/" if vertex else "models/"
    assert request.json["setup"]["model"] == place + "live-1"
    record = world.session_record()["ai"]["proxy"]
    assert record["usage"]["prompt_tokens"] == sum(each.prompt_token_count for each in usages)
    assert record["usage"]["output_tokens_reasoning_tokens_count"] == 4
    assert record["tried_targets"][0]["upstream_uri"] == request.path


def test_gemini_refuses_another_model(world: Realtime) -> None:
    with connect(world.url(f"/gemini{LIVE}"), compression=None) as connection:
        connection.send('{"setup": {"model": "models/other"}}')
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(5)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
        1008,
        "cannot use own model - must be: live-1",
    )


@pytest.mark.parametrize("status", [401, 404, 429])
def test_refusals_have_their_status(world: Realtime, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(world.url(f"/openai/realtime?model=refuse-{status}"), compression=None)
    response = refused.value.response
    assert response.status_code == status
    assert json.loads(response.body or b"")["error"]["message"] == "as asked for"
    # Deposits of the sessions before may come first.
    records = (each for _ in range(5) for each in world.log.wait(1))
    record = next(each for each in records if each["response"]["status"] != 204)
    assert record["response"]["status"] == status
    assert record["ai"]["proxy"]["meta"]["request_mode"] == "realtime"


def test_browsers_key_is_in_no_log(world: Realtime) -> None:
    protocols: Any = ["realtime", "openai-insecure-api-key.browser-key"]
    with connect(
        world.url("/openai/realtime?model=rt"), compression=None, subprotocols=protocols
    ) as connection:
        assert connection.subprotocol == "realtime"
    record = world.session_record()
    assert record["request"]["headers"]["sec-websocket-protocol"] == "REDACTED"
    assert "browser-key" not in json.dumps(record) + world.said()
    assert world.mock.last.headers["sec-websocket-protocol"] == "realtime"


def test_model_rule_before_the_upgrade(world: Realtime) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(world.url("/named/realtime?model=other"), compression=None)
    assert refused.value.response.status_code == 400
    assert not world.mock.requests


def test_close_codes_cross_the_gateway(world: Realtime) -> None:
    with connect(world.url("/openai/realtime?model=rt"), compression=None) as connection:
        connection.recv(5)
        connection.close(4321, "enough")
    assert (connection.close_code, connection.close_reason) == (1000, "")  # the mock's answer
    assert world.mock.last.finished.wait(2)


def test_offered_compression_is_not_negotiated(world: Realtime) -> None:
    with connect(world.url("/openai/realtime?model=rt"), compression="deflate") as connection:
        assert json.loads(connection.recv(5))["type"] == "session.created"
        assert connection.protocol.extensions == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fifty_sessions_within_60_mb(world: Realtime) -> None:
    def resident() -> float:
        lines = Path(f"/proc/{world.server.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    sound = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(b"x" * 9600).decode()})
    before = resident()
    gate, peak = threading.Barrier(51), [0.0]
    totals: list[int] = []
    failures: list[BaseException] = []

    def hold() -> None:
        try:
            with connect(world.url("/openai/realtime?model=rt-50"), compression=None) as connection:
                for _ in range(5):
                    connection.send(sound)
                connection.send('{"type": "input_audio_buffer.commit"}')
                connection.send('{"type": "response.create"}')
                while (event := json.loads(connection.recv(20)))["type"] != "response.done":
                    pass
                totals.append(event["response"]["usage"]["total_tokens"])
                gate.wait(30)
                gate.wait(30)
        except BaseException as error:
            failures.append(error)
            gate.abort()

    threads = [threading.Thread(target=hold) for _ in range(50)]
    for thread in threads:
        thread.start()
    gate.wait(30)
    peak[0] = resident()
    gate.wait(30)
    for thread in threads:
        thread.join(20)
    assert not failures
    assert peak[0] - before < 60, f"{before:.0f} MB, then {peak[0]:.0f} MB"
    usages = [world.session_record()["ai"]["proxy"]["usage"] for _ in range(50)]
    assert [usage["total_tokens"] for usage in usages] == totals
    print(f"50 sessions: {peak[0] - before:.1f} MB above idle")
