"""Targets, fixtures and helpers of the golden tests.

`GOLDEN=update pytest tests/golden` writes the files anew; read the diff before you commit it.
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest
from kong_ai_proxy.exchange.exchange import Attempt, Exchange
from kong_ai_proxy.exchange.instance import PROXY, Instance
from kong_ai_proxy.exchange.tickets import Ticket

HERE = Path(__file__).resolve().parent
UPDATE = os.environ.get("GOLDEN") == "update"

VERTEX = {"api_endpoint": "us-east5-aiplatform.googleapis.com", "project_id": "p1", "location_id": "us-east5"}

TARGETS: dict[str, dict[str, Any]] = {
    "anthropic": {"provider": "anthropic", "name": "claude-sonnet-4-5"},
    "azure": {
        "provider": "azure",
        "name": "gpt-4o",
        "options": {
            "azure_instance": "acme",
            "azure_deployment_id": "gpt-4o",
            "azure_api_version": "2024-10-21",
        },
    },
    "bedrock": {
        "provider": "bedrock",
        "name": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "options": {"bedrock": {"aws_region": "us-east-1"}},
    },
    "bedrock-nova": {
        "provider": "bedrock",
        "name": "amazon.nova-pro-v1:0",
        "options": {"bedrock": {"aws_region": "us-east-1"}},
    },
    "cerebras": {"provider": "cerebras", "name": "gpt-oss-120b"},
    "cohere": {"provider": "cohere", "name": "command-a-03-2025"},
    "dashscope": {"provider": "dashscope", "name": "qwen-plus"},
    "databricks": {
        "provider": "databricks",
        "name": "databricks-gpt-oss-20b",
        "options": {"databricks": {"workspace_instance_id": "dbc-1"}},
    },
    "deepseek": {"provider": "deepseek", "name": "deepseek-chat"},
    "gemini": {"provider": "gemini", "name": "gemini-2.5-flash"},
    "huggingface": {"provider": "huggingface", "name": "meta-llama/Llama-3.3-70B-Instruct"},
    "llama2-ollama": {
        "provider": "llama2",
        "name": "llama2",
        "options": {"llama2_format": "ollama", "upstream_url": "http://llama2.test:11434/api/chat"},
    },
    "llama2-openai": {
        "provider": "llama2",
        "name": "llama2",
        "options": {"llama2_format": "openai", "upstream_url": "http://llama2.test/v1/chat/completions"},
    },
    "llama2-raw": {
        "provider": "llama2",
        "name": "llama2",
        "options": {"llama2_format": "raw", "upstream_url": "http://llama2.test/generate"},
    },
    "mistral": {
        "provider": "mistral",
        "name": "mistral-large-latest",
        "options": {
            "mistral_format": "openai",
            "upstream_url": "https://api.mistral.ai/v1/chat/completions",
        },
    },
    "mistral-ollama": {
        "provider": "mistral",
        "name": "mistral",
        "options": {"mistral_format": "ollama", "upstream_url": "http://mistral.test:11434/api/chat"},
    },
    "ollama": {"provider": "ollama", "name": "qwen3", "options": {"upstream_url": "http://ollama.test:11434"}},
    "openai": {"provider": "openai", "name": "gpt-4o"},
    "openai-reasoning": {"provider": "openai", "name": "gpt-5-mini"},
    "vertex": {"provider": "gemini", "name": "gemini-2.5-pro", "options": {"gemini": VERTEX}},
    "vertex-claude": {
        "provider": "gemini",
        "name": "claude-sonnet-4-5@20250929",
        "options": {"gemini": VERTEX},
    },
    "vllm": {
        "provider": "vllm",
        "name": "llama-3-8b",
        "options": {"upstream_url": "http://vllm.test:8000/v1/chat/completions"},
    },
    "xai": {"provider": "xai", "name": "grok-4"},
}
"""All sixteen providers, and their variants that speak another format. Values of `config.model`."""


@dataclass
class Made:
    """What became of a request at a target: what would be sent, or why not."""

    attempt: Attempt
    upstream: UpstreamRequest | None
    error: ApiError | None

    @property
    def body(self) -> Any:
        assert self.upstream is not None
        return json.loads(self.upstream.body)

    @property
    def dropped(self) -> list[str]:
        return self.attempt.call.dropped


def make(
    target: str, body: dict[str, Any], llm_format: str = "openai", *, name: str | None = None
) -> Made:
    """Put a client's chat request through the exchange, up to what would be sent. `name`: another model."""
    config = {
        "route_type": "llm/v1/chat",
        "llm_format": llm_format,
        "model": TARGETS[target] if name is None else {**TARGETS[target], "name": name},
        "logging": {"log_statistics": True},
    }
    instance = Instance.from_config(PROXY, config)
    ticket = Ticket(instance=instance, filter_installed=True, buffered=False)
    request = ClientRequest(
        "POST", "/", "", {"content-type": "application/json"}, json.dumps(body).encode()
    )
    attempt = Exchange.open(ticket, request).next_attempt()
    assert attempt is not None
    # Answers without a time or id of their own get the same ones at every run.
    attempt.call.created = 1_700_000_000
    try:
        return Made(attempt, attempt.translation.request(), None)
    except ApiError as error:
        return Made(attempt, None, error)


def pretty(value: Any) -> str:
    """JSON for the eye and for diffs."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def check(name: str, text: str) -> None:
    """Compare with a golden file, or write it."""
    path = HERE / name
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return
    assert path.exists(), f"{name} is missing: run GOLDEN=update pytest tests/golden and read the diff"
    expected = path.read_text()
    if text != expected:
        diff = "\n".join(
            difflib.unified_diff(expected.splitlines(), text.splitlines(), name, "now", lineterm="", n=2)
        )
        raise AssertionError(f"{name} changed:\n{diff}")
