"""The plugin configurations that the stream benchmarks run with."""

from __future__ import annotations

from typing import Any

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5"}


def config(provider: str, mock_port: int) -> dict[str, Any]:
    """For kong-ai-proxy: `openai` passes through, `anthropic` is translated."""
    options = {"upstream_url": f"http://127.0.0.1:{mock_port}{PATHS[provider]}"}
    if provider == "anthropic":
        options["anthropic_version"] = "2023-06-01"
    return {
        "route_type": "llm/v1/chat",
        "logging": {"log_statistics": True},
        "auth": {"header_name": "x-api-key", "header_value": "not-a-key"},
        "model": {"provider": provider, "name": MODELS[provider], "options": options},
    }
