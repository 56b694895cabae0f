"""Judges what Kong's Admin API tells (https://developer.konghq.com/api/gateway/admin-oss/).

No credential is asked for or shown; what a vault reference leads to only Kong and the plugin server know.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from ..config.check import check
from ..config.entries import Document, Entry
from ..config.parse import PLUGINS
from .findings import Finding

Fetch: TypeAlias = Callable[[str], Any]
"""The JSON at a path of the Admin API. Raises Unreachable."""

_MOST_PAGES: Final = 200
_MIB: Final = 1024 * 1024
_SMALL_BODY: Final = 8 * _MIB
_SIZE: Final = re.compile(r"(\d+)([km]?)", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 1024, "m": _MIB}


UNTOLD: Final = (
    "Kong's own settings are not looked at; Kong 3.9 fails so where it starts the plugin server itself "
    "(start_cmd)"
)


class Unreachable(Exception):
    """The Admin API did not tell. The message says why, without a secret."""


def check_kong(fetch: Fetch, relay: tuple[str, int]) -> Iterator[Finding]:
    """Everything to say about Kong and its configuration."""
    try:
        try:
            root = fetch("/")
        except Unreachable as error:
            root = _without_settings(fetch, error)
            yield Finding("warning", "Kong", f"its Admin API answers, but not GET /: {error}", UNTOLD)
        if not isinstance(root, dict) or not isinstance(root.get("configuration"), dict):
            yield Finding("problem", "Kong", "what answers is not Kong's Admin API", "see --kong-admin")
            return
        if "version" in root:
            yield Finding("ok", "Kong", f"its Admin API answers: version {root['version']}")
        yield from check_node(root)
        document = configuration(fetch)
    except Unreachable as error:
        mend = "see --kong-admin, and KONG_ADMIN_TOKEN where the API wants a token"
        yield Finding("problem", "Kong", f"its Admin API cannot be used: {error}", mend)
        return
    yield from check_configuration(document, relay)


def _without_settings(fetch: Fetch, error: Unreachable) -> dict[str, Any]:
    """What `GET /` would tell of plugins. Raises Unreachable where Kong tells nothing at all."""
    try:
        enabled = _table(fetch("/plugins/enabled")).get("enabled_plugins")
    except Unreachable:
        raise error from None
    names = [name for name in enabled if isinstance(name, str)] if isinstance(enabled, list) else []
    return {"configuration": {}, "plugins": {"available_on_server": {name: {} for name in names}}}


def check_node(root: dict[str, Any]) -> Iterator[Finding]:
    """Kong's own settings (`GET /`)."""
    available = _table(_table(root.get("plugins")).get("available_on_server"))
    for name in PLUGINS:
        if name in available:
            yield Finding("ok", f"plugin {name}", "is known to Kong")
        else:
            yield Finding(
                "warning",
                f"plugin {name}",
                "is not known to Kong",
                f"add it to KONG_PLUGINS (bundled,{name}) and KONG_PLUGINSERVER_NAMES, if it is used",
            )
    if "pre-function" not in available:
        yield Finding(
            "warning",
            "plugin pre-function",
            "is not known to Kong, so the usage filter cannot run",
            "have `bundled` in KONG_PLUGINS",
        )
    settings = root["configuration"]
    held = _bytes(
        settings.get("nginx_http_client_body_buffer_size") or settings.get("client_body_buffer_size")
    )
    if held is not None and held < 64 * 1024:
        yield Finding(
            "warning",
            "nginx_http_client_body_buffer_size",
            f"{held} bytes: nginx writes longer prompts to disk before it passes them on",
            "set KONG_NGINX_HTTP_CLIENT_BODY_BUFFER_SIZE to 1m or what your prompts need",
        )
    most = _bytes(settings.get("nginx_http_client_max_body_size"))
    if most and most < _SMALL_BODY:
        yield Finding(
            "warning",
            "nginx_http_client_max_body_size",
            f"{most} bytes: Kong refuses longer requests with 413, whatever the plugin allows",
            "set it to 0, or above the plugin's max_request_body_size",
        )


def configuration(fetch: Fetch) -> Document:
    """Services, routes and plugins as a declarative configuration would have them. Raises Unreachable."""
    services, routes, plugins = (_all(fetch, name) for name in ("services", "routes", "plugins"))
    known = {kind: {each.get("id"): each for each in found} for kind, found in
             (("service", services), ("route", routes))}  # fmt: skip
    top: list[Any] = []
    orphans: list[Any] = []
    for route in routes:
        owner = known["service"].get(_id(route, "service"))
        (orphans if owner is None else owner.setdefault("routes", [])).append(route)
    for plugin in plugins:
        owner = known["route"].get(_id(plugin, "route")) or known["service"].get(_id(plugin, "service"))
        (top if owner is None else owner.setdefault("plugins", [])).append(plugin)
    for plugin in plugins:
        # What is null is not there; `check` reads files, where nobody writes it.
        plugin["config"] = _without_nulls(plugin.get("config"))
    return Document({"services": services, "routes": orphans, "plugins": top}, {})


def check_configuration(document: Document, relay: tuple[str, int]) -> Iterator[Finding]:
    """What `kong-ai-proxy check` finds, and whether services lead to the relay."""
    ours = [entry for entry in document.entries() if entry.name in PLUGINS]
    enabled = [entry for entry in ours if entry.enabled]
    for entry in ours:
        if not entry.enabled:
            yield Finding(
                "warning", _subject(entry), "is switched off", "set enabled to true, if it is meant to run"
            )
    if not enabled:
        yield Finding(
            "problem",
            "plugins",
            "neither kong-ai-proxy nor kong-ai-proxy-advanced is enabled anywhere",
            "add one to a route; kong.yml.example shows how",
        )
        return
    sound = True
    for found in check(document, "kong"):
        sound = False
        where = " on ".join(part for part in (found.plugin, found.scope) if part) or "configuration"
        field = f"{found.path}: " if found.path else ""
        yield Finding("problem" if found.severity == "error" else "warning", where, f"{field}{found.message}")
    if sound:
        entries = "1 enabled plugin entry" if len(enabled) == 1 else f"{len(enabled)} enabled plugin entries"
        yield Finding("ok", "configuration", f"{entries}, with usage filter: nothing to say")
    yield from _check_services(document, enabled, relay)


def _check_services(document: Document, enabled: list[Entry], relay: tuple[str, int]) -> Iterator[Finding]:
    used: dict[int, dict[str, Any]] = {}
    for entry in enabled:
        found = [entry.service] if entry.service else list(document.services()) if not entry.route else []
        used.update({id(service): service for _, service in found})
        if entry.route and not entry.service:
            yield Finding(
                "problem",
                _subject(entry),
                "its route has no service: Kong answers 503",
                "give the route a service",
            )
    where = f"{relay[0]}:{relay[1]}"
    for service in used.values():
        subject = f"service {service.get('name') or service.get('id')}"
        if leads_to(service, relay):
            yield Finding("ok", subject, "leads to the relay")
        else:
            yield Finding(
                "warning",
                subject,
                f"leads to {service.get('host')}:{service.get('port')}, not to the relay at {where}; "
                "while the plugin server is away Kong sends prompts there unchanged",
                f"point the service at the relay (url: http://{where}), unless that is its name",
            )


def leads_to(service: dict[str, Any], relay: tuple[str, int]) -> bool:
    """As far as can be told without Kong's name resolution."""
    if service.get("protocol") not in ("http", "ws") or service.get("port") != relay[1]:
        return False
    host = service.get("host")
    return host == relay[0] or (_is_local(host) and _is_local(relay[0]))


def _is_local(host: Any) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(str(host).strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _all(fetch: Fetch, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path: Any = f"/{name}?size=1000"
    for _ in range(_MOST_PAGES):
        page = fetch(path)
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise Unreachable(f"/{name} is not a list")
        found += [each for each in page["data"] if isinstance(each, dict)]
        path = page.get("next")
        if not isinstance(path, str) or not path.startswith("/"):
            return found
    raise Unreachable(f"/{name} does not end")


def _subject(entry: Entry) -> str:
    return f"{entry.name} on {entry.scope}"


def _id(entity: dict[str, Any], name: str) -> Any:
    return _table(entity.get(name)).get("id")


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _bytes(size: Any) -> int | None:
    match = _SIZE.fullmatch(str(size))
    return int(match[1]) * _UNITS[match[2].lower()] if match else None
