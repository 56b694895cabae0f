"""One deployment of `model_list` as a target."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from ..report import Report
from .providers import PATHS, PROVIDERS, ROUTE_TYPES, Known, bedrock_region, guessed_mode, split_model
from .values import Values, variable_of

Json = dict[str, Any]

_AZURE_HOST: Final = re.compile(r"([A-Za-z0-9-]+)\.openai\.azure\.com")
_NO_KEY: Final = frozenset({"", "none", "anything", "fake", "dummy", "empty", "not-needed", "sk-fake"})
"""What people write where a server wants no key (LiteLLM's examples do)."""
_PLAIN_OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "dimensions": "embeddings_dimensions",
}
_COSTS: Final = {
    "input_cost_per_token": "input_cost",
    "output_cost_per_token": "output_cost",
    "cache_read_input_token_cost": "cache_read_cost",
    "cache_creation_input_token_cost": "cache_write_cost",
}
"""Per token there, per million tokens here."""
_BEDROCK: Final = {
    "aws_region_name": "aws_region",
    "aws_role_name": "aws_assume_role_arn",
    "aws_session_name": "aws_role_session_name",
    "aws_sts_endpoint": "aws_sts_endpoint_url",
}
_AWS_SECRETS: Final = ("aws_access_key_id", "aws_secret_access_key")
_LABELS: Final = frozenset({"id", "version"})
"""Names: `id` is what fallbacks may call a deployment by."""
_LIMIT: Final = "requests are not measured before they are sent: the provider answers what is too long for it"
_INFO: Final = {
    "base_model": "says whose prices and limits are meant: set input_cost and output_cost in model.options",
    "max_input_tokens": _LIMIT,
    "max_output_tokens": _LIMIT,
    "max_tokens": _LIMIT,
}
_AZURE_IDENTITY: Final = {
    "tenant_id": "azure_tenant_id",
    "client_id": "azure_client_id",
    "client_secret": "azure_client_secret",
}
_HANDLED_ELSEWHERE: Final = frozenset({"model", "weight", "rpm", "tpm", "drop_params", "custom_llm_provider"})

WHY: Final = {
    "rpm": "limits are Kong's business: its rate-limiting plugin",
    "tpm": "limits are Kong's business: its rate-limiting plugin",
    "max_parallel_requests": "there is no limit of requests at a time for a target",
    "timeout": "time-outs are those of the balancer, for all targets: balancer.read_timeout",
    "stream_timeout": "time-outs are those of the balancer, for all targets: balancer.read_timeout",
    "request_timeout": "time-outs are those of the balancer, for all targets: balancer.read_timeout",
    "max_retries": "retries are those of the balancer, for all targets",
    "num_retries": "retries are those of the balancer, for all targets",
    "organization": "no header of one's own can be set for a provider; use a key of that organization",
    "extra_headers": "headers towards providers are an allow-list",
    "headers": "headers towards providers are an allow-list",
    "extra_body": "clients may send extra_body themselves",
    "tags": "targets are not chosen by tags; use routes of their own",
    "aws_session_token": "temporary credentials: let the plugin server find them itself (role, environment)",
    "aws_profile_name": "set AWS_PROFILE in the plugin server's environment",
    "azure_ad_token": "a token that expires: use azure_use_managed_identity or a client secret",
    "mock_response": "use `kong-ai-proxy mock`",
}


@dataclass(slots=True)
class Deployment:
    """One entry of `model_list`, read but for what is still unread in `params` and `info`."""

    name: str
    """What clients call it."""
    params: Json
    info: Json
    path: str
    line: int
    report: Report
    values: Values
    ids: set[str] = field(default_factory=set)

    def take(self, name: str) -> Any:
        return self.params.pop(name, None)

    def lost(self, message: str, name: str = "") -> None:
        path = f"{self.path}.{name}" if name else self.path
        self.report.lost(message, line=self.line, path=path)

    def todo(self, message: str) -> None:
        self.report.todo(message, line=self.line, path=self.path)


def target_of(found: Deployment) -> Json | None:
    """The target, without alias and weight; None where it cannot be one (and it was told why)."""
    model = found.params.get("model")
    if not isinstance(model, str) or not model:
        found.lost("has no litellm_params.model")
        return None
    prefix, name = split_model(model)
    custom = found.params.get("custom_llm_provider")
    if custom is not None and custom not in PROVIDERS:
        found.lost(f"provider {custom!r} is not known here", "litellm_params.custom_llm_provider")
        return None
    if custom is not None:
        prefix, name = str(custom), model.removeprefix(f"{custom}/")
    if not prefix:
        shown = model.partition("/")[0]
        found.lost(f"provider {shown!r} is not known here", "litellm_params.model")
        return None
    route_type = _route_type(found, model)
    if route_type is None:
        return None
    if "*" in name and name != "*":
        found.lost("patterns in a model's name", "litellm_params.model")
        return None
    known = PROVIDERS[prefix]
    target: Json = {"route_type": route_type, "model": {"provider": known.provider}}
    if name != "*":
        target["model"]["name"] = _model_name(prefix, name)
    options = _options(found)
    auth = _PROVIDER_PARTS.get(prefix, _key_and_address)(found, known, name, route_type, options)
    if auth is None:
        return None
    if auth:
        target["auth"] = auth
    if options:
        target["model"]["options"] = options
    target["logging"] = {"log_statistics": True}
    _leftovers(found)
    return target


def _route_type(found: Deployment, model: str) -> str | None:
    mode = found.info.pop("mode", None)
    if mode is None:
        mode = guessed_mode(model)
        if mode != "chat":
            found.todo(f"has no model_info.mode: taken for {mode} by its name")
    route_type = ROUTE_TYPES.get(str(mode))
    if route_type is None:
        found.lost(f"mode {mode} is not served", "model_info.mode")
    return route_type


def _model_name(prefix: str, name: str) -> str:
    """Hugging Face's router takes `owner/model:provider` for LiteLLM's `provider/owner/model`:
    https://huggingface.co/docs/inference-providers."""
    parts = name.split("/")
    if prefix == "huggingface" and len(parts) == 3:
        return f"{parts[1]}/{parts[2]}:{parts[0]}"
    return name


def _options(found: Deployment) -> Json:
    options: Json = {}
    for theirs, ours in _PLAIN_OPTIONS.items():
        value = found.take(theirs)
        if isinstance(value, int | float) and not isinstance(value, bool):
            options[ours] = value
        elif value is not None:
            found.lost("is no number", f"litellm_params.{theirs}")
    for theirs, ours in _COSTS.items():
        own = found.take(theirs)
        value = own if own is not None else found.info.pop(theirs, None)
        try:
            price = float(value) if value is not None else None
        except (TypeError, ValueError):
            found.lost("is no number", theirs)
            continue
        if price is not None:
            options[ours] = round(price * 1_000_000, 6)
    return options


# By provider: each gives the target's `auth`, adds to its options, and takes what it read from the
# parameters.


def _address(found: Deployment, known: Known) -> str | None:
    base = found.take("api_base") or found.take("base_url") or known.base
    if not base:
        return None
    return found.values.plain(base, line=found.line, path=f"{found.path}.litellm_params.api_base").rstrip("/")


def _key(found: Deployment, known: Known, *, required: bool = True) -> Json:
    value = found.take("api_key")
    if value is None and not (required and known.key):
        return {}
    plain = variable_of(value) is None
    if plain and value is not None and str(value).strip().lower() in _NO_KEY:
        # Said aloud all the same: without any credential the client's own would go there.
        return {"header_name": known.header, "header_value": f"{known.prefix}none"}
    reference = found.values.secret(
        f"os.environ/{known.key}" if value is None else value,
        # Not the provider's usual variable: another deployment may read its key from there.
        fallback=f"{found.name}_{known.provider}_API_KEY",
        prefix=known.prefix,
        line=found.line,
        path=f"{found.path}.litellm_params.api_key",
    )
    return {"header_name": known.header, "header_value": reference}


def _key_and_address(
    found: Deployment, known: Known, name: str, route_type: str, options: Json
) -> Json | None:
    """Providers of OpenAI's form, and those with a key and an address of their own."""
    base = _address(found, known)
    if base is None and known is not PROVIDERS["openai"] and known.provider in ("openai", "vllm"):
        found.lost("needs an api_base", "litellm_params")
        return None
    if base is not None:
        options["upstream_url"] = _joined(base, known.provider, route_type)
    if known.provider == "ollama" and base == known.base:
        found.todo("http://localhost:11434 is the plugin server's own machine: say where Ollama is")
    if known.provider == "mistral":
        options["mistral_format"] = "openai"
    if found.take("api_version") is not None and known.provider != "azure":
        found.lost("has no meaning for this provider", "litellm_params.api_version")
    return _key(found, known)


def _joined(base: str, provider: str, route_type: str) -> str:
    if provider == "anthropic":
        return base if base.endswith("/v1/messages") else f"{base}/v1/messages"
    if provider in ("ollama", "cohere", "huggingface"):
        return base  # our provider adds the operation's path where there is none
    path = PATHS[route_type]
    return base if base.endswith(path) else base + path


def _azure(found: Deployment, known: Known, name: str, route_type: str, options: Json) -> Json | None:
    base = _address(found, known)
    version = found.take("api_version")
    if version is not None:
        options["azure_api_version"] = found.values.plain(version, line=found.line, path=found.path)
    if base is None:
        base = found.values.plain("os.environ/AZURE_API_BASE", line=found.line, path=found.path)
    host = urlsplit(base).netloc if "${" not in base else ""
    instance = _AZURE_HOST.fullmatch(host)
    options["azure_deployment_id"] = name
    if instance and urlsplit(base).path in ("", "/"):
        options["azure_instance"] = instance[1]
    elif "/openai/" in base:
        options["upstream_url"] = base
    else:
        options["upstream_url"] = f"{base}/openai/deployments/{name}{PATHS[route_type]}"
    return _azure_auth(found, known)


def _azure_auth(found: Deployment, known: Known) -> Json:
    if found.params.get("api_key") is not None:
        return _key(found, known)
    identity = {
        ours: found.values.secret(
            found.params.pop(theirs),
            fallback=f"{found.name}_azure_{theirs}",
            line=found.line,
            path=f"{found.path}.litellm_params.{theirs}",
        )
        for theirs, ours in _AZURE_IDENTITY.items()
        if found.params.get(theirs) is not None
    }
    if identity:
        return {"azure_use_managed_identity": True, **identity}
    return _key(found, known)


def _foundry(found: Deployment, known: Known, name: str, route_type: str, options: Json) -> Json | None:
    """Models of others at Azure AI Foundry."""
    base = _address(found, known)
    if base is None:
        found.lost("needs an api_base", "litellm_params")
        return None
    version = found.take("api_version")
    if version is not None:
        options["azure_api_version"] = found.values.plain(version, line=found.line, path=found.path)
    models = urlsplit(base).netloc.endswith(".services.ai.azure.com") and not urlsplit(base).path
    options["upstream_url"] = _joined(f"{base}/models" if models else base, "azure", route_type)
    found.todo("azure_ai: see that model.options.upstream_url is the model's address")
    return _key(found, known)


def _bedrock(found: Deployment, known: Known, name: str, route_type: str, options: Json) -> Json | None:
    bedrock: Json = {}
    region = bedrock_region(str(found.params.get("model")))
    if region and found.params.get("aws_region_name") is None:
        found.params["aws_region_name"] = region
    for theirs, ours in _BEDROCK.items():
        value = found.take(theirs)
        if value is not None:
            bedrock[ours] = found.values.plain(
                value, line=found.line, path=f"{found.path}.litellm_params.{theirs}"
            )
    if "aws_region" not in bedrock:
        found.todo("names no region: set AWS_REGION in the plugin server's environment")
    if bedrock:
        options["bedrock"] = bedrock
    endpoint = found.take("aws_bedrock_runtime_endpoint") or found.take("api_base")
    if endpoint is not None:
        options["upstream_url"] = found.values.plain(endpoint, line=found.line, path=found.path)
    return {
        field_name: found.values.secret(
            found.params.pop(field_name),
            fallback=f"{found.name}_{field_name}",
            line=found.line,
            path=f"{found.path}.litellm_params.{field_name}",
        )
        for field_name in _AWS_SECRETS
        if found.params.get(field_name) is not None
    }


def _vertex(found: Deployment, known: Known, name: str, route_type: str, options: Json) -> Json | None:
    gemini: Json = {}
    for theirs, ours, variable in (
        ("vertex_project", "project_id", "VERTEXAI_PROJECT"),
        ("vertex_location", "location_id", "VERTEXAI_LOCATION"),
    ):
        value = (
            found.take(theirs)
            or found.take(theirs.replace("vertex", "vertex_ai"))
            or f"os.environ/{variable}"
        )
        gemini[ours] = found.values.plain(
            value, line=found.line, path=f"{found.path}.litellm_params.{theirs}"
        )
    location = gemini["location_id"]
    gemini["api_endpoint"] = (
        "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    )
    options["gemini"] = gemini
    auth: Json = {"gcp_use_service_account": True}
    credentials = found.take("vertex_credentials")
    if isinstance(credentials, str) and (variable_of(credentials) or credentials.lstrip().startswith("{")):
        auth["gcp_service_account_json"] = found.values.secret(
            credentials,
            fallback=f"{found.name}_gcp_service_account",
            line=found.line,
            path=f"{found.path}.litellm_params.vertex_credentials",
        )
        found.todo("gcp_service_account_json is the key file's text, not its path")
    elif credentials is not None:
        found.todo(
            "vertex_credentials names a file: put its text into GCP_SERVICE_ACCOUNT in the plugin "
            "server's environment"
        )
    return auth


def _databricks(found: Deployment, known: Known, name: str, route_type: str, options: Json) -> Json | None:
    base = _address(found, known) or found.values.plain("os.environ/DATABRICKS_API_BASE", line=found.line)
    if "${" in base:
        options["upstream_url"] = f"{base}/v1{PATHS[route_type]}"
    else:
        options["databricks"] = {"workspace_instance_id": urlsplit(base).netloc or base}
    return _key(found, known)


def _gemini(found: Deployment, known: Known, name: str, route_type: str, options: Json) -> Json | None:
    if found.take("api_base") is not None:
        found.lost("addresses of their own are not carried over for gemini", "litellm_params.api_base")
    return _key(found, known)


_PROVIDER_PARTS: Final = {
    "azure": _azure,
    "azure_text": _azure,
    "azure_ai": _foundry,
    "bedrock": _bedrock,
    "bedrock_converse": _bedrock,
    "vertex_ai": _vertex,
    "vertex_ai_beta": _vertex,
    "gemini": _gemini,
    "databricks": _databricks,
}


def _leftovers(found: Deployment) -> None:
    """Everything nobody asked for."""
    for name in found.params:
        if name in ("rpm", "tpm"):
            found.lost(WHY[name], f"litellm_params.{name}")
        elif name not in _HANDLED_ELSEWHERE:
            found.lost(WHY.get(name, "has no counterpart"), f"litellm_params.{name}")
    for name, value in found.info.items():
        if name not in _LABELS and value is not None:
            found.lost(_INFO.get(name, "has no counterpart"), f"model_info.{name}")
