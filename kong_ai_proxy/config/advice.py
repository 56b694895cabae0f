"""What can be used but is probably not meant: findings that are no errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from .entries import Path, is_placeholder
from .errors import Problem, format_path
from .models import AdvancedConfig, Options, ProxyConfig, Record, Redis
from .rules import redis_blocks
from .spec import Spec, fields_of
from .templates import clients_choose_host, template_texts, without_templates

_KONG_PORTS: Final = frozenset({8000, 8443})
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_KONG_NAMES: Final = frozenset({"kong", "kong-gateway", "kong-proxy"})
_TTL: Final = re.compile(r"\d+(\.\d+)?[hm]")
_ABOVE: Final = re.compile(r"\d+(\.\d+)?[km]?", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"\{vault://[^}]+\}")


def config_advice(config: ProxyConfig | AdvancedConfig) -> Iterator[Problem]:
    """About a configuration that is right as such."""
    advanced = isinstance(config, AdvancedConfig)
    for number, target in enumerate(config.targets, start=1):
        prefix = f"targets[{number}]." if advanced else ""
        if target.route_type == "preserve":
            yield f"{prefix}route_type", "preserve is deprecated; use the operation's own, or llm_format"
        auth = target.auth
        if (auth.aws_access_key_id is None) != (auth.aws_secret_access_key is None):
            yield f"{prefix}auth", "aws_access_key_id and aws_secret_access_key work together only"
        yield from ((f"{prefix}model.options.{path}", text) for path, text in _options(target.model.options))
        for field, text in template_texts(target.model):
            if "$(" in without_templates(text):
                yield f"{prefix}{field}", "looks like a template but is none; it would be used as it stands"
            if clients_choose_host(field, text):
                yield f"{prefix}{field}", "clients choose the host here, and the credential goes to it"
    if isinstance(config, AdvancedConfig):
        for path, redis in redis_blocks(config):
            yield from ((f"{path}.{field}", text) for field, text in _redis(redis))
        yield from _accuracy(config)


def _accuracy(config: AdvancedConfig) -> Iterator[Problem]:
    balancer, judge = config.balancer, config.kong_ai_proxy.judge
    if balancer.tokens_count_strategy == "llm-accuracy":
        path = "balancer.tokens_count_strategy"
        if balancer.algorithm != "lowest-usage":
            yield path, f"has no effect with balancer.algorithm {balancer.algorithm}; set lowest-usage"
        elif judge is None:
            yield (
                path,
                "llm-accuracy goes by weight without scores: configure kong_ai_proxy.judge, whose fields are "
                "those of Kong's ai-llm-as-judge",
            )
    if judge is None:
        return
    path = "kong_ai_proxy.judge"
    if judge.sampling_rate == 0:
        yield f"{path}.sampling_rate", "is 0: nothing is judged"
    if not judge.https_verify:
        yield f"{path}.https_verify", "is off: whoever is in the way can read prompts and the credential"
    if judge.llm.logging.log_payloads:
        yield f"{path}.llm.logging.log_payloads", "is not used: what is judged is never logged"
    options = judge.llm.model.options
    if _looks_like_kong(options.upstream_url):
        yield (
            f"{path}.llm.model.options.upstream_url",
            "seems to lead back to Kong: better name the judge's provider itself. What a judge asks for is "
            "not judged again, as long as nothing on its way takes the header x-kong-ai-judging away",
        )
    yield from ((f"{path}.llm.model.options.{field}", text) for field, text in _options(options))


def _looks_like_kong(url: str | None) -> bool:
    """By the names that it has in examples and charts, and by its ports on this machine. (Elsewhere 8000 is
    vLLM's as well.)"""
    try:
        parts = urlsplit(url or "")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return host.partition(".")[0] in _KONG_NAMES or (host in _HERE and port in _KONG_PORTS)


def _redis(redis: Redis) -> Iterator[Problem]:
    cloud = redis.cloud_authentication
    if cloud is not None and cloud.auth_provider is not None:
        if not redis.ssl:
            yield "ssl", "is off: the cloud's token crosses the network in clear text, if the server takes it"
        if redis.password is not None:
            yield "password", "is not used with cloud_authentication"
    if redis.cluster_nodes and redis.database:
        yield "database", "is not used with cluster_nodes: a cluster has one"
    if redis.sentinel_role in ("any", "slave"):
        yield "sentinel_role", "is not used: the master is asked for, whatever it says, for it is written to"
    if redis.server_name is not None and not redis.ssl:
        yield "server_name", "is not used without ssl"
    # Values that are Kong's defaults are in every configuration that Kong exports: no word about them.
    if redis.send_timeout not in (2000, redis.read_timeout):
        yield "send_timeout", "is not used: read_timeout holds for both ways"
    if redis.keepalive_pool_size != 256:
        yield "keepalive_pool_size", "is not used: one connection is kept"
    if redis.keepalive_backlog is not None:
        yield "keepalive_backlog", "is not used: one connection is kept"


def _options(options: Options) -> Iterator[Problem]:
    if options.upstream_path is not None:
        yield "upstream_path", "is deprecated; use upstream_url"
    for number, price in enumerate(options.cache_write_cost_list or [], start=1):
        if not _TTL.fullmatch(price.ttl):
            yield f"cache_write_cost_list[{number}].ttl", "is not understood; write it like 5m or 1h"
    for number, factor in enumerate(options.context_window_factor or [], start=1):
        if not _ABOVE.fullmatch(factor.above):
            yield f"context_window_factor[{number}].above", "is not understood; write it like 200k or 1m"


def secret_advice(config: Any, model: type[Record], path: Path = ()) -> Iterator[Problem]:
    """About vault references and secrets in a configuration as it was written."""
    if not isinstance(config, dict):
        return
    for spec in fields_of(model):
        yield from _secrets(config.get(spec.name), spec, (*path, spec.name))


def _secrets(value: Any, spec: Spec, path: Path) -> Iterator[Problem]:
    if spec.record:
        yield from secret_advice(value, spec.record, path)
    elif spec.element and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets(item, spec.element, (*path, index))
    elif isinstance(value, dict) and any(str(key).startswith("vault:") for key in value):
        yield format_path(path), "put the vault reference in quotes: YAML takes its braces for a map"
    elif isinstance(value, str):
        reference = _REFERENCE.search(value)
        if reference and not spec.referenceable:
            yield format_path(path), "takes no vault reference; the text would be used as it stands"
        elif reference and reference[0] != value:
            yield (
                format_path(path),
                "a vault reference must be the whole value: put what stands around it into the secret",
            )
        elif spec.encrypted and not reference and not is_placeholder(value):
            yield format_path(path), "holds a secret in clear text; use a vault reference"
