"""Targets that break a rule across fields, and some that only seem to."""

from __future__ import annotations

from typing import Any


def target(provider: str = "openai", route_type: str = "llm/v1/chat", **more: Any) -> dict[str, Any]:
    """`options` goes under the model; everything else beside it."""
    options = more.pop("options", {})
    return {"route_type": route_type, "model": {"provider": provider, "options": options}, **more}


VERTEX = {
    "api_endpoint": "europe-west4-aiplatform.googleapis.com",
    "project_id": "p",
    "location_id": "europe-west4",
}
URL = "http://models.internal:8000/v1/chat/completions"

REFUSED: list[tuple[dict[str, Any], str]] = [
    (target(auth={"header_name": "Authorization"}), "auth.header_value"),
    (target(auth={"header_value": "k"}), "auth.header_name"),
    (target(auth={"param_name": "key", "param_value": "k"}), "auth.param_location"),
    (target(auth={"param_location": "query"}), "auth.param_name"),
    (target("gemini", auth={"allow_override": True}), "auth.allow_override"),
    (target("vllm"), "model.options.upstream_url"),
    (target("ollama"), "model.options.upstream_url"),
    (target("llama2", options={"llama2_format": "openai"}), "model.options.upstream_url"),
    (target("llama2", options={"upstream_url": URL}), "model.options.llama2_format"),
    (target("mistral", options={"mistral_format": "ollama"}), "model.options.upstream_url"),
    (target("azure", options={"azure_instance": "i"}), "model.options.azure_deployment_id"),
    (target("azure", options={"azure_deployment_id": "d"}), "model.options.azure_instance"),
    (target("gemini", options={"gemini": {"project_id": "p"}}), "model.options.gemini.api_endpoint"),
    (target("anthropic", "llm/v1/embeddings"), "route_type"),
    (
        target("llama2", "llm/v1/embeddings", options={"llama2_format": "raw", "upstream_url": URL}),
        "model.options.llama2_format",
    ),
    (target("bedrock", "video/v1/videos/generations"), "model.options.bedrock.video_output_s3_uri"),
    (
        target("anthropic", "llm/v1/completions", logging={"log_statistics": True}),
        "logging.log_statistics",
    ),
    (target("openai", options={"upstream_url": "models.internal:8000"}), "model.options.upstream_url"),
    (target("openai", options={"upstream_url": "ftp://models.internal/"}), "model.options.upstream_url"),
    (target("openai", options={"upstream_url": "http://h:port/"}), "model.options.upstream_url"),
]
ACCEPTED: list[dict[str, Any]] = [
    target(),
    target(auth={"header_name": "Authorization", "header_value": "k", "allow_override": True}),
    target("bedrock"),
    target("bedrock", auth={"allow_override": True}),
    target("gemini"),
    target("gemini", auth={"allow_override": False}),
    target("gemini", options={"gemini": VERTEX}),
    target("gemini", options={"gemini": {}}),
    target("azure", options={"upstream_url": "https://r.services.ai.azure.com/anthropic/v1/messages"}),
    target("mistral"),
    target("mistral", options={"mistral_format": "openai"}),
    target("anthropic"),
    target("anthropic", "llm/v1/completions"),
    target("llama2", "llm/v1/embeddings", options={"llama2_format": "openai", "upstream_url": URL}),
    target(
        "bedrock", "video/v1/videos/generations", options={"bedrock": {"video_output_s3_uri": "s3://b/p"}}
    ),
    target("openai", "audio/v1/audio/speech", logging={"log_statistics": True}),
    target(options={"input_cost": 0, "output_cost": 0}),
    target(options={"upstream_url": "https://$(headers.x-host)/v1"}),
    target("openai", options={"mistral_format": "ollama"}),
    target("openai", "llm/v1/embeddings", options={"llama2_format": "raw"}),
    target("openai", "preserve", options={"upstream_path": "/v1/models"}),
]
