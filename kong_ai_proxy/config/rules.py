"""Rules about several fields at once.

Kong's JSON schemas hold none of these. They come from its documentation ("docs": pages and changelogs of
developer.konghq.com for Gateway 3.15) and from the open source plugin's own checks ("3.9": at tag 3.9.3,
kong/llm/schemas/init.lua and kong/plugins/ai-proxy/schema.lua). Where the two differ the lenient one holds:
what Kong 3.15 documents must load here. Left out on purpose:

- mistral_format and anthropic_version are required in 3.9. A documented example does without the first, and
  the 3.15 schema requires neither: Mistral's own service and Anthropic's 2023-06-01 are the defaults here.
- azure_api_version is required in 3.9 but has a default.
- allow_override is refused for bedrock too in 3.9; the docs name gemini alone.
- log_statistics is refused for audio route types by one page; the changelog says audio tokens come with it.
- anthropic lacks llm/v1/completions in one list of the docs and has it in another.
- llm_format bedrock and gemini need their own provider in Kong; here other providers are translated to.
- output_cost 0 is refused by 3.9, which a changelog calls a bug: a free model could not be priced.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from .errors import Problem
from .models import AclMatch, AdvancedConfig, Judge, ProxyConfig, Redis, Target

_SELF_HOSTED: Final = {"llama2", "ollama", "vllm"}
"""Providers without an address of their own (docs: provider pages; 3.9 for llama2)."""
_NATIVE_ONLY: Final = {"cohere", "huggingface"}
"""Client formats that only their own provider can serve (docs: ai-proxy formats)."""
_ACL_KEYS: Final = {"consumer": ("id", "username"), "consumer_group": ("id", "name")}
_URL_SCHEMES: Final = ("http", "https", "ws", "wss")


def broken_rules(config: ProxyConfig | AdvancedConfig) -> list[Problem]:
    """Everything that does not fit together, each naming a field and what to do."""
    problems: list[Problem] = []
    advanced = isinstance(config, AdvancedConfig)
    for number, target in enumerate(config.targets, start=1):
        prefix = f"targets[{number}]." if advanced else ""
        for rule in _TARGET_RULES:
            problems += [(prefix + path, message) for path, message in rule(target)]
        provider = target.model.provider
        if config.llm_format in _NATIVE_ONLY and provider != config.llm_format:
            problems.append(
                (
                    f"{prefix}model.provider",
                    f"llm_format {config.llm_format} works with provider {config.llm_format} only",
                )
            )
    if isinstance(config, AdvancedConfig):
        problems += _balancing(config)
        problems += _acls(config)
        if config.kong_ai_proxy.judge is not None:
            found = _judge(config.kong_ai_proxy.judge)
            problems += [(f"kong_ai_proxy.judge.llm.{field}", message) for field, message in found]
        for path, redis in redis_blocks(config):
            problems += [(f"{path}.{field}", message) for field, message in _redis(redis)]
    elif config.route_type == "realtime/v1/realtime":
        problems.append(
            ("route_type", "realtime/v1/realtime is served by kong-ai-proxy-advanced only; use that plugin")
        )
    return problems


def _auth(target: Target) -> Iterator[Problem]:
    """docs: schema descriptions; 3.9: mutually_required, conditional."""
    auth = target.auth
    yield from _all_or_none("auth", header_name=auth.header_name, header_value=auth.header_value)
    yield from _all_or_none(
        "auth",
        param_name=auth.param_name,
        param_value=auth.param_value,
        param_location=auth.param_location,
    )
    if target.model.provider == "gemini" and auth.allow_override:
        yield "auth.allow_override", "must be false for provider gemini"


def _all_or_none(prefix: str, **values: str | None) -> Iterator[Problem]:
    missing = [name for name, value in values.items() if value is None]
    if missing and len(missing) < len(values):
        names = ", ".join(values)
        for name in missing:
            yield f"{prefix}.{name}", f"all or none of these fields must be set: {names}"


def _self_hosted(target: Target) -> Iterator[Problem]:
    options, provider = target.model.options, target.model.provider
    if provider in _SELF_HOSTED and options.upstream_url is None:
        yield "model.options.upstream_url", f"must be set for provider {provider}, which has no default"
    if provider == "llama2" and options.llama2_format is None:
        yield "model.options.llama2_format", "must be set for provider llama2: ollama, openai or raw"
    if provider == "mistral" and options.mistral_format == "ollama" and options.upstream_url is None:
        yield "model.options.upstream_url", "must be set for mistral_format ollama: it is self-hosted"


def _azure(target: Target) -> Iterator[Problem]:
    """3.9; docs: with upstream_url neither is required (Azure AI Foundry)."""
    options = target.model.options
    if target.model.provider != "azure" or options.upstream_url is not None:
        return
    for name in ("azure_instance", "azure_deployment_id"):
        if getattr(options, name) is None:
            yield f"model.options.{name}", "must be set for provider azure, unless upstream_url is"


def _gemini(target: Target) -> Iterator[Problem]:
    """3.9: mutually_required in the gemini options."""
    gemini = target.model.options.gemini
    if gemini:
        yield from _all_or_none(
            "model.options.gemini",
            api_endpoint=gemini.api_endpoint,
            project_id=gemini.project_id,
            location_id=gemini.location_id,
        )


def _operations(target: Target) -> Iterator[Problem]:
    """What a provider cannot do (docs: provider limitations, schema descriptions; 3.9 for statistics)."""
    model, options, route_type = target.model, target.model.options, target.route_type
    if route_type == "llm/v1/embeddings":
        if model.provider == "anthropic":
            yield "route_type", "provider anthropic has no embeddings; choose another provider"
        if model.provider == "llama2" and options.llama2_format == "raw":
            yield "model.options.llama2_format", "raw has no embeddings; use openai or ollama"
    if route_type == "video/v1/videos/generations" and model.provider == "bedrock":
        bedrock = options.bedrock
        if bedrock is None or bedrock.video_output_s3_uri is None:
            yield (
                "model.options.bedrock.video_output_s3_uri",
                "must be set for video generation with provider bedrock, such as s3://bucket/prefix",
            )
    if route_type == "llm/v1/completions" and model.provider == "anthropic" and target.logging.log_statistics:
        yield "logging.log_statistics", "must be false for llm/v1/completions with provider anthropic"


def _upstream_url(target: Target) -> Iterator[Problem]:
    """3.9: typedefs.url. A template is filled in, and checked, by request."""
    url = target.model.options.upstream_url
    if url is not None and "$(" not in url and not is_url(url):
        yield "model.options.upstream_url", "must be an absolute URL such as https://host/path"


def is_url(url: str) -> bool:
    """An absolute http(s) or ws(s) URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in _URL_SCHEMES and bool(parts.hostname)


def _balancing(config: AdvancedConfig) -> Iterator[Problem]:
    balancer = config.balancer
    if balancer.algorithm == "semantic":
        # Kong wants vectordb as well; here the vectors stay in memory without it.
        if config.embeddings is None:
            yield "embeddings", "must be set for balancer.algorithm semantic"
        for number, target in enumerate(config.targets, start=1):
            if target.description is None:
                yield f"targets[{number}].description", "must be set for balancer.algorithm semantic"
    if balancer.algorithm == "lowest-usage" and balancer.tokens_count_strategy == "cost":
        for number, target in enumerate(config.targets, start=1):
            options = target.model.options
            if options.input_cost is None and options.output_cost is None:
                yield (
                    f"targets[{number}].model.options.input_cost",
                    "input_cost or output_cost must be set for balancer.tokens_count_strategy cost",
                )


def _judge(judge: Judge) -> Iterator[Problem]:
    """The judge is asked in chat form, on its own: there is no client's request to take anything from."""
    llm = judge.llm
    for rule in _TARGET_RULES:
        yield from rule(llm)
    if llm.route_type != "llm/v1/chat":
        yield "route_type", "must be llm/v1/chat: the judge is asked in chat form"
    if llm.model.name is None and llm.model.provider != "azure":
        yield "model.name", "must be set: no client names the judge's model"
    for field in _templated(llm.model.model_dump(exclude_none=True), "model"):
        yield field, "must not hold a template: no client's request could fill it in"


def _templated(value: Any, path: str) -> Iterator[str]:
    """Where there is a template in a record's texts."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _templated(item, f"{path}.{name}")
    elif isinstance(value, str) and "$(" in value:
        yield path


def redis_blocks(config: AdvancedConfig) -> Iterator[tuple[str, Redis]]:
    """Every Redis that is used, and where it is configured."""
    vectordb = config.vectordb
    if vectordb is not None and vectordb.strategy == "redis" and vectordb.redis is not None:
        yield "vectordb.redis", vectordb.redis
    if config.kong_ai_proxy.redis is not None:
        yield "kong_ai_proxy.redis", config.kong_ai_proxy.redis


def _redis(redis: Redis) -> Iterator[Problem]:
    """docs: using cloud authentication with Redis. The rest could not be connected to as it stands."""
    if redis.sentinel_nodes and redis.cluster_nodes:
        yield "cluster_nodes", "must not be set together with sentinel_nodes"
    if redis.sentinel_nodes and redis.sentinel_master is None:
        yield "sentinel_master", "must be set with sentinel_nodes: the name of the master they watch"
    if redis.connection_is_proxied and (redis.sentinel_nodes or redis.cluster_nodes):
        yield "connection_is_proxied", "must be false with sentinel_nodes or cluster_nodes"
    if redis.cluster_nodes and redis.server_name is not None and redis.ssl:
        yield "server_name", "is not supported with cluster_nodes: each node is named by its own address"
    cloud = redis.cloud_authentication
    if cloud is not None and cloud.auth_provider == "aws":
        if cloud.aws_cache_name is None:
            yield "cloud_authentication.aws_cache_name", "must be set for auth_provider aws"
        if redis.username is None:
            yield "username", "must be set for cloud_authentication.auth_provider aws: ElastiCache's user"


def _acls(config: AdvancedConfig) -> Iterator[Problem]:
    """docs: schema descriptions. A condition that can never hold would make a deny rule void unseen."""
    if config.acls is None:
        return
    for kind in ("allow", "deny"):
        for i, rule in enumerate(getattr(config.acls, kind) or [], start=1):
            for j, match in enumerate(rule.match, start=1):
                prefix = f"acls.{kind}[{i}].match[{j}]"
                yield from ((f"{prefix}.{path}", message) for path, message in _acl_match(match))


def _acl_match(match: AclMatch) -> Iterator[Problem]:
    if match.type == "header" and match.key is None:
        yield "key", "must be set for type header: the header's name"
    keys = _ACL_KEYS.get(match.type)
    if keys and match.key is not None and match.key not in keys:
        yield "key", f"must be {' or '.join(keys)} for type {match.type}"
    if match.type == "ip":
        for i, value in enumerate(match.values, start=1):
            if not _is_network(value):
                yield f"values[{i}]", "must be an IP address or a network such as 10.0.0.0/8"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


_TARGET_RULES: Final[tuple[Callable[[Target], Iterator[Problem]], ...]] = (
    _auth,
    _self_hosted,
    _azure,
    _gemini,
    _operations,
    _upstream_url,
)
