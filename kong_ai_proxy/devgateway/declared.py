"""A declarative `kong.yml` with Kong's defaults filled in.

Services, routes (nested or not), plugins (on a service, a route, a consumer, or global), consumers with
their `keyauth_credentials`. Format: https://developer.konghq.com/gateway/entities/ and Kong's
`kong/db/schema/entities/`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..core.json import Json
from .schema import problems

_NAMESPACE = uuid.UUID("6f3f1a52-6f0c-4c3c-9a35-0c4b6b5d9d10")
_CREATED = 1_760_000_000

_SERVICE = {
    "protocol": "http", "port": 80, "retries": 5, "connect_timeout": 60000, "write_timeout": 60000,
    "read_timeout": 60000, "enabled": True,
}  # fmt: skip
_ROUTE = {
    "protocols": ["http", "https"], "strip_path": True, "preserve_host": False, "regex_priority": 0,
    "path_handling": "v0", "https_redirect_status_code": 426, "request_buffering": True,
    "response_buffering": True,
}  # fmt: skip


class ConfigError(Exception):
    """The declarative configuration cannot be used; the text names the entity."""


@dataclass(slots=True)
class Plugin:
    """One configured plugin and where it applies."""

    name: str
    config: Json
    """With Kong's own additions (`__plugin_id`, `__key__`, …)."""
    route: str | None = None
    service: str | None = None
    consumer: str | None = None
    """Ids of what it applies to."""


@dataclass(slots=True)
class Declared:
    """All entities, each with an id."""

    services: list[Json] = field(default_factory=list)
    routes: list[Json] = field(default_factory=list)
    plugins: list[Plugin] = field(default_factory=list)
    consumers: list[Json] = field(default_factory=list)
    keys: dict[str, Json] = field(default_factory=dict)
    """Key-auth credentials by key; each has a `consumer`."""

    def service_of(self, route: Json) -> Json | None:
        wanted = (route.get("service") or {}).get("id")
        return next((service for service in self.services if service["id"] == wanted), None)

    def consumer(self, name: str) -> Json | None:
        """By id or username."""
        return next((c for c in self.consumers if name in (c["id"], c.get("username"))), None)


Defaults = Mapping[str, Json]
"""Plugin schemas by plugin name, as Kong's `query_cmd` gives them."""


def load(path: Path, schemas: Defaults | None = None) -> Declared:
    """Read a file. Raises ConfigError."""
    try:
        return read(yaml.safe_load(path.read_text()), schemas)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error


def read(document: Any, schemas: Defaults | None = None) -> Declared:
    """From a parsed document. Raises ConfigError."""
    if not isinstance(document, dict) or not str(document.get("_format_version", "")).startswith(
        ("3.", "2.")
    ):
        raise ConfigError("expected a mapping with _format_version: '3.0'")
    return _Reader(schemas or {}).read(document)


class _Reader:
    def __init__(self, schemas: Defaults) -> None:
        self._schemas = schemas
        self._declared = Declared()
        self._sequence = 0

    def read(self, document: Json) -> Declared:
        for service in document.get("services") or []:
            self._service(service)
        for route in document.get("routes") or []:
            self._route(route, None)
        for consumer in document.get("consumers") or []:
            self._consumer(consumer)
        for credential in document.get("keyauth_credentials") or []:
            self._key(credential, self._find("consumers", credential.get("consumer")))
        for plugin in document.get("plugins") or []:
            self._plugin(plugin)
        return self._declared

    def _service(self, given: Json) -> None:
        service = {**_SERVICE, **{k: v for k, v in given.items() if k not in ("routes", "plugins", "url")}}
        if given.get("url"):
            parts = urlsplit(str(given["url"]))
            if not parts.hostname:
                raise ConfigError(f"service {given.get('name')!r}: url {given['url']!r} has no host")
            service["protocol"] = parts.scheme
            service["host"] = parts.hostname
            service["port"] = parts.port or (443 if parts.scheme == "https" else 80)
            if parts.path:
                service["path"] = parts.path
        if not service.get("host"):
            raise ConfigError(f"service {given.get('name')!r}: host is required")
        self._identify("service", service, len(self._declared.services))
        self._declared.services.append(service)
        for route in given.get("routes") or []:
            self._route(route, service)
        for plugin in given.get("plugins") or []:
            self._plugin(plugin, service=service)

    def _route(self, given: Json, service: Json | None) -> None:
        route = {**_ROUTE, **{k: v for k, v in given.items() if k not in ("plugins", "service")}}
        if service is None and given.get("service"):
            service = self._find("services", given["service"])
        self._identify("route", route, len(self._declared.routes))
        if service is not None:
            route["service"] = {"id": service["id"]}
        for path in route.get("paths") or []:
            if path.startswith("~"):
                _compiled(path[1:], route)
            elif not path.startswith("/"):
                raise ConfigError(f"route {route.get('name')!r}: path {path!r} must begin with / or ~")
        self._declared.routes.append(route)
        for plugin in given.get("plugins") or []:
            self._plugin(plugin, route=route)

    def _consumer(self, given: Json) -> None:
        nested = ("plugins", "keyauth_credentials", "groups")
        consumer = {k: v for k, v in given.items() if k not in nested}
        self._identify("consumer", consumer, len(self._declared.consumers))
        self._declared.consumers.append(consumer)
        for credential in given.get("keyauth_credentials") or []:
            self._key(credential, consumer)
        for plugin in given.get("plugins") or []:
            self._plugin(plugin, consumer=consumer)

    def _key(self, given: Json, consumer: Json) -> None:
        credential = {**given, "consumer": {"id": consumer["id"]}}
        self._identify("keyauth", credential, len(self._declared.keys))
        self._declared.keys[str(credential["key"])] = credential

    def _plugin(
        self,
        given: Json,
        *,
        route: Json | None = None,
        service: Json | None = None,
        consumer: Json | None = None,
    ) -> None:
        if given.get("enabled") is False:
            return
        name = str(given.get("name"))
        route = route or self._maybe("routes", given.get("route"))
        service = service or self._maybe("services", given.get("service"))
        consumer = consumer or self._maybe("consumers", given.get("consumer"))
        config = _prune(given.get("config") or {})
        if name in self._schemas:
            config = fill_defaults(self._schemas[name], config)
            wrong = problems(self._schemas[name], config)
            if wrong:
                said = "; ".join(f"config.{path}: {what}" if path else what for path, what in wrong)
                raise ConfigError(f"plugin {name}: {said}")
        self._sequence += 1
        where = [entity["id"] if entity else "" for entity in (route, service, consumer)]
        plugin_id = str(given.get("id") or uuid.uuid5(_NAMESPACE, f"plugin:{name}:{':'.join(where)}"))
        config.update(
            {
                "__plugin_id": plugin_id,
                "__key__": f"plugins:{name}:{':'.join(where)}::{WORKSPACE}",
                "__seq__": self._sequence,
                "__ws_id": WORKSPACE,
            }
        )
        for key, entity in (("route_id", route), ("service_id", service), ("consumer_id", consumer)):
            if entity:
                config[key] = entity["id"]
        if given.get("instance_name"):
            config["plugin_instance_name"] = given["instance_name"]
        self._declared.plugins.append(
            Plugin(
                name,
                config,
                route=route["id"] if route else None,
                service=service["id"] if service else None,
                consumer=consumer["id"] if consumer else None,
            )
        )

    def _maybe(self, kind: str, reference: Any) -> Json | None:
        return self._find(kind, reference) if reference else None

    def _find(self, kind: str, reference: Any) -> Json:
        wanted = reference
        if isinstance(reference, dict):
            wanted = reference.get("id") or reference.get("name") or reference.get("username")
        entities: list[Json] = getattr(self._declared, kind)
        for entity in entities:
            if wanted in (entity["id"], entity.get("name"), entity.get("username")):
                return entity
        raise ConfigError(f"{kind}: no entity {wanted!r}")

    @staticmethod
    def _identify(kind: str, entity: Json, number: int) -> None:
        name = entity.get("name") or entity.get("username") or number
        entity.setdefault("id", str(uuid.uuid5(_NAMESPACE, f"{kind}:{name}")))
        entity.setdefault("ws_id", WORKSPACE)
        entity.setdefault("created_at", _CREATED)
        entity.setdefault("updated_at", _CREATED)


WORKSPACE = str(uuid.uuid5(_NAMESPACE, "workspace:default"))


def _compiled(pattern: str, route: Json) -> re.Pattern[str]:
    try:
        return compile_regex(pattern)
    except re.error as error:
        raise ConfigError(f"route {route.get('name')!r}: regex {pattern!r}: {error}") from error


def compile_regex(pattern: str) -> re.Pattern[str]:
    """A route's regex; Kong's named groups `(?<name>…)` are spelled Python's way. Raises re.error."""
    return re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern))


def _prune(value: Any) -> Any:
    """Kong knows no null in a configuration: the field is not there."""
    if isinstance(value, dict):
        return {str(key): _prune(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_prune(item) for item in value]
    return value


def fill_defaults(schema: Json, config: Json) -> Json:
    """A plugin's configuration with the defaults of its Kong schema (`{"name", "fields": [{name:
    {…}}]}`)."""
    for entry in schema.get("fields") or []:
        for name, definition in entry.items():
            if name == "config":
                filled: Json = _fill_record(definition, config)
                return filled
    return config


def _fill_record(definition: Json, given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    filled = dict(given)
    for entry in definition.get("fields") or []:
        for name, field_definition in entry.items():
            value = filled.get(name)
            if value is None and field_definition.get("default") is not None:
                value = field_definition["default"]
            if (
                value is None
                and field_definition.get("type") == "record"
                and field_definition.get("required")
            ):
                value = {}
            value = _fill(field_definition, value)
            if value is not None:
                filled[name] = value
    return filled


def _fill(definition: Json, value: Any) -> Any:
    if definition.get("type") == "record":
        return _fill_record(definition, value)
    if definition.get("type") in ("array", "set") and isinstance(value, list):
        return [_fill(definition.get("elements") or {}, item) for item in value]
    return value
