"""Files and batches by translation without a network: what a client asks, what the provider is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import first_attempt, proxy

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, ClientResponse, UpstreamRequest

FILES, BATCHES = "llm/v1/files", "llm/v1/batches"
Json = dict[str, Any]


def line(custom_id: str, said: str = "hi", **body: Any) -> Json:
    messages = [{"role": "user", "content": said}]
    return {
        "custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions",
        "body": {"messages": messages, **body},
    }  # fmt: skip


def upload(*lines: Any, purpose: str = "batch", filename: str = "requests.jsonl") -> ClientRequest:
    """POST /files with these lines; bytes as they are."""
    data = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    body = (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + purpose.encode()
        + b'\r\n--B\r\nContent-Disposition: form-data; name="file"; filename="' + filename.encode()
        + b'"\r\nContent-Type: application/octet-stream\r\n\r\n' + data + b"\r\n--B--\r\n"
    )  # fmt: skip
    return ClientRequest("POST", "/files", "", {"content-type": "multipart/form-data; boundary=B"}, body)


def request(method: str, path: str, body: Any = None, query: str = "") -> ClientRequest:
    data = b"" if body is None else json.dumps(body).encode()
    return ClientRequest(method, path, query, {"content-type": "application/json"} if data else {}, data)


class Asked:
    """One request of a client's, with the steps it takes."""

    def __init__(self, instance: Any, asked: ClientRequest) -> None:
        self.exchange, self.attempt = first_attempt(instance, asked)
        self.sent: list[UpstreamRequest] = [self.attempt.translation.request()]
        self.attempt.connected("192.0.2.1", 0.001)

    @property
    def last(self) -> UpstreamRequest:
        return self.sent[-1]

    @property
    def body(self) -> Any:
        """The last step's, parsed."""
        return json.loads(self.last.body)

    def reply(self, body: Any = b"", status: int = 200, **headers: str) -> ClientResponse | None:
        """The provider's answer to the last step; None: another step follows."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        assert not self.attempt.rejected(status, given)
        further = self.attempt.translation.further(status, given, data)
        if further is not None:
            self.sent.append(further.request)
            return None
        response = self.attempt.translation.response(status, given, data)
        self.attempt.ended()
        return response

    def told(self, body: Any = b"", status: int = 200, **headers: str) -> Json:
        """The client's answer, parsed."""
        response = self.reply(body, status, **headers)
        assert response is not None
        found: Json = json.loads(response.body)
        assert response.status == 200, found
        return found

    def read(self, data: bytes, piece: int = 1000) -> list[Json]:
        """A streamed answer's lines."""
        running = self.attempt.translation.stream(200, {"content-type": "application/octet-stream"})
        assert running is not None and running.content_type == "application/jsonl"
        out = b"".join(running.feed(data[at : at + piece]) for at in range(0, len(data), piece))
        out += running.finish()
        assert running.failed is None
        self.attempt.ended()
        return [json.loads(each) for each in out.splitlines()]

    @property
    def record(self) -> Json:
        record = self.exchange.record()
        assert record is not None
        return record


def instance(provider: str, route_type: str, name: str | None = "m", **changes: Any) -> Any:
    return proxy(provider, name, route_type=route_type, max_request_body_size=0, **changes)


def refused(instance: Any, asked: ClientRequest) -> ApiError:
    with pytest.raises(ApiError) as caught:
        Asked(instance, asked)
    return caught.value


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)
