"""Kong's documented examples with their variables filled in, and the addresses they lead to.

Sources of the addresses: shared/kong/providers.json (`url_patterns`, `upstream_path`) and the examples' own
`upstream_url`.
"""

from __future__ import annotations

import json
import re
from typing import Any

VARIABLES = {
    "azure_instance": "acme",
    "instance": "acme",
    "azure_deployment": "my-gpt",
    "azure_deployment_id": "my-gpt",
    "deployment": "my-gpt",
    "workspace": "dbc-1a2b",
    "gcp_api_endpoint": "us-east5-aiplatform.googleapis.com",
    "gemini_api_endpoint": "us-east5-aiplatform.googleapis.com",
    "vertex_api_endpoint": "us-east5-aiplatform.googleapis.com",
    "gcp_project_id": "p1",
    "gcp_location_id": "us-east5",
    "aws_region": "us-east-1",
    "cohere_key": "Bearer k1",
    "mistral_key": "Bearer k2",
}
"""Values for the documentation's variables, where "value" will not do."""
VERTEX = "https://us-east5-aiplatform.googleapis.com/v1/projects/p1/locations/us-east5/publishers"
URLS: dict[str, dict[str, tuple[str, ...]]] = {
    "anthropic": {"chat": ("https://api.anthropic.com/v1/messages",)},
    "azure": {
        "chat": (
            "https://{instance}.openai.azure.com/openai/deployments/{deployment}/chat/completions?{version}",
        ),
        "embeddings": (
            "https://{instance}.openai.azure.com/openai/deployments/{deployment}/embeddings?{version}",
        ),
    },
    "bedrock": {
        "chat": (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/converse",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/converse-stream",
        ),
        # Claude's own clients: shared/kong/providers.json, the sample of tried_targets.
        "messages": (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/invoke",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/{model}/invoke-with-response-stream",
        ),
    },
    "cerebras": {"chat": ("https://api.cerebras.ai/v1/chat/completions",)},
    # v2: Kong's changelog, 3.14.
    "cohere": {"chat": ("https://api.cohere.com/v2/chat",)},
    "dashscope": {"chat": ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",)},
    "databricks": {"chat": ("https://dbc-1a2b.cloud.databricks.com/serving-endpoints/v1/chat/completions",)},
    "deepseek": {"chat": ("https://api.deepseek.com/v1/chat/completions",)},
    "gemini": {
        "chat": (
            "https://generativelanguage.googleapis.com/v1beta/models/{model}:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models/{model}:streamGenerateContent?alt=sse",
        ),
        "vertex": (
            VERTEX + "/google/models/{model}:generateContent",
            VERTEX + "/google/models/{model}:streamGenerateContent?alt=sse",
        ),
        "vertex-claude": (
            VERTEX + "/anthropic/models/{model}:rawPredict",
            VERTEX + "/anthropic/models/{model}:streamRawPredict",
        ),
    },
    "huggingface": {"chat": ("https://router.huggingface.co/v1/chat/completions",)},
    "mistral": {"chat": ("https://api.mistral.ai/v1/chat/completions",)},
    "openai": {
        "chat": ("https://api.openai.com/v1/chat/completions",),
        "embeddings": ("https://api.openai.com/v1/embeddings",),
    },
    "xai": {"chat": ("https://api.x.ai/v1/chat/completions",)},
}
"""provider → what is spoken → the URL without `upstream_url`; two where a stream has another."""
_VARIABLE = re.compile(r"\$\{([a-z0-9_]+)\}")
CAPTURES = {"azure_instance": "acme", "azure_deployment": "my-gpt", "model": "gpt-4o"}
"""What the routes of the examples capture from the path."""
OPERATIONS = {
    "llm/v1/chat": "chat",
    "llm/v1/completions": "completions",
    "llm/v1/embeddings": "embeddings",
}


def targets_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config.get("targets") or [config]
    return found


def filled(value: Any, google_key: str) -> Any:
    """A configuration with the documentation's variables filled in."""
    if isinstance(value, dict):
        made = {name: filled(item, google_key) for name, item in value.items()}
        if "gcp_service_account_json" in made:
            made["gcp_service_account_json"] = google_key
        return made
    if isinstance(value, list):
        return [filled(item, google_key) for item in value]
    if isinstance(value, str):
        # The Vertex page puts "Bearer " before everything: a fault of the documentation (examples.md).
        if value.startswith("Bearer ${gcp_"):
            value = value.removeprefix("Bearer ")
        return _VARIABLE.sub(lambda match: VARIABLES.get(match[1], "value-of-" + match[1]), value)
    return value


def expected_urls(config: dict[str, Any], stream: bool) -> set[str]:
    """One for each target."""
    return {
        _expected_url(target, config.get("llm_format", "openai"), stream) for target in targets_of(config)
    }


def _expected_url(target: dict[str, Any], form: str, stream: bool) -> str:
    model = target["model"]
    options = model.get("options") or {}
    if "upstream_url" in options:
        given = str(options["upstream_url"])
        # A server's address alone gets the path of Ollama's chat.
        return f"{given}/api/chat" if model["provider"] == "ollama" and given.count("/") == 2 else given
    name = str(model.get("name", ""))
    spoken = OPERATIONS[target["route_type"]]
    if model["provider"] == "gemini" and options.get("gemini"):
        spoken = "vertex-claude" if name.startswith("claude") else "vertex"
    if model["provider"] == "bedrock" and form == "anthropic" and "anthropic." in name:
        spoken = "messages"
    found = URLS[model["provider"]][spoken]
    return found[stream and len(found) > 1].format(
        instance=_resolved(options.get("azure_instance", "")),
        deployment=_resolved(options.get("azure_deployment_id", "")),
        version=f"api-version={options.get('azure_api_version', '2023-05-15')}",
        model=name.replace(":", "%3A"),
    )


def _resolved(value: str) -> str:
    return re.sub(r"\$\(uri_captures\.(\w+)\)", lambda match: CAPTURES[match[1]], value)


def a_google_key(token_server: str) -> str:
    """A service account's key whose tokens come from there."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p1",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": "a@p1.iam.gserviceaccount.com",
            "token_uri": f"{token_server}/token",
        }
    )
