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
from .settings import REDIS, SECTIONS, lost_setting
from .targets import Deployment, Json, target_of
from .values import Values, variable_of
from .weights import number, share_of, weights

_ROUTING: Final = ("router_settings", "litellm_settings")
"""Most of the router's settings may stand in either; the first wins (docs/proxy/config_settings.md)."""
_FILTER_MARK: Final = "@usage-filter@"
_TOP: Final = 100
"""Weight of the first targets of a model with fallbacks; each fallback has less (algorithm priority)."""
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
    shares: list[tuple[str, float] | None] = field(default_factory=list)
    """Of each target: what tells its share, and how large it is."""


@dataclass(slots=True)
class _Config:
    document: Document
    relay: str
    report: Report
    values: Values
    groups: dict[str, _Group] = field(default_factory=dict)

    def run(self, usage: bool) -> str:
        self._deployments()
        self._weights()
        targets = self._targets()
        config: Json = {"balancer": self._balancer(), "targets": targets}
        extensions = self._extensions()
        if extensions:
            config["kong_ai_proxy"] = extensions
        megabytes = self._figure("max_request_size_mb", ("general_settings",))
        if megabytes is not None and megabytes > 0:
            config["max_request_body_size"] = int(megabytes * 1024 * 1024)
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
        self.report.todo("GET /v1/models is not served: who asks for a list of models needs another one")
        unpriced = dict.fromkeys(
            name
            for name, group in self.groups.items()
            if any("input_cost" not in target["model"].get("options", {}) for target in group.targets)
        )
        if unpriced:
            self.report.todo(
                "LiteLLM knows many models' prices itself, here they are configured: without input_cost and "
                f"output_cost in model.options no cost is logged for {', '.join(unpriced)}"
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
            share = share_of(params)
            if params.get("weight") is not None and (share is None or share[0] != "weight"):
                found.lost("is no number above 0", "litellm_params.weight")
            target = target_of(found)
            if target is None:
                continue
            if name == "*" and "name" in target["model"]:
                self.report.changed("takes whatever no other model is named", line=line, path=shown)
            elif name != "*" and "name" not in target["model"]:
                self.report.lost("a name for all models of a provider", line=line, path=shown)
                continue
            group = self.groups.setdefault(name, _Group())
            group.targets.append(target)
            group.shares.append(share)
            if isinstance(info.get("id"), str):
                group.ids[info["id"]] = target

    def _weights(self) -> None:
        for name, group in self.groups.items():
            told = [share for share in group.shares if share is not None]
            kinds = {kind for kind, _ in told}
            if len(kinds) > 1 or 0 < len(told) < len(group.shares):
                self.report.lost(
                    "shares of requests: not all deployments tell theirs in the same way (weight, rpm or "
                    "tpm); see each target's weight",
                    path=f"model_name {name}",
                )
            made = iter(weights([share for _, share in told]))
            for target, share in zip(group.targets, group.shares, strict=True):
                if share is not None:
                    target["weight"] = next(made)

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
        params = {**self._map("default_litellm_params"), **params}
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
        for alias, model in self._map("model_group_alias").items():
            if isinstance(model, dict):
                if model.get("hidden"):
                    self._missed(
                        "model_group_alias", "no list of models is served that it could be left out of",
                        below=f"{alias}.hidden",
                    )  # fmt: skip
                model = model.get("model")
            twins = [target for target in listed if target["model"].get("model_alias") == model]
            listed += [_named(target, str(alias), target.get("weight")) for target in twins]
            if not twins:
                self._missed("model_group_alias", f"there is no model {model}", below=str(alias))
        return listed

    def _chains(self) -> Iterator[tuple[str, list[str]]]:
        """Model → its fallbacks in order."""
        fallbacks: dict[str, list[str]] = {}
        listed = self._router("fallbacks")
        if len(_maps(listed)) != len(listed if isinstance(listed, list) else [listed] if listed else []):
            self._missed("fallbacks", "not a list of maps, each of a model and its fallbacks")
        for entry in _maps(listed):
            for model, others in entry.items():
                fallbacks[str(model)] = _texts(others)
                if len(fallbacks[str(model)]) != len(others if isinstance(others, list) else [others]):
                    self._missed("fallbacks", "fallbacks with parameters of their own", below=str(model))
        # LiteLLM itself has default_fallbacks stand under this name.
        default = fallbacks.pop("*", []) or _texts(self._router("default_fallbacks"))
        for model in self.groups:
            chain = fallbacks.pop(model, None) or default
            chain = [each for each in chain if each != model]
            if chain:
                yield model, chain
        for model in fallbacks:
            self._missed("fallbacks", "there is no such model", below=model)

    def _fallback_targets(self, name: str) -> list[Json]:
        if name in self.groups:
            return self.groups[name].targets
        by_id = [group.ids[name] for group in self.groups.values() if name in group.ids]
        if not by_id:
            self._missed("fallbacks", f"there is no model {name}")
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
        retries = self._figure("num_retries")
        if retries is not None:
            balancer["retries"] = int(retries)
        seconds = self._figure("timeout") or self._figure("request_timeout")
        if seconds:
            longest = READ_TIMEOUT - 1000
            balancer["read_timeout"] = max(1, min(int(seconds * 1000), longest))
            if seconds * 1000 > longest:
                self._missed(
                    "timeout" if self._figure("timeout") else "request_timeout",
                    f"is cut to {longest // 1000} s; for more, raise balancer.read_timeout, and the "
                    "service's read_timeout above it",
                )
        fails = self._figure("allowed_fails")
        if fails is not None and self._router("disable_cooldowns") is not True:
            # There the breaker opens when it is exceeded, here when it is reached.
            balancer["max_fails"] = int(fails) + 1
        cooldown = self._figure("cooldown_time")
        if cooldown:
            balancer["fail_timeout"] = max(1, int(cooldown * 1000))
        return balancer

    def _extensions(self) -> Json:
        redis: Json = {}
        for theirs, ours in REDIS.items():
            value = self._router(theirs)
            if value is None:
                continue
            if ours in ("port", "database") and variable_of(value) is None:
                figure = number(value)
                redis[ours] = int(figure) if figure is not None else value
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
        """A setting of the router."""
        found = (value_at(self.document.data, (section, name)) for section in _ROUTING)
        return next((value for value in found if value is not None), None)

    def _general(self, name: str) -> Any:
        return value_at(self.document.data, ("general_settings", name))

    def _figure(self, name: str, sections: tuple[str, ...] = _ROUTING) -> float | None:
        """A setting that is a number; told where it is something else."""
        given = (value_at(self.document.data, (section, name)) for section in sections)
        value = next((each for each in given if each is not None), None)
        figure = number(value)
        if value is not None and figure is None:
            self._missed(name, "is no number", sections=sections)
        return figure

    def _map(self, name: str) -> Json:
        """A setting that is a map; told where it is something else."""
        value = self._router(name)
        if value is not None and not isinstance(value, dict):
            self._missed(name, "is no map")
        return value if isinstance(value, dict) else {}

    def _missed(
        self, name: str, message: str, *, below: str = "", sections: tuple[str, ...] = _ROUTING
    ) -> None:
        """Part of a setting that is carried over is not."""
        data = self.document.data
        section = next((each for each in sections if value_at(data, (each, name)) is not None), sections[0])
        path = f"{section}.{name}.{below}" if below else f"{section}.{name}"
        self.report.lost(message, line=self.document.line((section, name)), path=path)

    def _leftovers(self) -> None:
        known = {"model_list", "credential_list", *SECTIONS}
        for name, value in self.document.data.items():
            if name == "environment_variables":
                for variable in value if isinstance(value, dict) else ():
                    self.report.todo(f"set {variable} in the environment", path=name)
            elif name not in known:
                self._lost("", str(name), value)
        for section in SECTIONS:
            settings = self.document.data.get(section)
            for name, value in settings.items() if isinstance(settings, dict) else ():
                self._lost(section, str(name), value)

    def _lost(self, section: str, name: str, value: Any) -> None:
        why = lost_setting(section, name, value)
        if why is not None:
            path: Path = (section, name) if section else (name,)
            self.report.lost(why, line=self.document.line(path), path=".".join(map(str, path)))


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
