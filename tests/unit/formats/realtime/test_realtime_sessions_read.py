"""What sessions say about themselves, whatever they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.realtime import GeminiLive, OpenAIRealtime, with_model


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def call(provider: Any = "openai") -> Call:
    target = Target(model=Model(provider=provider, name="m"), route_type="realtime/v1/realtime")
    request = ClientRequest("GET", "/realtime", "model=m", {})
    return Call(target, target.model.options, "m", "realtime", request)


def done(**usage: Any) -> bytes:
    return json.dumps({"type": "response.done", "response": {"status": "completed", "usage": usage}}).encode()


def test_latency_is_the_time_of_the_responses() -> None:
    clock = Clock()
    session = OpenAIRealtime(call(), clock)
    clock.now = 100.0  # an idle user is not the provider's latency
    assert session.received(b'{"type":"response.created"}')
    clock.now += 0.2
    session.received(b'{"type":"response.output_audio.delta","delta":"x"}')
    clock.now += 0.3
    assert session.received(done(input_tokens=1, output_tokens=2, total_tokens=3))
    clock.now += 50
    session.received(b'{"type":"response.created"}')
    clock.now += 1
    session.received(done(input_tokens=1, output_tokens=2, total_tokens=3))
    session.settle()
    assert session.generated_ms == pytest.approx(1500)
    assert session.first_token_ms == pytest.approx(200)
    assert session.call.usage.source == "reported"
    assert session.call.usage.total == 6


def test_a_response_cut_off_makes_the_usage_partial() -> None:
    session = OpenAIRealtime(call())
    session.received(done(input_tokens=1, output_tokens=2))
    session.received(b'{"type":"response.created"}')
    session.settle()
    assert (session.call.usage.source, session.call.usage.total) == ("partial", 3)


def test_transcription_by_tokens_counts_and_by_duration_does_not() -> None:
    session = OpenAIRealtime(call())
    kind = "conversation.item.input_audio_transcription.completed"
    assert not session.received(
        json.dumps({"type": kind, "usage": {"type": "duration", "seconds": 3}}).encode()
    )
    usage = {"type": "tokens", "total_tokens": 9, "input_tokens": 7, "output_tokens": 2}
    assert session.received(json.dumps({"type": kind, "usage": usage}).encode())
    assert (session.call.usage.prompt_tokens, session.call.usage.total) == (7, 9)


def test_usage_beside_the_response_as_xai_has_it() -> None:
    session = OpenAIRealtime(call("xai"))
    event = {
        "type": "response.done",
        "response": {"usage": {}},
        "usage": {"input_tokens": 5, "output_tokens": 42},
    }
    assert session.received(json.dumps(event).encode())
    assert session.call.usage.total == 47


def test_gemini_turns_are_summed_and_thoughts_are_output() -> None:
    session = GeminiLive(call("gemini"))
    for prompt in (100, 150):
        session.received(b'{"serverContent":{"modelTurn":{"parts":[]}}}')
        # Within a turn a later count replaces an earlier one.
        session.received(b'{"usageMetadata":{"promptTokenCount":90,"responseTokenCount":1}}')
        usage = {"promptTokenCount": prompt, "responseTokenCount": 10, "thoughtsTokenCount": 5}
        usage["totalTokenCount"] = prompt + 10
        event = {"serverContent": {"turnComplete": True}, "usageMetadata": usage}
        assert session.received(json.dumps(event).encode())
    session.settle()
    got = session.call.usage
    assert (got.prompt_tokens, got.completion_tokens, got.total, got.reasoning_tokens) == (250, 30, 280, 10)
    assert got.source == "reported"


def test_gemini_usage_of_a_turn_that_was_cut_off() -> None:
    session = GeminiLive(call("gemini"))
    session.received(b'{"serverContent":{"modelTurn":{}},"usageMetadata":{"promptTokenCount":9}}')
    session.settle()
    assert (session.call.usage.prompt_tokens, session.call.usage.source) == (9, "partial")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "response", "usage", "session", "model", "status", "serverContent", "usageMetadata",
             "turnComplete", "promptTokenCount", "input_tokens", "input_token_details", "promptTokensDetails"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
kinds = st.sampled_from(["response.done", "response.created", "session.created", "response.x.delta"])


@given(anything, kinds)
def test_odd_messages_never_raise(value: Any, kind: str) -> None:
    for session in (OpenAIRealtime(call()), GeminiLive(call("gemini"))):
        session.received(json.dumps(value).encode())
        if isinstance(value, dict):
            session.received(json.dumps({**value, "type": kind}).encode())
        session.settle()


@pytest.mark.parametrize("message", [b"", b"\xff", b"[" * 100_000, b"7", b'{"type":7}'])
def test_what_is_no_event_is_passed_over(message: bytes) -> None:
    assert not OpenAIRealtime(call()).received(message)
    assert not GeminiLive(call()).received(message)


NAMES = frozenset({"live", "mine"})


@pytest.mark.parametrize("named", ["live", "models/live", "mine", None])
def test_setup_gets_the_targets_model(named: str | None) -> None:
    setup: dict[str, Any] = {"generationConfig": {"responseModalities": ["AUDIO"]}}
    if named is not None:
        setup["model"] = named
    changed, _ = with_model(json.dumps({"setup": setup}).encode(), NAMES, "live")
    assert json.loads(changed) == {"setup": {**setup, "model": "models/live"}}


@pytest.mark.parametrize(
    "message",
    [b"x", b"[]", b"{}", b'{"setup":7}', b'{"setup":{"model":7}}', b'{"setup":{"model":"models/other"}}',
     b'{"setup":{"model":"publishers/x/models/live"}}'],
)  # fmt: skip
def test_what_is_no_setup_for_this_target(message: bytes) -> None:
    with pytest.raises(BadRequest):
        with_model(message, NAMES, "live")


def test_of_two_models_none_slips_through() -> None:
    changed, _ = with_model(b'{"setup":{"model":"models/other","model":"models/live"}}', NAMES, "live")
    assert changed.count(b'model"') == 1


def test_without_a_configured_model_the_clients_passes() -> None:
    for named, wanted in (
        ("models/any", "models/any"),
        ("any", "models/any"),
        ("tunedModels/any", "tunedModels/any"),
        ("projects/p/locations/l/publishers/google/models/any", "models/any"),
    ):
        message = json.dumps({"setup": {"model": named}}).encode()
        changed, asked = with_model(message, frozenset(), "")
        assert json.loads(changed) == {"setup": {"model": wanted}}
        assert asked == wanted.removeprefix("models/")
    with pytest.raises(BadRequest):
        with_model(b'{"setup":{}}', frozenset(), "")


PLACE = "projects/ours/locations/here/publishers/google/models/"


@pytest.mark.parametrize(
    "named",
    [
        "live",
        "models/live",
        "google/live",
        "publishers/google/models/live",
        "projects/theirs/locations/there/publishers/google/models/live",
    ],
)
@pytest.mark.parametrize("configured", ["", "live", "google/live"])
def test_on_vertex_the_project_is_the_configured_one(named: str, configured: str) -> None:
    message = json.dumps({"setup": {"model": named}}).encode()
    changed, asked = with_model(message, NAMES, configured, PLACE)
    assert json.loads(changed) == {"setup": {"model": PLACE + "live"}}
    assert asked == "live"


@pytest.mark.parametrize("named", ["projects/theirs/locations/l/endpoints/7", "publishers/x/models/live", ""])
def test_no_model_of_anybody_elses_on_vertex(named: str) -> None:
    with pytest.raises(BadRequest):
        with_model(json.dumps({"setup": {"model": named}}).encode(), frozenset(), "", PLACE)
