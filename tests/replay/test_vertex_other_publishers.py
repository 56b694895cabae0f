"""Claude on Vertex through the gemini provider: recorded addresses and bodies."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from native_support import flat, make_call
from recordings_support import load_recording, recorded

from kong_ai_proxy.formats.over_chat import CompletionsOverChat
from kong_ai_proxy.providers import provider


def options(path: str) -> dict[str, Any]:
    """Vertex's options from a recorded path: /v1/projects/{p}/locations/{l}/publishers/…"""
    names = path.split("/")
    return {
        "gemini": {
            "project_id": names[names.index("projects") + 1],
            "location_id": names[names.index("locations") + 1],
        }
    }


@recorded("vertex/native-messages")
def test_recorded_claude(recording_id: str) -> None:
    recording = load_recording(recording_id)
    parts = urlsplit(recording["request"]["url"])
    model = parts.path.rpartition("/models/")[2].partition(":")[0]
    stream = "stream" in parts.path.rpartition(":")[2].lower()
    call = make_call("gemini", model, options=options(parts.path), stream=stream)
    gemini = provider("gemini")
    url = gemini.url(call)
    recorded_path = parts.path.replace("/v1beta1/", "/v1/")
    assert url.path.replace("%3C", "<").replace("%3E", ">") == recorded_path
    adapter = gemini.adapter(call)
    sent: Any = adapter.request({"model": model, "messages": [{"role": "user", "content": "Hi"}]}, call)
    assert sent["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in sent
    if recording["response"]["status"] == 200 and recording["stream"] is None:
        flat(adapter.response(recording["response"]["body"], call))
        completions = gemini.adapter(make_call("gemini", model, "completions", options=options(parts.path)))
        assert isinstance(completions, CompletionsOverChat)
        made = completions.response(recording["response"]["body"], call)
        assert made["object"] == "text_completion"
