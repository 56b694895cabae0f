"""Hugging Face's text generation (TGI): `inputs` in, `generated_text` out; and feature extraction.

Wire format: https://huggingface.co/docs/text-generation-inference/reference/api_reference and the
recordings `huggingface/native-inference*`. Events have no space after `data:` and there is no terminator.
"""

from __future__ import annotations

import re

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..brain import Ask, Knobs, Reply, split_words, think
from ..received import Received
from .openai import vector

PATH = re.compile(r"(^|/)models/(?P<model>[^:]+)$|^/generate(_stream)?$")
_FEATURES = "/pipeline/feature-extraction"
_FINISH = {"stop": "eos_token", "length": "length", "tool_calls": "eos_token"}


def error(status: int, message: str) -> Answer:
    """An error as TGI words it."""
    headers = {"retry-after": "2"} if status == 429 else None
    return Answer.json({"error": message, "error_type": "validation"}, status, headers)


def respond(received: Received) -> Answer:
    """The answer to a text generation request."""
    body = received.json
    found = PATH.search(received.path)
    model = str(body.get("model") or (found and found["model"]) or "")
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    if received.path.endswith(_FEATURES):
        # https://huggingface.co/docs/inference-providers/tasks/feature-extraction
        texts = [body["inputs"]] if isinstance(body.get("inputs"), str) else list(body.get("inputs") or [])
        return knobs.apply(Answer.json([vector(str(text), 8) for text in texts]))
    if not isinstance(body.get("inputs"), str):
        return error(422, "Input validation error: `inputs` must be a string")
    said = str(body["inputs"])
    parameters: Json = body.get("parameters") or {}
    most = parameters.get("max_new_tokens")
    reply = think(Ask(model=model, texts=[said], last_user=said, max_tokens=most))
    if body.get("stream") or received.path.endswith("/generate_stream"):
        return knobs.apply(Answer.stream(_events(reply), "text/event-stream"))
    whole: Json = {"generated_text": reply.text}
    if parameters.get("details"):
        whole["details"] = {**_details(reply), "prefill": [{"id": i} for i in range(reply.prompt_tokens)]}
    return knobs.apply(Answer.json([whole]))


def _details(reply: Reply) -> Json:
    return {
        "finish_reason": _FINISH[reply.finish],
        "generated_tokens": len(split_words(reply.text)),
        "seed": None,
    }


def _events(reply: Reply) -> list[Step]:
    pieces = reply.pieces
    steps: list[Step] = []
    for index, piece in enumerate(pieces):
        last = index == len(pieces) - 1
        value = {
            "index": index + 1,
            "token": {"id": index, "text": piece, "logprob": -0.5, "special": False},
            "generated_text": reply.text if last else None,
            "details": {**_details(reply), "input_length": reply.prompt_tokens} if last else None,
        }
        steps.append(b"data:%b\n\n" % dumps(value))
    return steps
