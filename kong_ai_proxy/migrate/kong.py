"""From Kong's ai-proxy and ai-proxy-advanced: the plugins' names, the service they lead to, their secrets.

The configuration itself is the same field for field (tests/unit/config/test_config_parity.py). What Kong's
schemas
would refuse too (unknown fields) is taken out and told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from ..config.entries import Document, Entry, Path, is_placeholder, parse_path, read, value_at
from ..config.errors import ConfigError, format_path
from ..config.models import Judge, Record
from ..config.parse import PLUGINS, parse
from ..config.spec import Spec, fields_of
from ..server import usage_filter
from .edits import Source
from .judge import JUDGE, Judges
from .names import Names
from .report import Report

RENAMED: Final = {name.removeprefix("kong-"): name for name in PLUGINS}
"""Kong's plugin → ours."""
READ_TIMEOUT: Final = 900_000
"""Milliseconds for a service: above all limits of the plugins (config/check.py asks for that)."""

_REFERENCE: Final = re.compile(r"\{vault://[^}]+\}")
_UNKNOWN: Final = "unknown field"


@dataclass(slots=True)
class Secrets:
    """Names for secrets that stood in a file in clear text. The same secret gets the same name."""

    report: Report
    _names: dict[str, str] = field(default_factory=dict)
    _taken: Names = field(default_factory=Names)

    def reference(self, value: str, base: str, path: str, line: int) -> str:
        """A vault reference in a secret's place."""
        known = self._names.get(value)
        if known is None:
            known = self._names[value] = self._taken.new(base, "-")
        variable = known.upper().replace("-", "_")
        self.report.todo(
            f"held a secret in clear text: put its whole value into {variable} in Kong's environment",
            line=line,
            path=path,
        )
        return f"{{vault://env/{known}}}"


def migrate(text: str, *, relay: str, report: Report, usage: bool = True, keep_secrets: bool = False) -> str:
    """A declarative configuration with our plugins in place of Kong's. `relay`: its address for Kong, as
    host:port. `usage`: add the usage filter. Raises UnreadableFile."""
    document = read(text)
    return _Migration(document, Source(text), relay, report, usage, keep_secrets).run()


@dataclass(slots=True)
class _Migration:
    document: Document
    source: Source
    relay: str
    report: Report
    usage: bool
    keep_secrets: bool

    def run(self) -> str:
        entries = list(self.document.entries())
        ours = [entry for entry in entries if entry.name in RENAMED]
        if not ours:
            self.report.lost("there is neither ai-proxy nor ai-proxy-advanced in it: nothing was changed")
            return self.source.result()
        secrets = Secrets(self.report)
        for entry in ours:
            self._rename(entry)
            self._configuration(entry, secrets)
        carried = Judges(self.document, self.source, self.report, partial(self._hide, secrets)).carry(entries)
        gone = {judge.path for judge in carried}
        left = [entry for entry in entries if entry.path not in gone]
        for entry in left:
            self._ordering(entry)
        self._neighbours(left)
        self._services(ours, entries)
        if self.usage:
            self._filter(ours, entries)
        for judge in carried:
            self.source.remove_item(judge.path)
        names = ",".join(dict.fromkeys(RENAMED[entry.name] for entry in ours))
        self.report.todo(
            f"Kong must know the plugins: plugins = bundled,{names} and pluginserver_* in kong.conf"
        )
        return self.source.result()

    # The plugins themselves.

    def _rename(self, entry: Entry) -> None:
        node = self.source.node((*entry.path, "name"))
        if node is not None:
            self.source.replace(node, RENAMED[entry.name])
        self.report.changed(
            f"{entry.name} is now {RENAMED[entry.name]}", line=self._line(entry.path), path=entry.scope
        )

    def _configuration(self, entry: Entry, secrets: Secrets) -> None:
        model = PLUGINS[RENAMED[entry.name]]
        for place in self._places(entry):
            config = value_at(self.document.data, place)
            if not isinstance(config, dict):
                continue
            for path, message in _unknown(RENAMED[entry.name], config):
                if self.source.remove((*place, *path)):
                    self.report.lost(message, line=self._line((*place, *path)), path=format_path(path))
            if not self.keep_secrets:
                for path, value, base in _secrets(config, model):
                    node = self.source.node((*place, *path))
                    if node is not None:
                        line = self._line((*place, *path))
                        self.source.replace(node, secrets.reference(value, base, format_path(path), line))

    def _hide(self, secrets: Secrets, text: Source, config: Any, entry: Entry) -> None:
        """Secrets of a judge, in a text of its configuration."""
        if self.keep_secrets:
            return
        for path, value, base in _secrets(config, Judge):
            node = text.node(path)
            if node is not None:
                line = self._line((*entry.path, "config", *path))
                text.replace(node, secrets.reference(value, base, format_path(path), line))

    def _places(self, entry: Entry) -> Iterator[Path]:
        """Where a plugin's configuration stands: with itself, and in decK's shared parts."""
        yield (*entry.path, "config")
        if entry.data.get("_config") is not None:
            yield ("_plugin_configs", str(entry.data["_config"]))

    def _ordering(self, entry: Entry) -> None:
        """`ordering.before.access: [ai-proxy]` of any plugin."""
        for when in ("before", "after"):
            phases = value_at(entry.data, ("ordering", when))
            for phase, names in phases.items() if isinstance(phases, dict) else ():
                for index, name in enumerate(names) if isinstance(names, list) else ():
                    node = self.source.node((*entry.path, "ordering", when, str(phase), index))
                    if name in RENAMED and node is not None:
                        self.source.replace(node, RENAMED[name])

    def _neighbours(self, entries: Iterable[Entry]) -> None:
        """Kong's other AI plugins."""
        for entry in entries:
            if entry.name == JUDGE:
                continue  # see `judge`
            if entry.name.startswith("ai-") and entry.name not in RENAMED and entry.enabled:
                self.report.todo(
                    f"{entry.name} is made to work with Kong's own ai-proxy and may see nothing of "
                    "kong-ai-proxy: try whether it still does its work",
                    line=self._line(entry.path),
                    path=entry.scope,
                )

    # Around them.

    def _services(self, ours: list[Entry], entries: list[Entry]) -> None:
        covered = [entry for entry in ours if entry.enabled]
        by_service: dict[Path, list[Entry]] = {}
        for entry in covered:
            if entry.service:
                by_service.setdefault(entry.service[0], []).append(entry)
        routes_at_top = self._routes_at_top()
        for path, service in self.document.services():
            mine = by_service.get(path)
            if not mine:
                continue
            nested = service.get("routes")
            routes: list[Path] = [
                (*path, "routes", i) for i in range(len(nested) if isinstance(nested, list) else 0)
            ]
            for name in filter(None, (service.get("name"), service.get("id"))):
                routes += routes_at_top.get(str(name), ())
            whole = any(entry.route is None for entry in mine)
            with_plugin = {entry.route[0] for entry in mine if entry.route}
            if whole or all(route in with_plugin for route in routes):
                self._lead_to_relay(path, service)
            else:
                self.report.todo(
                    "has routes without ai-proxy too, so it stays as it is; the plugin works there, "
                    "at one round "
                    "trip more, and Kong runs requests past it when its server is away: give its routes a "
                    f"service of their own with url http://{self.relay}",
                    line=self._line(path),
                    path=f"service {service.get('name') or service.get('id') or ''}".strip(),
                )
        if any(entry.service is None for entry in covered):
            self.report.todo(
                f"a plugin that belongs to no service: lead the services it is meant for to "
                f"http://{self.relay}, "
                "with retries 0"
            )

    def _routes_at_top(self) -> dict[str, list[Path]]:
        """Routes beside the services, by what each names its service by."""
        found: dict[str, list[Path]] = {}
        routes = self.document.data.get("routes")
        for index, route in enumerate(routes if isinstance(routes, list) else ()):
            owner = route.get("service") if isinstance(route, dict) else None
            names = (owner.get("name"), owner.get("id")) if isinstance(owner, dict) else (owner,)
            for name in filter(None, names):
                found.setdefault(str(name), []).append(("routes", index))
        return found

    def _lead_to_relay(self, path: Path, service: dict[str, Any]) -> None:
        scope = f"service {service.get('name') or service.get('id') or ''}".strip()
        parts = urlsplit(f"//{self.relay}")
        if service.get("url") is not None:
            self.source.set(path, "url", f"http://{self.relay}")
        else:
            for name, value in (("port", parts.port or 80), ("host", parts.hostname), ("protocol", "http")):
                self.source.set(path, name, value)
            if service.get("path") is not None:
                self.source.set(path, "path", "/")
        timeout = service.get("read_timeout")
        if not isinstance(timeout, int) or timeout < READ_TIMEOUT:
            self.source.set(path, "read_timeout", READ_TIMEOUT)
        self.source.set(path, "retries", 0)
        self.report.changed(
            f"leads to the relay (http://{self.relay}), with retries 0 and read_timeout {READ_TIMEOUT}",
            line=self._line(path),
            path=scope,
        )
        for name in ("tls_verify", "ca_certificates", "client_certificate"):
            if service.get(name) is not None:
                self.report.lost(
                    "has no meaning towards the relay, which checks providers' certificates itself",
                    line=self._line((*path, name)),
                    path=f"{scope}: {name}",
                )

    def _filter(self, ours: list[Entry], entries: list[Entry]) -> None:
        """In the one service that all of it belongs to, else for everything."""
        places = {entry.service[0] if entry.service else () for entry in ours}
        place: Path = places.pop() if len(places) == 1 else ()
        others = [entry for entry in entries if entry.name == "pre-function" and entry.enabled]
        if others:
            # Kong runs the nearest pre-function of a request only, and one for each scope.
            self.report.todo(
                "there is a pre-function already: add the usage filter's functions to it "
                "(`kong-ai-proxy usage-filter` prints them)",
                line=self._line(others[0].path),
                path=others[0].scope,
            )
            return
        config = {"name": "pre-function", "config": usage_filter.config()}
        self.source.prepend(place, "plugins", config, usage_filter.plugin_entry())
        self.report.changed(
            "the usage filter was added (pre-function)",
            line=self._line(place) if place else 0,
            path=format_path(place),
        )

    def _line(self, path: Path) -> int:
        return self.document.line(path)


def _unknown(plugin: str, config: dict[str, Any]) -> list[tuple[Path, str]]:
    """Fields that the plugin does not have, and what is to be said about each."""
    try:
        parse(plugin, config)
    except ConfigError as error:
        return [
            (parse_path(path), message) for path, message in error.problems if message.startswith(_UNKNOWN)
        ]
    return []


def _secrets(config: Any, model: type[Record], path: Path = ()) -> Iterator[tuple[Path, str, str]]:
    """Secrets in clear text: where, what, and a name for a vault."""
    if not isinstance(config, dict):
        return
    for spec in fields_of(model):
        value, place = config.get(spec.name), (*path, spec.name)
        if spec.record:
            yield from _secrets_below(value, spec, place, config)
        elif spec.element and spec.element.record and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _secrets(item, spec.element.record, (*place, index))
        elif spec.encrypted and isinstance(value, str) and _is_plain(value):
            yield place, value, _name(spec.name, config)


def _is_plain(value: str) -> bool:
    """A text that is neither a vault reference nor filled in by decK."""
    return (
        isinstance(value, str) and bool(value) and not _REFERENCE.search(value) and not is_placeholder(value)
    )


def _secrets_below(
    value: Any, spec: Spec, path: Path, holder: dict[str, Any]
) -> Iterator[tuple[Path, str, str]]:
    assert spec.record is not None
    provider = value_at(holder, ("model", "provider")) if spec.name == "auth" else None
    prefix = provider if isinstance(provider, str) and provider.isalnum() else ""
    for place, secret, base in _secrets(value, spec.record, path):
        yield place, secret, f"{prefix}-{base}" if prefix and not base.startswith(prefix) else base


def _name(field_name: str, holder: dict[str, Any]) -> str:
    if field_name == "header_value":
        header = str(holder.get("header_name", "")).lower()
        return "authorization" if header == "authorization" else "api-key"
    if field_name == "param_value":
        return "api-key"
    return field_name.replace("_", "-")


def is_kong(data: Any) -> bool:
    """A declarative configuration, by what it has."""
    return isinstance(data, dict) and any(
        name in data for name in ("_format_version", "services", "routes", "plugins", "consumers")
    )
