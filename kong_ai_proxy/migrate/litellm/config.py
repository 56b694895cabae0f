"""LiteLLM's whole config.yaml as a declarative configuration."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from ...config.entries import Document, Path, read, value_at
from ...server import usage_filter
from ..kong import READ_TIMEOUT
from ..report import Report
from .targets import Deployment, Json, target_of
from .values import Values, variable_of

_FILTER_MARK: Final = "@usage-filter@"
_TOP: Final = 100
"""Weight of the first targets of a model with fallbacks; each fallback has less (algorithm priority)."""
_MOST_WEIGHT: Final = 65535
_ALGORITHMS: Final = {
    "simple-shuffle": "round-robin",
    "least-busy": "least-connections",
    "latency-based-routing": "lowest-latency",
    "usage-based-routing": "lowest-usage",
    "usage-based-routing-v2": "lowest-usage",
}
_CRITERIA: Final = [
    "error",
    "timeout",
    "http_429",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "non_idempotent",
]
"""LiteLLM falls back on all errors (docs/proxy/reliability.md)."""
_REDIS: Final = {
    "redis_host": "host",
    "redis_port": "port",
    "redis_password": "password",
    "redis_db": "database",
}

_WHY: Final = {
    "success_callback": "Kong's logging plugins and OpenTelemetry take its place",
    "failure_callback": "Kong's logging plugins and OpenTelemetry take its place",
    "callbacks": "Kong's logging and prometheus plugins and OpenTelemetry take its place",
    "service_callbacks": "Kong's prometheus plugin takes its place",
    "cache": "there is no cache of answers",
    "cache_params": "there is no cache of answers",
    "context_window_fallbacks": "fallbacks go by status and time-out, not by the kind of a 400",
    "content_policy_fallbacks": "fallbacks go by status and time-out, not by the kind of a 400",
    "database_url": "keys, teams and budgets are Kong's consumers and plugins",
    "max_request_size_mb": "",
    "retry_policy": "retries are the same for all kinds of errors (balancer.failover_criteria)",
    "allowed_fails_policy": "failures are counted together (balancer.max_fails)",
    "enable_tag_filtering": "targets are not chosen by tags; use routes of their own",
    "guardrails": "use Kong's plugins, or a service of your own in front",
    "mcp_servers": "MCP is not served",
    "vector_store_registry": "vector stores are not served",
    "pass_through_endpoints": "make a service and a route in Kong",
    "stream_timeout": "one time-out for both: balancer.read_timeout is the longest silence between two reads",
    "allowed_ips": "use Kong's ip-restriction plugin",
    "max_parallel_requests": "use Kong's rate-limiting plugin",
    "global_max_parallel_requests": "use Kong's rate-limiting plugin",
    "alerting": "use Prometheus' alerts",
    "num_retries_per_request": "balancer.retries",
}
_HARMLESS: Final = frozenset(
    {
        "drop_params", "set_verbose", "json_logs", "telemetry", "request_timeout", "num_retries", "fallbacks",
        "default_fallbacks", "allowed_fails", "cooldown_time", "timeout", "routing_strategy", 
        "model_group_alias",
        "master_key", "turn_off_message_logging", "disable_cooldowns", "enable_pre_call_checks", 
        "debug_level",
    }
)  # fmt: skip
"""Settings that are carried over, or are so anyway, or say nothing about requests."""


def is_litellm(data: Any) -> bool:
    """A config.yaml of LiteLLM's, by what it has."""
    return isinstance(data, dict) and "model_list" in data


def migrate(text: str, *, relay: str, report: Report, usage: bool = True) -> str:
    """A declarative configuration that serves the same models under the same names. `relay`: its address for
    Kong, as host:port. Raises UnreadableFile."""
    return _Config(read(text), relay, report, Values(report)).run(usage)


@dataclass(slots=True)
class _Group:
    """The deployments of one model name."""

    targets: list[Json] = field(default_factory=list)
    ids: dict[str, Json] = field(default_factory=dict)
    """By `model_info.id`."""


@dataclass(slots=True)
class _Config:
    document: Document
    relay: str
    report: Report
    values: Values
    groups: dict[str, _Group] = field(default_factory=dict)

    def run(self, usage: bool) -> str:
        self._deployments()
        targets = self._targets()
        config: Json = {"balancer": self._balancer(), "targets": targets}
        extensions = self._extensions()
        if extensions:
            config["kong_ai_proxy"] = extensions
        megabytes = self._general("max_request_size_mb")
        if isinstance(megabytes, int) and megabytes > 0:
            config["max_request_body_size"] = megabytes * 1024 * 1024
        if not targets:
            self.report.lost("no deployment could be carried over: the result serves nothing")
        route: Json = {
            "name": "llm",
            "paths": ["/"],
            "plugins": [{"name": "kong-ai-proxy-advanced", "config": config}],
        }
        service: Json = {
            "name": "llm",
            "url": f"http://{urlsplit('//' + self.relay).netloc}",
            "retries": 0,
            "read_timeout": READ_TIMEOUT,
            "write_timeout": READ_TIMEOUT,
        }
        plugins: list[Any] = [_FILTER_MARK] if usage else []
        consumers = self._master_key(plugins)
        if plugins:
            service["plugins"] = plugins
        service["routes"] = [route]
        document: Json = {"_format_version": "3.0", "services": [service], **consumers}
        self._leftovers()
        self.report.todo(
            "chat completions and embeddings are served as before; for Anthropic's /v1/messages add "
            "a route with "
            "llm_format anthropic, for /v1/responses a target with route_type llm/v1/responses"
        )
        self.report.todo(
            "Kong must know the plugin: plugins = bundled,kong-ai-proxy-advanced and pluginserver_* "
            "in kong.conf"
        )
        return _written(document)

    # Models.

    def _deployments(self) -> None:
        entries = self.document.data.get("model_list")
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            path: Path = ("model_list", index)
            line, shown = self.document.line(path), f"model_list[{index + 1}]"
            if not isinstance(entry, dict):
                self.report.lost("is no map", line=line, path=shown)
                continue
            name = str(entry.get("model_name", ""))
            params = self._params(entry, line, shown)
            info = entry.get("model_info")
            info = dict(info) if isinstance(info, dict) else {}
            for other in set(entry) - {"model_name", "litellm_params", "model_info"}:
                self.report.lost("has no counterpart", line=line, path=f"{shown}.{other}")
            if "*" in name and name != "*":
                self.report.lost("patterns in a model's name", line=line, path=f"{shown}.model_name")
                continue
            found = Deployment(name, params, info, shown, line, self.report, self.values)
            weight = _weight(params)
            target = target_of(found)
            if target is None:
                continue
            if weight:
                target["weight"] = weight
            if name == "*" and "name" in target["model"]:
                self.report.changed("takes whatever no other model is named", line=line, path=shown)
            elif name != "*" and "name" not in target["model"]:
                self.report.lost("a name for all models of a provider", line=line, path=shown)
                continue
            group = self.groups.setdefault(name, _Group())
            group.targets.append(target)
            if isinstance(info.get("id"), str):
                group.ids[info["id"]] = target

    def _params(self, entry: Json, line: int, shown: str) -> Json:
        """`litellm_params` with the credential it names."""
        own = entry.get("litellm_params")
        params = dict(own) if isinstance(own, dict) else {}
        name = params.pop("litellm_credential_name", None)
        if name is not None:
            listed = self.document.data.get("credential_list")
            found = next((each for each in _maps(listed) if each.get("credential_name") == name), None)
            values = found.get("credential_values") if found else None
            if isinstance(values, dict):
                params = {**values, **params}
            else:
                self.report.lost(
                    "is not in credential_list", line=line, path=f"{shown}.litellm_credential_name"
                )
        defaults = self._router("default_litellm_params")
        params = {**defaults, **params} if isinstance(defaults, dict) else params
        for vertex in ("vertex_project", "vertex_location"):
            value = value_at(self.document.data, ("litellm_settings", vertex))
            if value is not None and str(params.get("model", "")).startswith(("vertex", "gemini-")):
                params.setdefault(vertex, value)
        return params

    def _targets(self) -> list[Json]:
        """All targets, under each name they are asked for."""
        chains = dict(self._chains())
        listed: list[Json] = []
        for name, group in self.groups.items():
            fallbacks = chains.get(name, [])
            for target in group.targets:
                listed.append(_named(target, name, _TOP if chains else None))
            if name == "*" and fallbacks:
                # A target serves what it is named; there is no name that stands for all.
                self.report.lost("fallbacks for models of any name", path="model_name *")
                fallbacks = []
            for place, fallback in enumerate(fallbacks, start=1):
                for target in self._fallback_targets(fallback):
                    listed.append(_named(target, name, max(1, _TOP - 10 * place)))
        if chains and any(
            len({t.get("weight") for t in group.targets}) > 1 for group in self.groups.values()
        ):
            self.report.lost(
                "weights within a model: with fallbacks the balancer goes by priority, and shares "
                "evenly within one"
            )
        aliases = self._router("model_group_alias")
        for alias, model in aliases.items() if isinstance(aliases, dict) else ():
            model = model.get("model") if isinstance(model, dict) else model
            twins = [target for target in listed if target["model"].get("model_alias") == model]
            listed += [_named(target, str(alias), target.get("weight")) for target in twins]
            if not twins:
                self.report.lost(
                    f"there is no model {model}", path=f"router_settings.model_group_alias.{alias}"
                )
        return listed

    def _chains(self) -> Iterator[tuple[str, list[str]]]:
        """Model → its fallbacks in order."""
        fallbacks: dict[str, list[str]] = {}
        for entry in _maps(self._router("fallbacks")):
            for model, others in entry.items():
                fallbacks[str(model)] = _texts(others)
                if len(fallbacks[str(model)]) != len(others if isinstance(others, list) else [others]):
                    self.report.lost("fallbacks with parameters of their own", path=f"fallbacks.{model}")
        default = _texts(self._router("default_fallbacks"))
        for model in self.groups:
            chain = fallbacks.pop(model, None) or default
            chain = [each for each in chain if each != model]
            if chain:
                yield model, chain
        for model in fallbacks:
            self.report.lost("there is no such model", path=f"fallbacks.{model}")

    def _fallback_targets(self, name: str) -> list[Json]:
        if name in self.groups:
            return self.groups[name].targets
        by_id = [group.ids[name] for group in self.groups.values() if name in group.ids]
        if not by_id:
            self.report.lost(f"there is no model {name}", path="fallbacks")
        return by_id

    # Settings.

    def _balancer(self) -> Json:
        strategy = str(self._router("routing_strategy") or "simple-shuffle")
        algorithm = _ALGORITHMS.get(strategy)
        if algorithm is None:
            self.report.lost(f"{strategy} has no counterpart: round-robin instead", path="routing_strategy")
            algorithm = "round-robin"
        balancer: Json = {"algorithm": algorithm}
        if any(True for _ in self._chains()):
            if algorithm != "round-robin":
                self.report.lost(
                    f"{strategy}: with fallbacks the balancer goes by priority, and shares evenly within one",
                    path="routing_strategy",
                )
            balancer["algorithm"] = "priority"
        elif algorithm == "lowest-latency":
            balancer["latency_strategy"] = "e2e"
        balancer["failover_criteria"] = list(_CRITERIA)
        retries = _number(self._router("num_retries"))
        if retries is not None:
            balancer["retries"] = int(retries)
        seconds = _number(self._router("timeout")) or _number(self._router("request_timeout"))
        if seconds:
            balancer["read_timeout"] = min(int(seconds * 1000), READ_TIMEOUT - 1000)
        fails = _number(self._router("allowed_fails"))
        if fails is not None and self._router("disable_cooldowns") is not True:
            # There the breaker opens when it is exceeded, here when it is reached.
            balancer["max_fails"] = int(fails) + 1
        cooldown = _number(self._router("cooldown_time"))
        if cooldown:
            balancer["fail_timeout"] = max(1, int(cooldown * 1000))
        return balancer

    def _extensions(self) -> Json:
        redis: Json = {}
        for theirs, ours in _REDIS.items():
            value = self._router(theirs)
            if value is None:
                continue
            if ours in ("port", "database") and variable_of(value) is None:
                number = _number(value)
                redis[ours] = int(number) if number is not None else value
            elif ours == "database":
                redis[ours] = self.values.plain(value, path=f"router_settings.{theirs}")
            elif ours == "password" or variable_of(value):
                redis[ours] = self.values.secret(value, fallback=theirs, path=f"router_settings.{theirs}")
            else:
                redis[ours] = value
        return {"redis": redis} if redis else {}

    def _master_key(self, plugins: list[Any]) -> Json:
        """LiteLLM's one key for all, as a consumer of key-auth."""
        key = self._general("master_key")
        if key is None:
            return {}
        plugins.append(
            {"name": "key-auth", "config": {"key_names": ["authorization"], "hide_credentials": True}}
        )
        self.report.todo(
            'set DECK_LLM_MASTER_KEY in decK\'s environment to "Bearer " and the master key (Kong '
            "takes no vault "
            "reference for a consumer's key); give each client a consumer and a key of its own "
            "instead, if you can",
            path="general_settings.master_key",
        )
        return {
            "consumers": [
                {"username": "master", "keyauth_credentials": [{"key": '${{ env "DECK_LLM_MASTER_KEY" }}'}]}
            ]
        }

    def _router(self, name: str) -> Any:
        """A setting of the router; most may stand in litellm_settings too, router_settings win
        (docs/proxy/config_settings.md)."""
        value = value_at(self.document.data, ("router_settings", name))
        return value if value is not None else value_at(self.document.data, ("litellm_settings", name))

    def _general(self, name: str) -> Any:
        return value_at(self.document.data, ("general_settings", name))

    def _leftovers(self) -> None:
        known = {"model_list", "credential_list", "litellm_settings", "router_settings", "general_settings"}
        for name, value in self.document.data.items():
            if name == "environment_variables":
                for variable in value if isinstance(value, dict) else ():
                    self.report.todo(f"set {variable} in the environment", path=name)
            elif name not in known:
                self._lost((str(name),))
        carried = (
            _HARMLESS | set(_REDIS) | {"default_litellm_params", "max_request_size_mb", "vertex_project"}
        )
        carried |= {"vertex_location"}
        for section in ("litellm_settings", "router_settings", "general_settings"):
            settings = self.document.data.get(section)
            for name in settings if isinstance(settings, dict) else ():
                if name not in carried:
                    self._lost((section, str(name)))

    def _lost(self, path: Path) -> None:
        why = _WHY.get(str(path[-1]), "has no counterpart")
        self.report.lost(why, line=self.document.line(path), path=".".join(str(part) for part in path))


def _weight(params: Json) -> int | None:
    """LiteLLM's simple-shuffle goes by weight, else rpm, else tpm."""
    for name in ("weight", "rpm", "tpm"):
        number = _number(params.get(name))
        if number is not None and number >= 1:
            return min(_MOST_WEIGHT, round(number))
    return None


def _named(target: Json, alias: str, weight: int | None) -> Json:
    """A target as clients ask for it; `weight` takes the place of its own."""
    made = copy.deepcopy(target)
    if alias != "*":
        made["model"]["model_alias"] = alias
    else:
        made["model"].pop("model_alias", None)
    if weight is not None:
        made["weight"] = weight
    return made


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _maps(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out instead of naming them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _written(document: Json) -> str:
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    lines = []
    for line in text.splitlines(keepends=True):
        if line.strip() in (f"- '{_FILTER_MARK}'", f"- {_FILTER_MARK}"):
            lines.append(usage_filter.plugin_entry(len(line) - len(line.lstrip())))
        else:
            lines.append(line)
    return "".join(lines)
