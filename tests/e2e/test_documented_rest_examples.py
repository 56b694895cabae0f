"""Every documented example of AI Proxy for what is not chat, with all that the openai SDK does there: create,
stream, list, read, delete. (AI Proxy Advanced's are the same targets: test_advanced_examples.py.)

The configurations are Kong's own (../shared/kong/examples.md), variables filled in, statistics switched on;
every address leads to the mock (`redirected_server`).
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from config_examples import examples
from documented_support import filled
from gateway_support import Json
from http_support import MARK
from openai import OpenAI
from rest_gateway import RestGateway

EXAMPLES = {
    example.slug: copy.deepcopy(example.configs[0])
    for example in examples()
    if example.plugin == "kong-ai-proxy"
    and not str(example.configs[0].get("route_type", "")).startswith(
        ("llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings")
    )
    and "route_type" in example.configs[0]
}
pytestmark = [
    pytest.mark.skipif(not EXAMPLES, reason="no documented examples here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
HOSTS = {"openai": "api.openai.com", "azure": "acme.openai.azure.com", "xai": "api.x.ai"}
WAV = ("a.wav", b"RIFF" + bytes(2000))
PNG = ("a.png", b"\x89PNG")


def configs(mock: str) -> dict[str, Json]:
    """Plugin configurations by slug."""
    made = {}
    for slug, config in EXAMPLES.items():
        found = filled(config, "")
        found.setdefault("logging", {})["log_statistics"] = True
        if slug == "video-generation-openai":
            # Unknown to Kong's own schema; the client says so, in its request.
            found["model"]["options"] = {}
        made[slug] = found
    return made


@pytest.fixture(scope="module")
def running() -> Iterator[RestGateway]:
    program = str(Path(__file__).parent / "redirected_server.py")
    gateway = RestGateway(configs, (program,))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MOCK", f"{gateway.mock.host}:{gateway.mock.port}")
        environment.setenv("REDIS", "127.0.0.1:1")
        with gateway:
            yield gateway


def responses(sdk: OpenAI) -> int:
    made = sdk.responses.create(model="gpt-4", input="Hello")
    assert made.output_text == "You said: Hello"
    with sdk.responses.stream(model="gpt-4", input="Hello") as stream:
        assert stream.get_final_response().output_text == "You said: Hello"
    assert sdk.responses.retrieve(made.id).id == made.id
    assert [item.id for item in sdk.responses.input_items.list(made.id)]
    sdk.responses.delete(made.id)
    return 5


def assistants(sdk: OpenAI) -> int:
    beta = sdk.beta
    made = beta.assistants.create(model="gpt-4", name="a")
    assert [one.id for one in beta.assistants.list()] == [made.id]
    assert beta.assistants.retrieve(made.id).id == made.id
    thread = beta.threads.create()
    beta.threads.messages.create(thread.id, role="user", content="hi")
    assert [one.id for one in beta.threads.messages.list(thread.id)]
    run = beta.threads.runs.create(thread.id, assistant_id=made.id)
    assert beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == "completed"
    with beta.threads.runs.stream(thread_id=thread.id, assistant_id=made.id) as stream:
        stream.until_done()
    assert beta.assistants.delete(made.id).deleted
    return 10


def files(sdk: OpenAI) -> int:
    made = sdk.files.create(file=("b.jsonl", b'{"custom_id": "1"}\n' * 1000), purpose="batch")
    assert made.bytes == 19000
    assert [one.id for one in sdk.files.list()]
    assert sdk.files.retrieve(made.id).id == made.id
    assert len(sdk.files.content(made.id).read()) == 19000
    assert sdk.files.delete(made.id).deleted
    return 5


def batches(sdk: OpenAI) -> int:
    made = sdk.batches.create(
        input_file_id="file-30", endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert [one.id for one in sdk.batches.list()] == [made.id]
    assert sdk.batches.retrieve(made.id).status == "completed"
    assert sdk.batches.cancel(made.id).status == "cancelling"
    return 4


def speech(sdk: OpenAI) -> int:
    assert sdk.audio.speech.create(model="tts-1", voice="alloy", input="Hello").content
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hello" * 40
    ) as answer:
        assert sum(map(len, answer.iter_bytes())) == 200_000
    return 2


def transcription(sdk: OpenAI) -> int:
    assert sdk.audio.transcriptions.create(model="whisper-1", file=WAV).text
    stream = sdk.audio.transcriptions.create(model="whisper-1", file=WAV, stream=True)
    assert list(stream)[-1].type == "transcript.text.done"
    return 2


def translation(sdk: OpenAI) -> int:
    assert sdk.audio.translations.create(model="whisper-1", file=WAV).text
    return 1


def images(sdk: OpenAI) -> int:
    made = sdk.images.generate(prompt="a cat")
    assert made.data and made.data[0].b64_json
    return 1


def edits(sdk: OpenAI) -> int:
    made = sdk.images.edit(image=PNG, prompt="a cat")
    assert made.data and made.data[0].b64_json
    return 1


def videos(sdk: OpenAI) -> int:
    made = sdk.videos.create(model="sora-2", prompt="a cat", seconds="4", size="720x1280")
    assert [one.id for one in sdk.videos.list()] == [made.id]
    assert sdk.videos.retrieve(made.id).status == "completed"
    assert len(sdk.videos.download_content(made.id).read()) == 200_000
    assert sdk.videos.remix(made.id, prompt="a dog").id
    assert sdk.videos.edit(video=("a.mp4", b"ftyp"), prompt="a dog").id
    assert sdk.videos.delete(made.id).deleted
    return 7


USES: dict[str, Callable[[OpenAI], int]] = {
    "llm/v1/responses": responses,
    "llm/v1/assistants": assistants,
    "llm/v1/files": files,
    "llm/v1/batches": batches,
    "audio/v1/audio/speech": speech,
    "audio/v1/audio/transcriptions": transcription,
    "audio/v1/audio/translations": translation,
    "image/v1/images/generations": images,
    "image/v1/images/edits": edits,
    "video/v1/videos/generations": videos,
}
"""route_type → what is done there; gives the number of requests."""
METERED = frozenset(USES) - {"llm/v1/files", "llm/v1/batches"}


@pytest.mark.parametrize("slug", EXAMPLES or [""])
def test_example(running: RestGateway, slug: str) -> None:
    MARK["x-test"] = uuid.uuid4().hex
    running.mock.reset()
    config: dict[str, Any] = EXAMPLES[slug]
    try:
        requests = USES[config["route_type"]](running.client(slug))
    finally:
        running.close_clients()
    records = [record["ai"]["proxy"] for record in running.log.wait(requests)]
    assert len(running.mock.requests) == requests
    for record, received in zip(records, running.mock.requests, strict=True):
        (tried,) = record["tried_targets"]
        assert tried["host"] == HOSTS[config["model"]["provider"]]
        assert tried["upstream_uri"].partition("?")[0] == received.raw_path.partition("?")[0]
        assert tried["route_type"] == config["route_type"]
        assert received.headers["authorization"] == configs("")[slug]["auth"]["header_value"]
    used = records[0].get("usage")
    assert (used is not None) == (config["route_type"] in METERED - {"llm/v1/assistants"})


def test_no_example_is_left_out() -> None:
    assert {config["route_type"] for config in EXAMPLES.values()} == set(USES)
    assert len(EXAMPLES) == 13
