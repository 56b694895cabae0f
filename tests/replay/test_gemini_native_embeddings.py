"""Recorded embeddings of Gemini and Vertex: requests in OpenAI's words and back, answers number by number."""

from __future__ import annotations

import re
from typing import Any

from native_support import check_embeddings, make_call, wire_bytes
from recordings_support import load_recording, recorded

from kong_ai_proxy.providers import provider

PLACE = {"gemini": {"project_id": "p", "location_id": "l", "api_endpoint": "h"}}


def to_openai(asked: dict[str, Any]) -> dict[str, Any]:
    if "instances" in asked:
        inputs = [one["content"] for one in asked["instances"]]
        task = asked["instances"][0].get("task_type")
        dimensions = asked.get("parameters", {}).get("outputDimensionality")
    else:
        first = asked["requests"][0]
        inputs = [one["content"]["parts"][0]["text"] for one in asked["requests"]]
        task = first.get("taskType")
        dimensions = first.get("outputDimensionality") or first.get("output_dimensionality")
    return {"input": inputs, "dimensions": dimensions, "task_type": task}


def camel(value: Any) -> Any:
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("_([a-z])", lambda match: match[1].upper(), key): camel(one) for key, one in value.items()}


@recorded("gemini/embeddings-native", "vertex/embeddings-native")
def test_recorded_embeddings(recording_id: str) -> None:
    recording = load_recording(recording_id)
    asked, response = recording["request"]["body"], recording["response"]
    options = PLACE if recording_id.startswith("vertex/") else {}
    model = recording["request"]["url"].rpartition("/models/")[2].partition(":")[0]
    call = make_call("gemini", model, "embeddings", options=options)
    adapter = provider("gemini").adapter(call)
    verb = recording["request"]["url"].partition("?")[0].rpartition(":")[2]
    assert provider("gemini").url(call).path.endswith(f"/models/{model}:{verb}")
    sent: Any = adapter.request(to_openai(asked), call)
    assert camel(sent) == camel(asked)
    assert not call.dropped
    if response["status"] != 200:
        error = adapter.error(response["status"], response["headers"], wire_bytes(recording), call)
        assert (error.status, error.message) == (response["status"], response["body"]["error"]["message"])
        assert error.code
        return
    body = response["body"]
    answer = adapter.response(body, call)
    check_embeddings(answer)
    if "predictions" in body:
        vectors = [one["embeddings"]["values"] for one in body["predictions"]]
        tokens = sum(one["embeddings"]["statistics"]["token_count"] for one in body["predictions"])
    else:
        vectors = [one["values"] for one in body["embeddings"]]
        tokens = body.get("usageMetadata", {}).get("promptTokenCount", 0)
    assert [one["embedding"] for one in answer["data"]] == vectors
    assert [one["index"] for one in answer["data"]] == list(range(len(vectors)))
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert answer["model"] == model
