"""Recorded realtime sessions, held again through the relay: every message as it was, usage as it was told."""

from __future__ import annotations

import json
from typing import Any

from recordings_support import load_recording, recorded
from relay_support import eventually, relay_world
from websocket_support import Session, connect, realtime_instance, realtime_provider, realtime_target
from wsproto.events import CloseConnection

LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
PATHS = {"azure": "/openai/v1/realtime?model=m", "gemini": LIVE}


def told(messages: list[dict[str, Any]]) -> tuple[int, int]:
    """Input and output tokens, as the session's events say."""
    into = out = 0
    for message in messages:
        data = message["data"]
        if message["direction"] != "received":
            continue
        if data.get("type") == "response.done":
            usage = data["response"].get("usage") or data.get("usage") or {}
            into += usage.get("input_tokens", 0)
            out += usage.get("output_tokens", 0)
        elif "usageMetadata" in data:
            usage = data["usageMetadata"]
            into += usage.get("promptTokenCount", 0)
            out += usage.get("responseTokenCount", 0) + usage.get("thoughtsTokenCount", 0)
    return into, out


@recorded("openai/realtime/", "azure/realtime/", "xai/realtime/", "gemini/realtime/")
def test_session(recording_id: str) -> None:
    body = load_recording(recording_id)["response"]["body"]
    at = next((index for index, entry in enumerate(body) if entry["kind"] == "close"), len(body))
    messages, close = body[:at], body[at : at + 1]
    provider_name = recording_id.partition("/")[0]
    seen: list[str] = []

    def talk(session: Session) -> None:
        session.accept()
        for message in messages:
            text = json.dumps(message["data"])
            if message["direction"] == "received":
                session.text(text)
            else:
                seen.append(session.message())
        if close:
            session.send(CloseConnection(code=close[0]["code"], reason=close[0]["reason"]))
        event = session.event()
        if isinstance(event, CloseConnection) and not close:
            session.send(event.response())

    with realtime_provider(talk) as provider, relay_world(real=True) as world:
        target = realtime_target(f"ws://127.0.0.1:{provider.port}", provider_name)
        form = "gemini" if provider_name == "gemini" else "openai"
        world.instance = realtime_instance(target, llm_format=form)
        world.filter_installed = False
        client = connect(world, PATHS.get(provider_name, "/realtime?model=m"))
        assert client.status == 101
        for message in messages:
            text = json.dumps(message["data"])
            if message["direction"] == "sent":
                client.text(text)
            else:
                assert client.message() == text
        if close:
            assert client.closed() == (close[0]["code"], close[0]["reason"])
        else:
            client.send(CloseConnection(code=1000))
            client.closed()
        eventually(lambda: bool(world.logged))
        sent = [json.dumps(each["data"]) for each in messages if each["direction"] == "sent"]
        if provider_name == "gemini":
            # The setup names the model: it is written anew.
            assert json.loads(seen[0]) == json.loads(sent[0])
            seen[0] = sent[0]
        assert seen == sent
        usage = world.logged[0]["usage"]
        into, out = told(messages)
        assert (usage["input_tokens"], usage["output_tokens"]) == (into, out)
        assert usage["total_tokens"] == into + out
        models = [
            message["data"]["session"]["model"]
            for message in messages
            if message["data"].get("type") in ("session.created", "session.updated")
        ]
        if models:
            assert world.logged[0]["meta"]["response_model"] == models[-1]
