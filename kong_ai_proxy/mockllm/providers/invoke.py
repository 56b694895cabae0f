"""Bedrock's InvokeModel: Claude's Messages, embeddings of Titan and Cohere, images.

Wire format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
(each event base64 in a `chunk` frame), https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html,
and the recordings `bedrock/invoke*` and `bedrock/embeddings-invoke`.
"""

from __future__ import annotations

import base64
import re

from ...core.json import Json
from ..answers import Answer, Step
from ..brain import Knobs
from ..received import Received
from . import anthropic, images
from .bedrock import error, event
from .openai import vector

PATH = re.compile(r"^/model/(?P<model>.+)/(?P<verb>invoke|invoke-with-response-stream)$")
_VERSIONS = ("bedrock-2023-05-31", "2026-10-21")
"""https://platform.claude.com/docs/en/api/versioning"""


def respond(received: Received) -> Answer:
    """The answer to `POST /model/{id}/invoke[-with-response-stream]`."""
    found = PATH.match(received.path)
    if found is None:
        return error(404, "UnknownOperationException")
    if not received.headers.get("authorization", "").startswith(("AWS4-HMAC-SHA256 ", "Bearer ")):
        return error(403, "Missing Authentication Token")
    body, model = received.json, found["model"]
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    if "embed" in model:
        return knobs.apply(_embeddings(body))
    picture = images.invoke(body, model)
    if picture is not None:
        return knobs.apply(picture)
    if body.get("anthropic_version") not in _VERSIONS or {"model", "stream"} & body.keys():
        return error(400, "Malformed input request, please reformat your input and try again.")
    stream = found["verb"] != "invoke"
    answer = anthropic.messages({**body, "stream": stream}, model)
    if not stream:
        return knobs.apply(answer)
    steps: list[Step] = [_chunk(step) if isinstance(step, bytes) else step for step in answer.steps or []]
    return knobs.apply(Answer.stream(steps, "application/vnd.amazon.eventstream"))


def _chunk(sse: bytes) -> bytes:
    data = sse.partition(b"data: ")[2].strip()
    return event("chunk", {"bytes": base64.b64encode(data).decode(), "p": "abc"})


def _embeddings(body: Json) -> Answer:
    if "texts" in body:
        vectors = [vector(str(text), int(body.get("output_dimension") or 8)) for text in body["texts"]]
        return Answer.json(
            {"embeddings": vectors, "response_type": "embeddings_floats", "texts": body["texts"]}
        )
    if "inputText" not in body:
        return error(400, "Malformed input request: required key [inputText] not found")
    text = str(body["inputText"])
    made = {"embedding": vector(text, int(body.get("dimensions") or 8))}
    return Answer.json({**made, "inputTextTokenCount": len(text.split())}, headers={
        "x-amzn-bedrock-input-token-count": str(len(text.split()))
    })  # fmt: skip
