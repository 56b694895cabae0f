"""Routes of `advanced_gateway` besides the documented examples."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

AUTH: dict[str, Json] = {
    "openai": {"header_name": "Authorization", "header_value": "Bearer secret-openai"},
    "anthropic": {"header_name": "x-api-key", "header_value": "secret-anthropic"},
    "bedrock": {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret-bedrock"},
    "gemini": {"header_name": "x-goog-api-key", "header_value": "secret-gemini"},
}


def target(provider: str, name: str, **more: Any) -> Json:
    model: Json = {"provider": provider, "name": name}
    if provider == "bedrock":
        model["options"] = {"bedrock": {"aws_region": "us-east-1"}}
    return {"route_type": "llm/v1/chat", "auth": AUTH[provider], "model": model, **more}


ACROSS = [
    target("openai", "gpt-4o", weight=4),
    target("anthropic", "claude-sonnet-4-5", weight=3),
    target("bedrock", "meta.llama3-70b-instruct-v1:0", weight=2),
    target("gemini", "gemini-2.5-flash", weight=1),
]
"""One after the other, by priority."""
DENIED: Json = {
    "deny": [{"match": [{"type": "header", "key": "x-team", "values": ["interns"]}]}],
    "allow": [{"match": [{"type": "provider", "values": ["openai"]}]}],
}


def routes(postgres: Json) -> dict[str, Json]:
    """Configurations by route. `postgres`: its settings, empty where there is none."""
    criteria = ["error", "timeout", "http_429", "http_503", "non_idempotent"]
    balancer = {"algorithm": "priority", "failover_criteria": criteria, "retries": 3}
    made: dict[str, Json] = {"across": {"balancer": balancer, "targets": ACROSS}}
    for form in ("openai", "anthropic", "gemini"):
        made[f"acl-{form}"] = {"llm_format": form, "acls": DENIED, "targets": ACROSS}
    if postgres:
        made["semantic-pgvector"] = {
            "balancer": {"algorithm": "semantic"},
            "embeddings": {
                "auth": AUTH["openai"],
                "model": {"provider": "openai", "name": "text-embedding-3-small"},
            },
            "vectordb": {
                "strategy": "pgvector", "dimensions": 256, "distance_metric": "euclidean",
                "threshold": 0.6, "pgvector": postgres,
            },
            "targets": [
                target("openai", "gpt-4o", description="Questions on programming in Python"),
                target("anthropic", "claude-sonnet-4-5", description="Poems and verse"),
                target("gemini", "gemini-2.5-flash", description="CATCHALL"),
            ],
        }  # fmt: skip
    return made
