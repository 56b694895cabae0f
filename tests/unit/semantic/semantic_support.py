"""Embeddings that can be foretold: a vector counts the words of a small vocabulary."""

from __future__ import annotations

import json
from typing import Any

from kong_ai_proxy.config.models import AdvancedConfig
from kong_ai_proxy.config.parse import parse
from kong_ai_proxy.core.http import UpstreamRequest
from kong_ai_proxy.exchange.instance import Timeouts

WORDS = ("code", "python", "poem", "verse", "weather", "rain")


class FakeAnswer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.closed = False
        self._body = body

    def read_all(self, limit: int) -> bytes:
        assert len(self._body) <= limit
        return self._body

    def close(self) -> None:
        self.closed = True


class Provider:
    """An embeddings provider in OpenAI's form."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.requests: list[UpstreamRequest] = []
        self.status = 200

    def send(self, request: UpstreamRequest, timeouts: Timeouts) -> Any:
        self.requests.append(request)
        if self.status != 200:
            return FakeAnswer(self.status, b'{"error":{"message":"no"}}')
        texts = json.loads(request.body)["input"]
        self.asked.append(texts)
        data = [{"object": "embedding", "index": i, "embedding": vector(t)} for i, t in enumerate(texts)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        body = {"object": "list", "data": data, "model": "e", "usage": usage}
        return FakeAnswer(200, json.dumps(body).encode())


def vector(text: str) -> list[float]:
    lower = text.lower()
    return [float(lower.count(word)) + 0.01 for word in WORDS]


def config(descriptions: list[str], *, weights: list[int] | None = None, **more: Any) -> AdvancedConfig:
    weights = weights or [100] * len(descriptions)
    parsed = parse(
        "kong-ai-proxy-advanced",
        {
            "targets": [
                {
                    "route_type": "llm/v1/chat",
                    "model": {"provider": "openai", "name": f"m{index}"},
                    "description": description,
                    "weight": weight,
                }
                for index, (description, weight) in enumerate(zip(descriptions, weights, strict=True))
            ],
            "balancer": {"algorithm": "semantic"},
            "embeddings": {
                "auth": {"header_name": "Authorization", "header_value": "Bearer planted"},
                "model": {"provider": "openai", "name": "text-embedding-3-small"},
            },
            **more,
        },
    )
    assert isinstance(parsed, AdvancedConfig)
    return parsed
