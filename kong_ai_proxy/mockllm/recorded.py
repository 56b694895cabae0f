"""Recorded provider answers as mock answers."""

from __future__ import annotations

import base64

from ..core.json import Json, dumps
from .answers import Answer, Step

_NOT_REPLAYED = {"content-length", "content-encoding", "transfer-encoding", "connection"}


def recorded_answer(recording: Json, pieces: int = 0) -> Answer:
    """The recording's response, byte for byte; with `pieces`, or where it was a stream, sent chunked."""
    response = recording["response"]
    body = recorded_body(response)
    headers = {
        name: str(value)
        for name, value in (response.get("headers") or {}).items()
        if name not in _NOT_REPLAYED and "\n" not in str(value)
    }
    status = int(response["status"])
    if not pieces and not recording.get("stream"):
        return Answer(status, headers, body)
    size = max(1, -(-len(body) // max(1, pieces)))
    steps: list[Step] = [body[i : i + size] for i in range(0, len(body), size)]
    return Answer(status, headers, steps=steps)


def recorded_body(message: Json) -> bytes:
    """The bytes of a recorded request or response body (JSON values are written compactly)."""
    if message.get("body_b64"):
        return base64.b64decode(message["body_b64"])
    body = message.get("body")
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else dumps(body)
